package attach_test

import (
	"context"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// calls holds every kind of call that a client makes.
type calls map[string]func(ctx context.Context) error

// clientCalls are the calls that belong to no session, and the opening of
// sessions.
func clientCalls(c *attach.Client) calls {
	orders := record.TopicPartition{Topic: "orders"}
	var made atomic.Int64
	return calls{
		"CreateTopics": func(ctx context.Context) error {
			name := "t" + strconv.FormatInt(time.Now().UnixNano(), 36) + "-" + strconv.FormatInt(made.Add(1), 10)
			if err := c.CreateTopics(ctx, topic.Spec{Name: name}); err != nil {
				return err
			}
			return c.DeleteTopics(ctx, name)
		},
		"Topics":         func(ctx context.Context) error { _, err := c.Topics(ctx); return err },
		"DescribeTopics": func(ctx context.Context) error { _, err := c.DescribeTopics(ctx, "orders"); return err },
		"ConfigureTopic": func(ctx context.Context) error { return c.ConfigureTopic(ctx, "orders", topic.Config{}) },
		"AddPartitions": func(ctx context.Context) error {
			err := c.AddPartitions(ctx, "orders", 1)
			if fault.CodeOf(err) == fault.InvalidPartitions {
				return nil
			}
			return err
		},
		"DeleteRecords": func(ctx context.Context) error {
			_, err := c.DeleteRecords(ctx, map[record.TopicPartition]int64{orders: 0})
			return err
		},
		"ListOffsets": func(ctx context.Context) error { _, err := c.ListOffsets(ctx, topic.Latest(), orders); return err },
		"Groups":      func(ctx context.Context) error { _, err := c.Groups(ctx); return err },
		"DescribeGroups": func(ctx context.Context) error {
			_, err := c.DescribeGroups(ctx, "kept")
			return err
		},
		"GroupOffsets": func(ctx context.Context) error { _, err := c.GroupOffsets(ctx, "kept"); return err },
		"SetGroupOffsets": func(ctx context.Context) error {
			return c.SetGroupOffsets(ctx, "kept", map[record.TopicPartition]consumer.Offset{orders: {Offset: 0}})
		},
		"DeleteGroupOffsets": func(ctx context.Context) error { return c.DeleteGroupOffsets(ctx, "kept") },
		"DeleteGroups": func(ctx context.Context) error {
			err := c.SetGroupOffsets(ctx, "gone", map[record.TopicPartition]consumer.Offset{orders: {Offset: 0}})
			if err == nil {
				err = c.DeleteGroups(ctx, "gone")
			}
			return err
		},
		"Verify": c.Verify,
		"Stream": func(ctx context.Context) error { return c.Stream(ctx, "0", io.Discard) },
		"OpenProducer": func(ctx context.Context) error {
			p, err := c.OpenProducer(ctx, producerConfig)
			if err == nil {
				err = p.Close()
			}
			return err
		},
		"OpenConsumer": func(ctx context.Context) error {
			s, err := c.OpenConsumer(ctx, consumer.Config{MaxRecords: 10, MaxBytes: 1 << 20})
			if err == nil {
				err = s.Close()
			}
			return err
		},
	}
}

var producerConfig = producer.Config{BatchBytes: 1 << 20, BufferBytes: 32 << 20, Idempotent: true}

// producerCalls are the calls of a producer's session.
func producerCalls(t *testing.T, c *attach.Client) calls {
	s, err := c.OpenProducer(t.Context(), producerConfig)
	require.NoError(t, err)
	w, err := s.Topic(t.Context(), "orders")
	require.NoError(t, err)
	b := record.NewBuilder(1 << 10)
	b.Add(record.NoTimestamp, nil, []byte("x"), nil)
	batch, err := b.Batch(nil, record.None, 0)
	require.NoError(t, err)
	async := func(send func(producer.Callback)) error {
		done := make(chan error, 1)
		send(func(_ record.Position, err error) { done <- err })
		return <-done
	}
	return calls{
		"Topic": func(ctx context.Context) error { _, err := s.Topic(ctx, "orders"); return err },
		"Send": func(ctx context.Context) error {
			_, err := w.Send(ctx, record.Record{Value: []byte("x")})
			return err
		},
		"SendAsync": func(ctx context.Context) error {
			return async(func(fn producer.Callback) { w.SendAsync(ctx, record.Record{Value: []byte("x")}, fn) })
		},
		"Append": func(ctx context.Context) error {
			return async(func(fn producer.Callback) { w.Append(ctx, 0, &batch, fn) })
		},
		"Flush": s.Flush,
	}
}

// consumerCalls are the calls of a consumer's session. Fetch usually waits.
func consumerCalls(t *testing.T, c *attach.Client, topicName string) calls {
	tp := record.TopicPartition{Topic: topicName}
	s, err := c.OpenConsumer(t.Context(), consumer.Config{Group: "kept", MaxRecords: 10, MaxBytes: 1 << 20})
	require.NoError(t, err)
	require.NoError(t, s.Assign(t.Context(), []record.TopicPartition{tp}))
	dst := make([]record.Record, 0, 10)
	return calls{
		"Fetch and Seek": func(ctx context.Context) error {
			if err := s.Seek(ctx, tp, topic.AtOffset(0)); err != nil {
				return err
			}
			got, err := s.Fetch(ctx, consumer.UntilDone, dst)
			s.Release(got.Lease)
			return err
		},
		"Position": func(ctx context.Context) error { _, err := s.Position(ctx, tp); return err },
		"Pause":    func(context.Context) error { return s.Pause() },
		"Resume":   func(context.Context) error { return s.Resume() },
		"Commit": func(ctx context.Context) error {
			return s.Commit(ctx, map[record.TopicPartition]consumer.Offset{tp: {Offset: 0}})
		},
		"Committed": func(ctx context.Context) error { _, err := s.Committed(ctx, tp); return err },
		"Offsets":   func(ctx context.Context) error { _, err := s.Offsets(ctx, topic.Latest(), tp); return err },
	}
}

// Whatever a client waits for when a side closes ends with Closed. No caller
// has canceled it, so the error is never context.Canceled. Both sides close,
// each after some of the calls that all kinds make at once.
func TestWhatWaitsWhenASideCloses(t *testing.T) {
	const rounds = 50
	for round := range rounds {
		_, server, dir := serve(t, topic.Spec{Name: "orders"}, topic.Spec{Name: "empty"})
		client, err := attach.Dial(dir)
		require.NoError(t, err)
		orders := map[record.TopicPartition]consumer.Offset{{Topic: "orders"}: {Offset: 0}}
		require.NoError(t, client.SetGroupOffsets(t.Context(), "kept", orders))

		random := rand.New(rand.NewPCG(1, uint64(round)))
		var left atomic.Int64
		left.Store(random.Int64N(100))
		enough := make(chan struct{})
		var once sync.Once
		var workers sync.WaitGroup
		for _, all := range []calls{
			clientCalls(client), producerCalls(t, client), consumerCalls(t, client, "orders"), consumerCalls(t, client, "empty"),
		} {
			for name, call := range all {
				workers.Go(func() {
					for {
						err := call(t.Context())
						if left.Add(-1) <= 0 {
							once.Do(func() { close(enough) })
						}
						if err == nil {
							continue
						}
						if code := fault.CodeOf(err); code != fault.Closed && code != fault.UnknownOutcome {
							t.Errorf("round %d: %s: %v", round, name, err)
						}
						require.NotErrorIs(t, err, context.Canceled, name)
						return
					}
				})
			}
		}
		<-enough
		if round%2 == 0 {
			server.Close()
			workers.Wait()
			require.NoError(t, client.Close())
		} else {
			require.NoError(t, client.Close())
			workers.Wait()
			server.Close()
		}
	}
}

// leaving is a broker whose consumers' sessions end within Seek, as those of a
// broker do when Close is called while Seek runs: Seek then runs the callbacks.
type leaving struct{ watched }

func (l leaving) OpenConsumer(ctx context.Context, cfg consumer.Config) (consumer.Session, error) {
	s, err := l.Broker.OpenConsumer(ctx, cfg)
	return leavingSession{s, cfg}, err
}

type leavingSession struct {
	consumer.Session
	cfg consumer.Config
}

func (s leavingSession) Seek(_ context.Context, tp record.TopicPartition, _ topic.OffsetSpec) error {
	s.cfg.OnRevoked([]record.TopicPartition{tp})
	return fault.Closed
}

// Seek that ends the session runs its last callback, and returns after it.
func TestSeekThatEndsTheSession(t *testing.T) {
	b, _, _ := serve(t, topic.Spec{Name: "orders"})
	dir := t.TempDir()
	l, err := listenIn(t, dir)
	require.NoError(t, err)
	server := attach.Serve(l, leaving{b})
	defer server.Close()
	client, err := attach.Dial(dir)
	require.NoError(t, err)
	defer client.Close()
	s, err := client.OpenConsumer(t.Context(), consumer.Config{MaxRecords: 1, MaxBytes: 1})
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- s.Seek(t.Context(), record.TopicPartition{Topic: "orders"}, topic.Latest()) }()
	select {
	case err := <-ended:
		require.ErrorIs(t, err, fault.Closed)
	case <-time.After(patience):
		require.Fail(t, "Seek waits for the callback that it runs itself")
	}
}

// refusing is a broker that accepts no record, and names no partition when it says why.
type refusing struct{ watched }

func (r refusing) OpenProducer(ctx context.Context, cfg producer.Config) (producer.Session, error) {
	s, err := r.Broker.OpenProducer(ctx, cfg)
	return refusingSession{s}, err
}

type refusingSession struct{ producer.Session }

func (s refusingSession) Topic(ctx context.Context, name string) (producer.Writer, error) {
	w, err := s.Session.Topic(ctx, name)
	return refusingWriter{w}, err
}

type refusingWriter struct{ producer.Writer }

func (refusingWriter) SendAsync(_ context.Context, _ record.Record, fn producer.Callback) {
	fn(record.Position{Offset: -1}, fault.Newf(fault.Closed, "the server ends"))
}

// Close of a producer reports a record that failed because the server ends.
func TestRecordLostToTheServersEnd(t *testing.T) {
	b, _, _ := serve(t, topic.Spec{Name: "orders"})
	dir := t.TempDir()
	l, err := listenIn(t, dir)
	require.NoError(t, err)
	server := attach.Serve(l, refusing{b})
	defer server.Close()
	client, err := attach.Dial(dir)
	require.NoError(t, err)
	defer client.Close()
	p, err := producer.New(client)
	require.NoError(t, err)
	p.SendAsync(t.Context(), record.Record{Topic: "orders"}, nil)
	err = p.Close()
	require.ErrorIs(t, err, fault.Closed)
	require.ErrorContains(t, err, "orders-0: ")
	require.ErrorContains(t, err, "the server ends")
}

// patient is a broker whose calls last until their context ends.
type patient struct {
	watched
	begun chan struct{}
}

func (p patient) Topics(ctx context.Context) ([]string, error) {
	p.begun <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (p patient) DeleteTopics(ctx context.Context, _ ...string) error {
	p.begun <- struct{}{}
	<-ctx.Done()
	return fault.Newf(fault.UnknownOutcome, "the topic may be gone").Because(ctx.Err())
}

func (p patient) SetGroupOffsets(ctx context.Context, _ string, _ map[record.TopicPartition]consumer.Offset) error {
	p.begun <- struct{}{}
	<-ctx.Done()
	return fault.Newf(fault.UnknownOutcome, "the offsets may be stored").Because(ctx.Err())
}

// A change of a group may have happened though its caller has given up.
func TestAChangeOfAGroupIsUncertain(t *testing.T) {
	b, _, _ := serve(t)
	dir := t.TempDir()
	l, err := listenIn(t, dir)
	require.NoError(t, err)
	p := patient{b, make(chan struct{}, 1)}
	server := attach.Serve(l, p)
	defer server.Close()
	client, err := attach.Dial(dir)
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	set := make(chan error, 1)
	go func() { set <- client.SetGroupOffsets(ctx, "g", nil) }()
	<-p.begun
	cancel()
	err = <-set
	require.ErrorIs(t, err, fault.UnknownOutcome)
	require.ErrorIs(t, err, context.Canceled)
	err = client.SetGroupOffsets(ctx, "g", nil)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, fault.UnknownOutcome, "nothing was sent")
}

// The same when the call certainly still waits. Its error still says what may
// have happened, and a caller that cancels its call gets context.Canceled.
func TestACallAtHandEndsWithItsSide(t *testing.T) {
	for _, side := range []string{"server", "client", "caller"} {
		b, _, _ := serve(t)
		dir := t.TempDir()
		l, err := listenIn(t, dir)
		require.NoError(t, err)
		p := patient{b, make(chan struct{}, 2)}
		server := attach.Serve(l, p)
		client, err := attach.Dial(dir)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		read, deleted := make(chan error, 1), make(chan error, 1)
		go func() { _, err := client.Topics(ctx); read <- err }()
		go func() { deleted <- client.DeleteTopics(ctx, "orders") }()
		<-p.begun
		<-p.begun
		switch side {
		case "server":
			server.Close()
		case "client":
			require.NoError(t, client.Close())
		case "caller":
			cancel()
			require.ErrorIs(t, <-read, context.Canceled)
			require.ErrorIs(t, <-deleted, context.Canceled)
		}
		if side != "caller" {
			for _, ended := range []chan error{read, deleted} {
				err := <-ended
				require.ErrorIs(t, err, fault.Closed, side)
				require.NotErrorIs(t, err, context.Canceled, side)
			}
		}
		require.NoError(t, client.Close())
		server.Close()
	}
}
