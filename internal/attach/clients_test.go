package attach_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// What the test binary does in a directory when a test runs it again.
const (
	doVariable  = "RUNNEL_TEST_DO"
	dirVariable = "RUNNEL_TEST_DIR"
)

// asChild is what the test binary does when a test has run it again: it prints
// "ready" once it has begun, and continues until it is killed.
func asChild(what, dir string) error {
	ctx := context.Background()
	switch what {
	case "hold":
		b, err := runnel.Open(dir)
		if err != nil {
			return err
		}
		if err := b.CreateTopics(ctx, topic.Spec{Name: "orders"}); err != nil {
			return err
		}
	case "member":
		r, err := runnel.Attach(dir)
		if err != nil {
			return err
		}
		p, err := producer.New(r, producer.Linger(time.Hour))
		if err != nil {
			return err
		}
		p.SendAsync(ctx, record.Record{Topic: "orders", Value: []byte("never sent")}, nil)
		c, err := consumer.New(r, consumer.Group("g"), consumer.Topics("orders"), consumer.SessionTimeout(time.Hour), consumer.RebalanceTimeout(time.Hour))
		if err != nil {
			return err
		}
		if _, err := c.Poll(ctx); err != nil {
			return err
		}
	case "transaction":
		r, err := runnel.Attach(dir)
		if err != nil {
			return err
		}
		p, err := producer.New(r, producer.TransactionalID("shop"), producer.TransactionTimeout(time.Second))
		if err != nil {
			return err
		}
		if err := p.Begin(ctx); err != nil {
			return err
		}
		_, _ = p.Send(ctx, record.Record{Topic: "orders", Value: []byte("open")}) // which fails if that took as long
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// child runs the test binary again and waits until it is ready.
func child(t *testing.T, what, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), doVariable+"="+what, dirVariable+"="+dir)
	_, err = cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	return cmd
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
}

func openBroker(t *testing.T, dir string, specs ...topic.Spec) *runnel.Broker {
	t.Helper()
	b, err := runnel.Open(dir, runnel.DefaultDurability(topic.OS))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	require.NoError(t, b.CreateTopics(t.Context(), specs...))
	return b
}

func attachTo(t *testing.T, dir string) *runnel.Remote {
	t.Helper()
	r, err := runnel.Attach(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func newProducer(t *testing.T, b producer.Backend, opts ...producer.Option) *producer.Producer {
	t.Helper()
	p, err := producer.New(b, opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = p.Flush(context.Background())
		if c, ok := b.(*attach.Client); ok {
			attach.NothingIsHeld(t, c)
		}
		require.NoError(t, p.CloseNow())
	})
	return p
}

// Two processes and the broker's own program share a topic and a group.
func TestClientsShareWithTheProgramItself(t *testing.T) {
	dir := t.TempDir()
	b := openBroker(t, dir, topic.Spec{Name: "orders", Partitions: 3})
	ctx := t.Context()
	assigned := make(chan int, 100)
	var members []*consumer.Consumer
	seen := make(chan string, 100)
	var reading sync.WaitGroup
	for _, backend := range []consumer.Backend{b, attachTo(t, dir), attachTo(t, dir)} {
		c, err := consumer.New(backend, consumer.Group("g"), consumer.Topics("orders"),
			consumer.OnAssigned(func(tps []record.TopicPartition) { assigned <- len(tps) }))
		require.NoError(t, err)
		members = append(members, c)
		reading.Go(func() {
			for r, err := range c.Records(ctx) {
				if err != nil {
					return
				}
				seen <- string(r.Value)
			}
		})
	}
	for shared := func() bool {
		return !slices.ContainsFunc(members, func(c *consumer.Consumer) bool { return len(c.Assignment()) != 1 })
	}; !shared(); {
		<-assigned
	}
	var want, got []string
	for i, backend := range []producer.Backend{attachTo(t, dir), b, attachTo(t, dir)} {
		p := newProducer(t, backend, producer.Partitioner(topic.ManualPartitioner))
		for partition := range int32(3) {
			value := fmt.Sprint(i, partition)
			want = append(want, value)
			_, err := p.Send(ctx, record.Record{Topic: "orders", Partition: partition, Value: []byte(value)})
			require.NoError(t, err)
		}
	}
	for range want {
		got = append(got, <-seen)
	}
	require.ElementsMatch(t, want, got)
	for _, c := range members {
		require.NoError(t, c.Close())
	}
	reading.Wait()
}

// A client that is killed leaves its group, and records that it had not sent
// are lost.
func TestKilledClient(t *testing.T) {
	dir := t.TempDir()
	b := openBroker(t, dir, topic.Spec{Name: "orders", Partitions: 2})
	p := newProducer(t, b, producer.Partitioner(topic.ManualPartitioner))
	for partition := range int32(2) {
		_, err := p.Send(t.Context(), record.Record{Topic: "orders", Partition: partition})
		require.NoError(t, err)
	}
	member := child(t, "member", dir)
	described, err := b.DescribeGroups(t.Context(), "g")
	require.NoError(t, err)
	require.Len(t, described[0].Members, 1)
	require.Equal(t, 3, b.Sessions())
	kill(t, member)

	c, err := consumer.New(b, consumer.Group("g"), consumer.Topics("orders"))
	require.NoError(t, err)
	defer c.Close()
	for range 2 { // neither was committed, and both come without waiting for a timeout
		batch, err := c.Poll(t.Context())
		require.NoError(t, err)
		require.Len(t, batch, 1)
	}
	described, err = b.DescribeGroups(t.Context(), "g")
	require.NoError(t, err)
	require.Len(t, described[0].Members, 1)
	listed, err := b.ListOffsets(t.Context(), topic.Latest(), record.TopicPartition{Topic: "orders"})
	require.NoError(t, err)
	require.EqualValues(t, 1, listed[record.TopicPartition{Topic: "orders"}].Offset)
}

// When the process that holds the directory dies, the outcome of records in
// flight is unknown, and everything else fails.
func TestKilledBroker(t *testing.T) {
	dir := t.TempDir()
	holder := child(t, "hold", dir)
	r := attachTo(t, dir)
	ctx := t.Context()
	p, err := producer.New(r, producer.Linger(time.Hour))
	require.NoError(t, err)
	told := make(chan error, 1)
	p.SendAsync(ctx, record.Record{Topic: "orders", Value: []byte("on its way")}, func(_ record.Position, err error) { told <- err })
	c, err := consumer.New(r, consumer.Assign(record.TopicPartition{Topic: "orders"}))
	require.NoError(t, err)
	polled := make(chan error, 1)
	go func() {
		_, err := c.Poll(ctx)
		polled <- err
	}()
	_, err = r.Topics(ctx)
	require.NoError(t, err)
	kill(t, holder)
	require.ErrorIs(t, <-told, fault.UnknownOutcome)
	require.ErrorIs(t, <-polled, fault.Closed)
	_, err = p.Send(ctx, record.Record{Topic: "orders"})
	require.ErrorIs(t, err, fault.Closed)
	require.ErrorIs(t, p.Flush(ctx), fault.Closed)
	_, err = r.Topics(ctx)
	require.ErrorIs(t, err, fault.Closed)
	_, err = producer.New(r)
	require.ErrorIs(t, err, fault.Closed)
	require.NoError(t, p.Close())
	require.NoError(t, c.Close())
}

// When the broker closes, unacknowledged records were not written, and their
// errors say so.
func TestClosedBroker(t *testing.T) {
	dir := t.TempDir()
	b, err := runnel.Open(dir)
	require.NoError(t, err)
	ctx := t.Context()
	require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders"}))
	r := attachTo(t, dir)
	p := newProducer(t, r)
	_, err = p.Send(ctx, record.Record{Topic: "orders", Value: []byte("sent")})
	require.NoError(t, err)
	lingering := newProducer(t, r, producer.Linger(time.Hour))
	told := make(chan error, 1)
	lingering.SendAsync(ctx, record.Record{Topic: "orders"}, func(_ record.Position, err error) { told <- err })
	require.NoError(t, b.Close())
	require.ErrorIs(t, <-told, fault.Closed)

	b = openBroker(t, dir)
	listed, err := b.ListOffsets(ctx, topic.Latest(), record.TopicPartition{Topic: "orders"})
	require.NoError(t, err)
	require.EqualValues(t, 1, listed[record.TopicPartition{Topic: "orders"}].Offset)
}

// Many records at once that are much larger than any buffer on their way.
func TestLargeRecords(t *testing.T) {
	dir := t.TempDir()
	const size = 24 << 20
	openBroker(t, dir, topic.Spec{Name: "large", Config: topic.Config{MaxMessageBytes: 2 * size, SegmentBytes: 4 * size}})
	r := attachTo(t, dir)
	p := newProducer(t, r, producer.BufferBytes(2*size))
	want := bytes.Repeat([]byte("large "), size/6)
	for i := range 4 {
		want[0] = byte(i)
		p.SendAsync(t.Context(), record.Record{Topic: "large", Value: want}, nil)
	}
	require.NoError(t, p.Flush(t.Context()))
	_, err := p.Send(t.Context(), record.Record{Topic: "large", Value: make([]byte, 3*size)})
	require.ErrorIs(t, err, fault.RecordTooLarge)

	c, err := consumer.New(r, consumer.Assign(record.TopicPartition{Topic: "large"}))
	require.NoError(t, err)
	defer c.Close()
	for n := 0; n < 4; {
		batch, err := c.Poll(t.Context())
		require.NoError(t, err)
		for _, r := range batch {
			want[0] = byte(n)
			require.True(t, bytes.Equal(want, r.Value))
			n++
		}
	}
}

// All sides close at any moment, and none waits until the server's patience has ended.
func TestClosingAtAnyMoment(t *testing.T) {
	for round := range 20 {
		dir := t.TempDir()
		b, err := runnel.Open(dir, runnel.DefaultDurability(topic.OS))
		require.NoError(t, err)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 3}))
		started := make(chan struct{}, 8)
		var clients sync.WaitGroup
		for n := range 4 {
			r := attachTo(t, dir)
			clients.Go(func() {
				produceUntilClosed(t, r, started)
				if n == 1 {
					_ = r.Close()
				}
			})
			clients.Go(func() {
				consumeUntilClosed(t, r, started)
				if n == 2 {
					_ = r.Close()
				}
			})
			if n == 3 {
				clients.Go(func() {
					<-started
					_ = r.Close()
				})
			}
		}
		for range round % 7 {
			<-started
		}
		began := time.Now()
		require.NoError(t, b.Close())
		require.Less(t, time.Since(began), patience)
		clients.Wait()
	}
}

func produceUntilClosed(t *testing.T, r *runnel.Remote, started chan struct{}) {
	p, err := producer.New(r)
	if err != nil {
		require.ErrorIs(t, err, fault.Closed)
		started <- struct{}{}
		return
	}
	var sent, told int
	var mu sync.Mutex
	failed := false
	for {
		sent++
		p.SendAsync(t.Context(), record.Record{Topic: "orders", Value: []byte("x")}, func(_ record.Position, err error) {
			mu.Lock()
			defer mu.Unlock()
			told++
			failed = failed || err != nil
		})
		if sent == 100 {
			started <- struct{}{}
		}
		mu.Lock()
		over := failed
		mu.Unlock()
		if over {
			break
		}
	}
	require.NoError(t, p.Close())
	require.Equal(t, sent, told)
	if sent < 100 {
		started <- struct{}{}
	}
}

func consumeUntilClosed(t *testing.T, r *runnel.Remote, started chan struct{}) {
	started <- struct{}{}
	c, err := consumer.New(r, consumer.Group("g"), consumer.Topics("orders"))
	if err != nil {
		require.ErrorIs(t, err, fault.Closed)
		return
	}
	for err == nil {
		_, err = c.Poll(t.Context())
	}
	require.ErrorIs(t, err, fault.Closed)
	_ = c.Close()
}
