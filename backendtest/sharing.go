package backendtest

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/share"
	"github.com/runnel-go/runnel/topic"
)

var sharingTests = []test{
	{"members share the records of a partition", func(s *suite) {
		name, group := s.topic(1, topic.Config{}), s.name()
		if !s.features.ShareGroups {
			if b, ok := s.Backend.(share.Backend); ok {
				_, err := share.New(b, share.Group(group), share.Topics(name))
				require.ErrorIs(s, err, fault.UnsupportedVersion)
			}
			return
		}
		p := s.producer()
		w, err := p.Topic(s.ctx, name)
		require.NoError(s, err)
		for _, v := range []string{"a", "b", "c"} {
			_, err := w.Send(s.ctx, record.Record{Topic: name, Value: []byte(v)})
			require.NoError(s, err)
		}
		ann, bob := s.sharing(group, name), s.sharing(group, name)
		a, b := s.receive(ann), s.receive(bob)
		require.Equal(s, "a", string(a.Record.Value))
		require.Equal(s, "b", string(b.Record.Value))
		require.Equal(s, 1, a.Attempt)
		require.NoError(s, a.Ack(s.ctx))
		require.ErrorIs(s, a.Release(s.ctx), fault.InvalidRecordState)
		require.NoError(s, b.Release(s.ctx))
		b = s.receive(ann)
		require.Equal(s, "b", string(b.Record.Value))
		require.Equal(s, 2, b.Attempt)
		require.NoError(s, b.Reject(s.ctx, nil))
		c := s.receive(ann)
		require.Equal(s, "c", string(c.Record.Value))
		require.NoError(s, ann.Close())
		c = s.receive(bob)
		require.Equal(s, "c", string(c.Record.Value))
		require.Equal(s, 2, c.Attempt)
		require.NoError(s, c.Ack(s.ctx))
		require.NoError(s, bob.Close())
		_, err = bob.Receive(s.ctx)
		require.ErrorIs(s, err, fault.Closed)
	}},
	{"a lock ends, and its holder's settlement is refused", whereShared(func(s *suite) {
		name, group := s.shared("a")
		ann, bob := s.sharing(group, name, share.LockTime(200*time.Millisecond)), s.sharing(group, name)
		slow := s.receive(ann)
		taken := s.receive(bob) // waits for the end of the lock
		require.Equal(s, "a", string(taken.Record.Value))
		require.Equal(s, 2, taken.Attempt)
		require.False(s, lockedAt(taken).Before(slow.Until))
		require.ErrorIs(s, slow.Ack(s.ctx), fault.InvalidRecordState)
		require.ErrorIs(s, slow.Renew(s.ctx), fault.InvalidRecordState)
		require.NoError(s, taken.Renew(s.ctx))
		require.NoError(s, taken.Ack(s.ctx))
	})},
	{"a record is given up after its attempts, and becomes a dead letter", whereShared(func(s *suite) {
		name, group := s.shared("bad", "good")
		letters := s.topic(1, topic.Config{})
		opts := []share.Option{share.Attempts(2), share.DeadLetters(s.newProducer(), letters)}
		ann, bob := s.sharing(group, name, opts...), s.sharing(group, name, opts...)
		bad := s.receive(ann)
		require.Equal(s, "bad", string(bad.Record.Value))
		require.NoError(s, bad.Release(s.ctx))
		bad = s.receive(bob)
		require.Equal(s, 2, bad.Attempt)
		require.NoError(s, bad.Release(s.ctx))
		good := s.receive(ann)
		require.Equal(s, "good", string(good.Record.Value))
		require.NoError(s, good.Ack(s.ctx))
		dead := s.receive(s.sharing(s.name(), letters))
		require.Equal(s, "bad", string(dead.Record.Value))
		from, ok := dead.Record.Header(consumer.HeaderTopic)
		require.True(s, ok)
		require.Equal(s, name, string(from))
	})},
	{"a record is not delivered before its time", whereShared(func(s *suite) {
		name, group := s.shared()
		p, began := s.newProducer(), time.Now().Truncate(time.Millisecond)
		soon := began.Add(500 * time.Millisecond)
		for _, r := range []struct {
			value string
			due   time.Time
		}{{"tomorrow", began.Add(24 * time.Hour)}, {"soon", soon}} {
			_, err := p.Send(s.ctx, record.Record{Topic: name, Value: []byte(r.value), Headers: []record.Header{producer.At(r.due)}})
			require.NoError(s, err)
		}
		s.send(name, 0, "now")
		c := s.sharing(group, name)
		delivered := map[string]*share.Delivery{}
		for range 2 { // whichever is first: the time may have come before there was a coordinator
			d := s.receive(c)
			require.Equal(s, 1, d.Attempt)
			delivered[string(d.Record.Value)] = d
		}
		require.Contains(s, delivered, "now", "it is behind one that waits until tomorrow")
		require.NoError(s, delivered["now"].Ack(s.ctx))
		require.Contains(s, delivered, "soon")
		require.False(s, lockedAt(delivered["soon"]).Before(soon))
		again := time.Now().Add(300 * time.Millisecond).Truncate(time.Millisecond)
		require.NoError(s, delivered["soon"].ReleaseAfter(s.ctx, 300*time.Millisecond))
		later := s.receive(c)
		require.Equal(s, "soon", string(later.Record.Value))
		require.Equal(s, 2, later.Attempt)
		require.False(s, lockedAt(later).Before(again))
	})},
	{"members wait for new records, and for released ones", whereShared(func(s *suite) {
		name, group := s.shared()
		ann, bob := s.sharing(group, name), s.sharing(group, name)
		got := make(chan *share.Delivery)
		await := func(c *share.Consumer) {
			go func() {
				d, err := c.Receive(s.ctx)
				assert.NoError(s, err)
				got <- d
			}()
		}
		await(ann)
		await(bob)
		s.send(name, 0, "a")
		first := <-got
		require.Equal(s, 1, first.Attempt)
		require.NoError(s, first.Release(s.ctx)) // the other one waits for it
		second := <-got
		require.Equal(s, 2, second.Attempt)
		require.NoError(s, second.Ack(s.ctx))
		for _, c := range []*share.Consumer{ann, bob} {
			require.NoError(s, c.Close())
		}
	})},
	{"many workers of several members handle each record", whereShared(func(s *suite) {
		const records, members = 200, 3
		name, group := s.topic(3, topic.Config{}), s.name()
		p := s.newProducer()
		for i := range records {
			_, err := p.Send(s.ctx, record.Record{Topic: name, Key: []byte(strconv.Itoa(i)), Value: []byte(strconv.Itoa(i))})
			require.NoError(s, err)
		}
		ctx, stop := context.WithCancel(s.ctx)
		defer stop()
		var mu sync.Mutex
		times, done := map[string]int{}, 0
		var running sync.WaitGroup
		for range members {
			c := s.sharing(group, name)
			running.Go(func() {
				err := share.Run(ctx, c, func(_ context.Context, r record.Record) error {
					mu.Lock()
					defer mu.Unlock()
					times[string(r.Value)]++
					if n, _ := strconv.Atoi(string(r.Value)); n%10 == 0 && times[string(r.Value)] == 1 {
						return errors.New("not yet")
					}
					if done++; done == records {
						stop()
					}
					return nil
				}, share.Workers(4), share.Backoff(time.Millisecond, time.Millisecond))
				assert.NoError(s, err)
			})
		}
		running.Wait()
		require.NoError(s, s.ctx.Err())
		require.Len(s, times, records)
		for value, n := range times {
			number, _ := strconv.Atoi(value)
			want := 1
			if number%10 == 0 {
				want = 2
			}
			require.Equal(s, want, n, value)
		}
	})},
	{"a share group is described, reset and deleted", whereShared(func(s *suite) {
		name, group := s.shared("a", "b", "c")
		admin := s.Backend.(share.Admin)
		c := s.sharing(group, name, share.Prefetch(1))
		d := s.receive(c)
		of := func() share.PartitionDescription {
			described, err := admin.DescribeShareGroup(s.ctx, group)
			require.NoError(s, err)
			require.Equal(s, group, described.Group)
			require.Len(s, described.Partitions, 1)
			require.Equal(s, name, described.Partitions[0].Topic)
			return described.Partitions[0]
		}
		p := of()
		require.EqualValues(s, 1, p.Acquired)
		require.Len(s, p.Members, 1)
		require.GreaterOrEqual(s, p.New+p.Available, int64(2))
		require.ErrorIs(s, admin.DeleteShareGroup(s.ctx, group), fault.NonEmptyGroup)
		require.ErrorIs(s, admin.DeleteShareGroupOffsets(s.ctx, group, name), fault.NonEmptyGroup)
		require.ErrorIs(s, admin.ResetShareGroup(s.ctx, group, topic.Earliest(), p.TopicPartition), fault.NonEmptyGroup)
		require.NoError(s, d.Ack(s.ctx))
		require.NoError(s, c.Close())
		require.Zero(s, of().Acquired)

		names, err := admin.ShareGroups(s.ctx)
		require.NoError(s, err)
		require.Contains(s, names, group)
		require.NoError(s, admin.ResetShareGroup(s.ctx, group, topic.Latest(), p.TopicPartition))
		require.Zero(s, of().New)
		require.NoError(s, admin.ResetShareGroup(s.ctx, group, topic.Earliest(), p.TopicPartition))
		c = s.sharing(group, name)
		d = s.receive(c)
		require.Equal(s, "a", string(d.Record.Value))
		require.Equal(s, 1, d.Attempt)
		require.NoError(s, c.Close())
		require.NoError(s, admin.DeleteShareGroupOffsets(s.ctx, group, name))
		_, err = admin.DescribeShareGroup(s.ctx, group)
		require.ErrorIs(s, err, fault.GroupNotFound)
		require.NoError(s, admin.ResetShareGroup(s.ctx, group, topic.Earliest(), p.TopicPartition))
		require.NoError(s, admin.DeleteShareGroup(s.ctx, group))
		require.ErrorIs(s, admin.DeleteShareGroup(s.ctx, group), fault.GroupNotFound)
		require.ErrorIs(s, admin.DeleteShareGroupOffsets(s.ctx, group, name), fault.GroupNotFound)
	})},
}

// sharing opens a member of a share group, which is closed at the end of the test.
func (s *suite) sharing(group, topic string, opts ...share.Option) *share.Consumer {
	s.Helper()
	c, err := share.New(s.Backend.(share.Backend), append([]share.Option{share.Group(group), share.Topics(topic)}, opts...)...)
	require.NoError(s, err)
	s.Cleanup(func() { _ = c.Close() })
	return c
}

// whereShared is a test of backends that have share groups.
func whereShared(run func(*suite)) func(*suite) {
	return func(s *suite) {
		if s.features.ShareGroups {
			run(s)
		}
	}
}

// shared returns a topic with these values, and a share group.
func (s *suite) shared(values ...string) (name, group string) {
	s.Helper()
	name, group = s.topic(1, topic.Config{}), s.name()
	s.send(name, 0, values...)
	return name, group
}

// lockedAt returns when the coordinator locked a record for a member with the lock time that is
// the default: however long its way to the member was, it was not delivered earlier.
func lockedAt(d *share.Delivery) time.Time { return d.Until.Add(-share.DefaultLockTime) }

func (s *suite) receive(c *share.Consumer) *share.Delivery {
	s.Helper()
	d, err := c.Receive(s.ctx)
	require.NoError(s, err)
	return d
}
