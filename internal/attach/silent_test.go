package attach

import (
	"bufio"
	"context"
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
)

// Opening a session waits for a program that has been stopped no longer than its
// context.
func TestSilentProgram(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, SocketName))
	require.NoError(t, err)
	defer l.Close()
	greeted := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_, err = hearHello(bufio.NewReader(conn))
		}
		if err == nil {
			err = sayHello(conn, self(0))
		}
		greeted <- err
		if err == nil {
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 1))
		}
	}()
	client, err := Dial(dir)
	require.NoError(t, err)
	require.NoError(t, <-greeted)
	defer client.Close()
	waiting := make(chan struct{})
	go func() {
		defer close(waiting)
		for range 3 {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			waiting <- struct{}{}
		}
	}()
	for name, open := range map[string]func(ctx context.Context) error{
		"producer": func(ctx context.Context) error {
			_, err := client.OpenProducer(ctx, producer.Config{BatchBytes: 1, BufferBytes: 1})
			return err
		},
		"consumer": func(ctx context.Context) error {
			_, err := client.OpenConsumer(ctx, consumer.Config{MaxRecords: 1, MaxBytes: 1})
			return err
		},
		"stream": func(ctx context.Context) error { return client.Stream(ctx, "bytes", nil) },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- open(ctx) }()
		<-waiting
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled, name)
	}
	<-waiting
}
