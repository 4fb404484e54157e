package processtest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/replica/transporttest"
)

// writeCertificate writes the file that tlsConfig reads.
func writeCertificate(t *testing.T, path string) {
	own := transporttest.Certificate(t).Certificates[0]
	var b []byte
	for _, der := range own.Certificate {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	require.NoError(t, err)
	b = append(b, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	require.NoError(t, os.WriteFile(path, b, 0o600))
}

// tlsConfig is what all nodes speak TLS with.
func tlsConfig(path string) (*tls.Config, error) {
	own, err := tls.LoadX509KeyPair(path, path)
	if err != nil {
		return nil, err
	}
	authority, err := x509.ParseCertificate(own.Certificate[len(own.Certificate)-1])
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	return &tls.Config{Certificates: []tls.Certificate{own}, RootCAs: pool}, nil
}
