package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/tcp"
)

// What the parent tells a node: its number, on which address to listen, and the directory with
// the certificates and the nodes' data. The node answers with its address, as a line, and gets a
// line with all addresses, in the order of the nodes. In production the addresses are known, and
// none of this is needed.
const (
	numberVariable  = "CLUSTER_NODE"
	addressVariable = "CLUSTER_ADDRESS"
	homeVariable    = "CLUSTER_HOME"
)

func isNode() bool { return os.Getenv(numberVariable) != "" }

// runNode is one of the program's copies: a node, and a broker on it. This is all that a
// program does to keep its topics in several copies.
func runNode(ctx context.Context) (err error) {
	number, err := strconv.Atoi(os.Getenv(numberVariable))
	if err != nil {
		return err
	}
	home := os.Getenv(homeVariable)
	secret, err := certificate(home, number)
	if err != nil {
		return err
	}
	transport, err := tcp.New("example", os.Getenv(addressVariable), tcp.TLS(secret))
	if err != nil {
		return err
	}
	fmt.Println(transport.Addr())
	addresses, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		return errors.Join(err, transport.Close())
	}
	peers := map[replica.NodeID]string{}
	for i, address := range strings.Fields(addresses) {
		peers[replica.NodeID(i+1)] = address
	}
	node, err := replica.StartNode(replica.NodeConfig{ID: replica.NodeID(number), Transport: transport, Peers: peers})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	broker, err := runnel.Open(dataOf(home, number), runnel.Replicated(node))
	if err != nil {
		return err
	}
	<-ctx.Done() // what the program does; here, other processes use its broker
	return broker.Close()
}

// dataOf returns a node's data directory.
func dataOf(home string, number int) string { return filepath.Join(home, fmt.Sprint("node-", number)) }

// certificate reads a node's certificate and that of the authority.
func certificate(home string, number int) (*tls.Config, error) {
	name := filepath.Join(home, fmt.Sprint("node-", number))
	own, err := tls.LoadX509KeyPair(name+".crt", name+".key")
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(filepath.Join(home, "authority.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		return nil, errors.New("authority.crt has no certificate")
	}
	return &tls.Config{Certificates: []tls.Certificate{own}, RootCAs: pool}, nil
}
