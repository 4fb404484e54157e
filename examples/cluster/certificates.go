package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// writeCertificates makes an authority and, signed by it, a certificate for each node. A
// program in production gets them from its own authority.
func writeCertificates(dir string, nodes int) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the example's authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if err := write(dir, "authority", authority, authority, key, key); err != nil {
		return err
	}
	for n := range nodes {
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		node := &x509.Certificate{
			SerialNumber: big.NewInt(int64(n + 2)), Subject: pkix.Name{CommonName: fmt.Sprint("node-", n+1)},
			NotBefore: authority.NotBefore, NotAfter: authority.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		}
		if err := write(dir, fmt.Sprint("node-", n+1), node, authority, own, key); err != nil {
			return err
		}
	}
	return nil
}

// write signs a certificate and writes it with its key.
func write(dir, name string, c, signer *x509.Certificate, own, by *ecdsa.PrivateKey) error {
	signed, err := x509.CreateCertificate(rand.Reader, c, signer, &own.PublicKey, by)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		suffix, kind string
		bytes        []byte
	}{{".crt", "CERTIFICATE", signed}, {".key", "PRIVATE KEY", secret}} {
		b := pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.bytes})
		if err := os.WriteFile(filepath.Join(dir, name+f.suffix), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}
