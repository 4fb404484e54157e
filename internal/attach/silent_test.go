package attach

import (
	"bufio"
	"context"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
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
			_, err = readHello(bufio.NewReader(conn))
		}
		if err == nil {
			err = writeHello(conn, self(0))
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
			t.Cleanup(func() { _ = conn.Close() }) // at cleanup: the last client still has to give up
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

// A producer whose broker has been stopped closes within its bound and a
// moment, and the callbacks of all records have run.
func TestCloseWhenNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		go func() {
			_, _ = readHello(far)
			_ = writeHello(far, self(0))
		}()
		c, r, err := meet(near)
		require.NoError(t, err)
		s := newSending(&Client{control: c}, c, producer.Config{BatchBytes: 1 << 10, BufferBytes: 1 << 20})
		c.start(r)
		w := &writer{session: s, topic: "orders", lanes: map[int32]*lane{}}
		w.partitions.Store(1)
		s.writers[0] = w
		p, err := producer.New(opened{s, w})
		require.NoError(t, err)
		told := 0
		for range 10 {
			p.SendAsync(t.Context(), record.Record{Topic: "orders"}, func(_ record.Position, err error) {
				require.Error(t, err)
				told++
			})
		}
		began := time.Now()
		require.ErrorIs(t, p.Close(), fault.Closed)
		require.Equal(t, 10, told)
		require.LessOrEqual(t, time.Since(began), producer.DefaultCloseTimeout+patience)
		nothingIsHeld(t, s)
	})
}

// opened is a session with one topic, as a backend.
type opened struct {
	*sending
	w *writer
}

func (o opened) OpenProducer(context.Context, producer.Config) (producer.Session, error) {
	return o, nil
}
func (o opened) Topic(context.Context, string) (producer.Writer, error) { return o.w, nil }
