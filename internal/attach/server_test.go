package attach_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// watched is a broker that reports when Fetch begins.
type watched struct {
	*runnel.Broker
	fetches chan struct{}
}

func (w watched) OpenConsumer(ctx context.Context, cfg consumer.Config) (consumer.Session, error) {
	s, err := w.Broker.OpenConsumer(ctx, cfg)
	return watchedSession{s, w.fetches}, err
}

// Sharing has none.
func (w watched) Sharing() (*attach.Sharing, error) { return nil, fault.UnsupportedVersion }

// Stream writes as many megabytes as its name says, or as it can.
func (w watched) Stream(_ context.Context, name string, out io.Writer) error {
	n, err := strconv.Atoi(name)
	for i := 0; i < n && err == nil; i++ {
		_, err = out.Write(bytes.Repeat([]byte{byte(i)}, 1<<20))
	}
	return err
}

type watchedSession struct {
	consumer.Session
	fetches chan struct{}
}

func (s watchedSession) Fetch(ctx context.Context, wait time.Duration, dst []record.Record) (consumer.Fetched, error) {
	s.fetches <- struct{}{}
	return s.Session.Fetch(ctx, wait, dst)
}

// serve serves a broker in memory, as it is and at a directory of its own.
func serve(t *testing.T, specs ...topic.Spec) (watched, *attach.Server, string) {
	t.Helper()
	b, err := runnel.OpenMemory()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	require.NoError(t, b.CreateTopics(t.Context(), specs...))
	dir := t.TempDir()
	l, err := listenIn(t, dir)
	require.NoError(t, err)
	w := watched{b, make(chan struct{}, 1000)}
	s := attach.Serve(l, w)
	t.Cleanup(s.Close)
	return w, s, dir
}

func dial(t *testing.T, dir string) *attach.Client {
	t.Helper()
	c, err := attach.Dial(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// A member that waits for records when the server closes gives its partitions
// up in order: it commits what is done.
func TestMembersCommitWhenTheServerCloses(t *testing.T) {
	b, server, dir := serve(t, topic.Spec{Name: "orders"})
	client, ctx := dial(t, dir), t.Context()
	p := newProducer(t, client)
	_, err := p.Send(ctx, record.Record{Topic: "orders"})
	require.NoError(t, err)
	revoked := make(chan []record.TopicPartition, 1)
	c, err := consumer.New(client, consumer.Group("g"), consumer.Topics("orders"),
		consumer.OnRevoked(func(tps []record.TopicPartition) { revoked <- tps }))
	require.NoError(t, err)
	_, err = c.Poll(ctx)
	require.NoError(t, err)
	<-b.fetches
	polled := make(chan error, 1)
	go func() {
		_, err := c.Poll(ctx) // marks the first record as done
		polled <- err
	}()
	<-b.fetches
	server.Close()
	err = <-polled
	require.ErrorIs(t, err, fault.Closed)
	require.True(t, consumer.Fatal(err))
	tp := record.TopicPartition{Topic: "orders"}
	require.Equal(t, []record.TopicPartition{tp}, <-revoked)
	require.NoError(t, c.Close())
	offsets, err := b.GroupOffsets(ctx, "g")
	require.NoError(t, err)
	require.EqualValues(t, 1, offsets[tp].Offset)
	require.Zero(t, b.Sessions())
}

// A client that stops reading in the middle of a large answer holds up neither
// the others nor Close.
func TestStuckClient(t *testing.T) {
	attach.SetGrace(time.Second)
	defer attach.SetGrace(patience)
	b, server, dir := serve(t, topic.Spec{Name: "orders"})
	other, ctx := dial(t, dir), t.Context()
	p := newProducer(t, other)
	for range 64 {
		p.SendAsync(ctx, record.Record{Topic: "orders", Value: make([]byte, 100_000)}, nil)
	}
	require.NoError(t, p.Flush(ctx))

	raw := connect(t, dir)
	raw.hello(t, 1)
	raw.call(t, 18, openConsumerBody()) // openConsumer
	raw.answer(t)
	raw.call(t, 20, []byte{0, 0, 0, 1, 0, 0, 0, 6, 'o', 'r', 'd', 'e', 'r', 's', 0, 0, 0, 0}) // assign
	for raw.frame(t).kind != 6 {
		raw.send(t, 3, nil) // told
	}
	raw.call(t, 19, []byte{0, 0, 0, 1, 0, 0, 0, 0}) // fetch; the answer is not read
	<-b.fetches
	names, err := other.Topics(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"orders"}, names)
	server.Close()
	require.Zero(t, b.Sessions())
}

// Stream delivers everything that the server writes, however much it is. A
// receiver that cannot take it ends it.
func TestStream(t *testing.T) {
	_, _, dir := serve(t)
	client, ctx := dial(t, dir), t.Context()
	var got bytes.Buffer
	require.NoError(t, client.Stream(ctx, "20", &got))
	require.Equal(t, 20<<20, got.Len())
	for i, b := range got.Bytes() {
		if b != byte(i>>20) {
			require.Equal(t, byte(i>>20), b, "at %d", i)
		}
	}
	require.ErrorContains(t, client.Stream(ctx, "many", io.Discard), "invalid syntax")
	full := errors.New("full")
	require.ErrorIs(t, client.Stream(ctx, "100", failing{full}), full)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, client.Stream(ended, "0", io.Discard), context.Canceled)
}

// failing is a writer that fails.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// rawConn is a client that can send anything.
type rawConn struct {
	net.Conn
	r    *bufio.Reader
	last uint32
}

type rawFrame struct {
	kind byte
	id   uint32
	body []byte
}

func connect(t *testing.T, dir string) *rawConn {
	t.Helper()
	c, err := net.Dial("unix", filepath.Join(dir, attach.SocketName))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &rawConn{Conn: c, r: bufio.NewReader(c)}
}

func (c *rawConn) send(t *testing.T, kind byte, body []byte) {
	t.Helper()
	b := binary.BigEndian.AppendUint32(nil, uint32(5+len(body)))
	b = append(b, kind)
	b = binary.BigEndian.AppendUint32(b, c.last)
	_, err := c.Write(append(b, body...))
	require.NoError(t, err)
}

func (c *rawConn) call(t *testing.T, method byte, args []byte) {
	t.Helper()
	c.last++
	c.send(t, 1, append([]byte{method}, args...))
}

func (c *rawConn) frame(t *testing.T) rawFrame {
	t.Helper()
	f, err := c.next()
	require.NoError(t, err)
	return f
}

func (c *rawConn) next() (rawFrame, error) {
	var head [9]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return rawFrame{}, err
	}
	f := rawFrame{kind: head[4], id: binary.BigEndian.Uint32(head[5:]), body: make([]byte, binary.BigEndian.Uint32(head[:])-5)}
	_, err := io.ReadFull(c.r, f.body)
	return f, err
}

// answer reads an answer without an error.
func (c *rawConn) answer(t *testing.T) {
	t.Helper()
	f := c.frame(t)
	require.EqualValues(t, 6, f.kind)
	require.Zero(t, f.body[0], "%q", f.body)
}

func (c *rawConn) hello(t *testing.T, version byte) {
	t.Helper()
	c.send(t, 0, helloBody(version))
	require.Zero(t, c.frame(t).kind)
}

func helloBody(version byte) []byte {
	body := append([]byte{0, 0, 0, 6}, "runnel"...)
	body = append(body, 0, version, 0, 0, 0, 7)
	return append(body, make([]byte, 8)...)
}

// openConsumerBody is the configuration of a consumer without a group.
func openConsumerBody() []byte {
	var body []byte
	for range 3 { // client, group, no topics
		body = append(body, 0, 0, 0, 0)
	}
	body = append(body, make([]byte, 16)...) // pattern, instance, assignor, metadata
	body = append(body, make([]byte, 13)...) // from the start
	body = append(body, make([]byte, 16)...) // timeouts
	body = binary.BigEndian.AppendUint64(body, 1000)
	body = binary.BigEndian.AppendUint64(body, 1<<20)
	return append(body, 0) // uncommitted records, too
}

// Another version of the protocol is refused, by both sides, and the error says
// which one to upgrade.
func TestAnotherVersion(t *testing.T) {
	_, _, dir := serve(t)
	raw := connect(t, dir)
	raw.hello(t, 2)
	_, err := raw.next()
	require.ErrorIs(t, err, io.EOF)

	for version, hint := range map[byte]string{0: "upgrade the program that holds", 2: "upgrade the program that attaches"} {
		dir := t.TempDir()
		l, err := net.Listen("unix", filepath.Join(dir, attach.SocketName))
		require.NoError(t, err)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c := &rawConn{Conn: conn, r: bufio.NewReader(conn)}
			_, _ = c.next()
			c.send(t, 0, helloBody(version))
		}()
		_, err = attach.Dial(dir)
		require.ErrorIs(t, err, fault.UnsupportedVersion)
		require.ErrorContains(t, err, "process 7, which holds")
		require.ErrorContains(t, err, hint)
		require.NoError(t, l.Close())
	}
}

// A client that breaks the protocol gets the reason and is disconnected, and no
// other client notices.
func TestStrangers(t *testing.T) {
	b, _, dir := serve(t, topic.Spec{Name: "orders"})
	client := dial(t, dir)
	for name, say := range map[string]func(c *rawConn){
		"no hello":           func(c *rawConn) { _, _ = c.Write([]byte("GET / HTTP/1.1\r\n\r\n")) },
		"another greeting":   func(c *rawConn) { c.send(t, 0, []byte{0, 0, 0, 2, 'h', 'i'}) },
		"a call before":      func(c *rawConn) { c.call(t, 3, nil) },
		"an unknown kind":    func(c *rawConn) { c.hello(t, 1); c.send(t, 77, nil) },
		"a server's frame":   func(c *rawConn) { c.hello(t, 1); c.send(t, 6, nil) },
		"a parcel too early": func(c *rawConn) { c.hello(t, 1); c.send(t, 4, make([]byte, 100)) },
		"a length of 4 GiB":  func(c *rawConn) { c.hello(t, 1); _, _ = c.Write([]byte{255, 255, 255, 255, 1, 0, 0, 0, 0}) },
		"a negative length":  func(c *rawConn) { c.hello(t, 1); _, _ = c.Write([]byte{0, 0, 0, 1, 1, 0, 0, 0, 0}) },
	} {
		raw := connect(t, dir)
		say(raw)
		for {
			f, err := raw.next()
			if err != nil {
				break
			}
			require.EqualValues(t, 10, f.kind, "%s: %q", name, f.body)
		}
	}
	// An invalid call gets an answer like any other.
	raw := connect(t, dir)
	raw.hello(t, 1)
	for _, body := range [][]byte{{}, {0}, {99}, {3, 1}, {1, 255, 255, 255, 255, 255}, {19, 0}, {16, 0, 0, 0, 0}} {
		raw.last++
		raw.send(t, 1, body)
		f := raw.frame(t)
		require.EqualValues(t, 6, f.kind)
		require.NotZero(t, f.body[0], "%v", body)
	}
	names, err := client.Topics(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"orders"}, names)
	require.Zero(t, b.Sessions())
}

// listenIn creates the socket in a directory that is held until the test ends.
func listenIn(t *testing.T, dir string) (*attach.Listener, error) {
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, root.Close()) })
	return attach.Listen(dir, root)
}
