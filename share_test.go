package runnel_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/runneltest"
	"github.com/runnel-go/runnel/share"
	"github.com/runnel-go/runnel/topic"
)

// memory opens a broker in memory with a topic, within a bubble.
func memory(t *testing.T, name string, partitions int) *runnel.Broker {
	t.Helper()
	b, err := runnel.OpenMemory()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: name, Partitions: partitions}))
	return b
}

// sendValues sends records, one batch for each.
func sendValues(t *testing.T, b producer.Backend, name string, values ...string) {
	t.Helper()
	p, err := producer.New(b)
	require.NoError(t, err)
	defer p.Close()
	for _, v := range values {
		_, err := p.Send(t.Context(), record.Record{Topic: name, Value: []byte(v)})
		require.NoError(t, err)
	}
}

func numbers(n int) (all []string) {
	for i := range n {
		all = append(all, strconv.Itoa(i))
	}
	return all
}

func queue(t *testing.T, b share.Backend, group, topic string, opts ...share.Option) *share.Consumer {
	t.Helper()
	c, err := share.New(b, append([]share.Option{share.Group(group), share.Topics(topic), share.Prefetch(1)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// receive receives a record, which must come without waiting.
func receive(t *testing.T, c *share.Consumer) *share.Delivery {
	t.Helper()
	d, err := c.Receive(t.Context())
	require.NoError(t, err)
	return d
}

// nothing holds that there is no record to receive for as long as d. In a bubble.
func nothing(t *testing.T, c *share.Consumer, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	got, err := c.Receive(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Nil(t, got)
}

func TestShareTwoMembersShareAPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory(t, "jobs", 1)
		sendValues(t, b, "jobs", numbers(6)...)
		ann, bob := queue(t, b, "workers", "jobs"), queue(t, b, "workers", "jobs")
		var done []string
		for range 3 {
			for _, c := range []*share.Consumer{ann, bob} {
				d := receive(t, c)
				require.Equal(t, 1, d.Attempt)
				require.NoError(t, d.Ack(t.Context()))
				require.ErrorIs(t, d.Ack(t.Context()), fault.InvalidRecordState)
				done = append(done, string(d.Record.Value))
			}
		}
		require.Equal(t, numbers(6), done)
		nothing(t, ann, time.Hour)
		other := queue(t, b, "others", "jobs")
		require.Equal(t, "0", string(receive(t, other).Record.Value), "each group has all records")
	})
}

func TestShareReleaseRejectAndLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory(t, "jobs", 1)
		sendValues(t, b, "jobs", numbers(4)...)
		ann, bob := queue(t, b, "workers", "jobs"), queue(t, b, "workers", "jobs")

		released, rejected, slow, later := receive(t, ann), receive(t, ann), receive(t, ann), receive(t, ann)
		nothing(t, bob, 10*time.Second)
		require.NoError(t, released.Release(t.Context()))
		again := receive(t, bob)
		require.Equal(t, released.Record, again.Record)
		require.Equal(t, 2, again.Attempt)
		require.NoError(t, again.Ack(t.Context()))

		require.NoError(t, rejected.Reject(t.Context(), nil))
		require.NoError(t, later.ReleaseAfter(t.Context(), time.Hour))
		began := time.Now()
		taken := receive(t, bob) // waits for the end of the lock
		require.Equal(t, slow.Record, taken.Record)
		require.Equal(t, 20*time.Second, time.Since(began).Truncate(time.Second))
		require.ErrorIs(t, slow.Ack(t.Context()), fault.InvalidRecordState)
		require.NoError(t, taken.Renew(t.Context()))
		require.NoError(t, taken.Ack(t.Context()))

		began = time.Now()
		require.Equal(t, later.Record, receive(t, bob).Record)
		require.InDelta(t, 40*time.Minute, time.Since(began), float64(20*time.Minute))
		nothing(t, ann, time.Second)
	})
}

func TestShareWaitsForWhatComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory(t, "jobs", 2)
		c := queue(t, b, "workers", "jobs", share.Prefetch(5))
		late := queue(t, b, "workers", "later")
		got := make(chan string)
		go func() {
			d, err := c.Receive(t.Context())
			require.NoError(t, err)
			got <- string(d.Record.Value)
		}()
		go func() {
			d, err := late.Receive(t.Context())
			require.NoError(t, err)
			got <- string(d.Record.Value)
		}()
		synctest.Wait()
		sendValues(t, b, "jobs", "a")
		require.Equal(t, "a", <-got)
		held := receive(t, queue(t, b, "others", "jobs"))
		bob := queue(t, b, "others", "jobs")
		began := time.Now()
		go func() {
			d, err := bob.Receive(t.Context())
			require.NoError(t, err)
			got <- string(d.Record.Value)
		}()
		synctest.Wait()
		require.NoError(t, held.Release(t.Context()))
		require.Equal(t, "a", <-got)
		require.Equal(t, began, time.Now(), "what is released is there at once")
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "later", Partitions: 1}))
		sendValues(t, b, "later", "b")
		require.Equal(t, "b", <-got)
	})
}

func TestShareGivesBackWhatIsNotReceived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory(t, "jobs", 1)
		sendValues(t, b, "jobs", numbers(3)...)
		slow, other := queue(t, b, "workers", "jobs", share.Prefetch(3)), queue(t, b, "workers", "jobs")
		began := time.Now()
		require.Equal(t, int64(0), receive(t, slow).Record.Offset)
		d := receive(t, other)
		require.Equal(t, int64(1), d.Record.Offset)
		require.Equal(t, 1, d.Attempt)
		require.Equal(t, share.DefaultLockTime/2, time.Since(began))
	})
}

func TestShareCloseGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory(t, "jobs", 1)
		sendValues(t, b, "jobs", numbers(4)...)
		ann, bob := queue(t, b, "workers", "jobs", share.Prefetch(3)), queue(t, b, "workers", "jobs", share.Prefetch(4))
		held := receive(t, ann)
		require.NoError(t, ann.Close())
		require.NoError(t, ann.Close())
		require.ErrorIs(t, held.Ack(t.Context()), fault.Closed)
		_, err := ann.Receive(t.Context())
		require.ErrorIs(t, err, fault.Closed)
		for i, attempt := range []int{2, 1, 1, 1} { // what was only acquired ahead does not count
			d := receive(t, bob)
			require.Equal(t, int64(i), d.Record.Offset)
			require.Equal(t, attempt, d.Attempt)
		}
		blocked := make(chan error)
		go func() {
			_, err := bob.Receive(context.Background())
			blocked <- err
		}()
		synctest.Wait()
		require.NoError(t, b.Close())
		require.ErrorIs(t, <-blocked, fault.Closed)
		require.NoError(t, bob.Close())
	})
}

func TestShareDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory(t, "jobs", 1)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "dead", Partitions: 1}))
		p, err := producer.New(b)
		require.NoError(t, err)
		defer p.Close()
		sendValues(t, b, "jobs", "bad", "worse", "good")
		c := queue(t, b, "workers", "jobs", share.Attempts(2), share.DeadLetters(p, "dead"))
		require.NoError(t, receive(t, c).Reject(t.Context(), errors.New("bad it is")))
		for attempt := range 2 { // a member that only ever dies
			d := receive(t, c)
			require.Equal(t, "worse", string(d.Record.Value))
			require.Equal(t, attempt+1, d.Attempt)
			time.Sleep(time.Until(d.Until))
		}
		d := receive(t, c)
		require.Equal(t, "good", string(d.Record.Value))
		require.NoError(t, d.Ack(t.Context()))

		dead, err := consumer.New(b, consumer.Assign(record.TopicPartition{Topic: "dead"}))
		require.NoError(t, err)
		defer dead.Close()
		var letters []string
		for len(letters) < 2 {
			records, err := dead.Poll(t.Context())
			require.NoError(t, err)
			for _, r := range records {
				attempts, _ := r.Header(consumer.HeaderAttempts)
				message, _ := r.Header(consumer.HeaderMessage)
				group, _ := r.Header(consumer.HeaderGroup)
				offset, _ := r.Header(consumer.HeaderOffset)
				letters = append(letters, fmt.Sprintf("%s: %s@%s, attempt %s: %s", r.Value, group, offset, attempts, message))
			}
		}
		require.Equal(t, []string{"bad: workers@0, attempt 1: bad it is", "worse: workers@1, attempt 2: all attempts are used up"},
			[]string{letters[0], letters[1][:len("worse: workers@1, attempt 2: all attempts are used up")]})
	})
}

func TestSharePassesOverWhatHasNoRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory(t, "jobs", 1)
		tx := transactional(t, b, "tx")
		for _, commit := range []bool{false, true, false} {
			require.NoError(t, tx.Begin(t.Context()))
			for range 3 {
				_, err := tx.Send(t.Context(), at("jobs", 0, strconv.FormatBool(commit)))
				require.NoError(t, err)
			}
			if commit {
				require.NoError(t, tx.Commit(t.Context()))
			} else {
				require.NoError(t, tx.Abort(t.Context()))
			}
		}
		c := queue(t, b, "workers", "jobs", share.ReadCommitted(), share.Prefetch(7), share.Locks(4))
		began := time.Now()
		for i := range 3 {
			d := receive(t, c)
			require.Equal(t, "true", string(d.Record.Value))
			require.Equal(t, int64(4+i), d.Record.Offset)
			require.NoError(t, d.Ack(t.Context()))
		}
		require.Equal(t, began, time.Now(), "what has no record takes no room")
		nothing(t, c, time.Second)
		all := queue(t, b, "uncommitted", "jobs")
		for range 9 {
			require.NoError(t, receive(t, all).Ack(t.Context()))
		}
		nothing(t, all, time.Second)
	})
}

func TestShareRetentionTakesWhatWasNotDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory(t, "jobs", 1)
		sendValues(t, b, "jobs", numbers(10)...)
		c := queue(t, b, "workers", "jobs")
		held, back := receive(t, c), receive(t, c)
		require.NoError(t, back.Release(t.Context()))
		jobs := record.TopicPartition{Topic: "jobs"}
		_, err := b.DeleteRecords(t.Context(), map[record.TopicPartition]int64{jobs: 5})
		require.NoError(t, err)
		require.Equal(t, int64(5), receive(t, c).Record.Offset)
		require.ErrorIs(t, held.Ack(t.Context()), fault.InvalidRecordState)

		require.NoError(t, b.DeleteTopics(t.Context(), "jobs"))
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "jobs", Partitions: 1}))
		sendValues(t, b, "jobs", "new")
		require.Equal(t, "new", string(receive(t, c).Record.Value), "a topic of the same name is another one")
	})
}

func TestShareBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory(t, "jobs", 1)
		p, err := producer.New(b)
		require.NoError(t, err)
		defer p.Close()
		for range 10 {
			p.SendAsync(t.Context(), record.Record{Topic: "jobs", Value: make([]byte, 1000)}, nil)
		}
		require.NoError(t, p.Flush(t.Context()))
		c := queue(t, b, "workers", "jobs", share.Prefetch(100), share.MaxBytes(2500), share.Locks(4))
		first := receive(t, c)
		other := queue(t, b, "workers", "jobs", share.Locks(4))
		require.Equal(t, int64(3), receive(t, other).Record.Offset, "what does not fit is given back")
		nothing(t, other, time.Second) // Locks
		require.NoError(t, first.Ack(t.Context()))
		require.Equal(t, int64(4), receive(t, other).Record.Offset)
	})
}

// TestShareManyWorkers has records handled by many workers of several members, some of which
// die: each record is done, and no two workers have one at the same time.
func TestShareManyWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const total = 500
		b := memory(t, "jobs", 3)
		sendValues(t, b, "jobs", numbers(total)...)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var mu sync.Mutex
		busy, tries, done := map[record.Position]int{}, map[record.Position]int{}, map[record.Position]int{}
		var running sync.WaitGroup
		for m := range 4 {
			c := queue(t, b, "workers", "jobs", share.Prefetch(8), share.Attempts(50))
			if m == 3 { // it takes some, and is never heard of again
				for range 5 {
					receive(t, c)
				}
				continue
			}
			running.Go(func() {
				err := share.Run(ctx, c, func(ctx context.Context, r record.Record) error {
					mu.Lock()
					busy[r.Position()]++
					require.Equal(t, 1, busy[r.Position()])
					tries[r.Position()]++
					fails := int64(tries[r.Position()]) <= r.Offset%3
					mu.Unlock()
					time.Sleep(time.Duration(r.Offset%5) * 20 * time.Second) // beyond the lock
					mu.Lock()
					defer mu.Unlock()
					busy[r.Position()]--
					if fails {
						return errors.New("again")
					}
					done[r.Position()]++
					if len(done) == total {
						stop()
					}
					return nil
				}, share.Workers(16))
				require.NoError(t, err)
			})
		}
		running.Wait()
		require.Len(t, done, total)
		for at, n := range done {
			require.Equal(t, 1, n, at)
		}
	})
}

func TestShareRunGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory(t, "jobs", 1)
		sendValues(t, b, "jobs", "fails", "panics", "exits", "good")
		c := queue(t, b, "workers", "jobs", share.Attempts(3))
		var mu sync.Mutex
		var tries, given []string
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		err := share.Run(ctx, c, func(_ context.Context, r record.Record) error {
			mu.Lock()
			tries = append(tries, string(r.Value))
			mu.Unlock()
			switch string(r.Value) {
			case "fails":
				return consumer.Permanent(errors.New("never"))
			case "panics":
				panic("oh")
			case "exits":
				runtime.Goexit()
			}
			return nil
		}, share.Workers(2), share.OnGivenUp(func(e *consumer.HandlerError) {
			mu.Lock()
			defer mu.Unlock()
			given = append(given, string(e.Raw.Value)+strconv.Itoa(e.Attempts))
			if len(given) == 3 {
				stop()
			}
		}))
		require.NoError(t, err)
		slices.Sort(tries)
		slices.Sort(given)
		require.Equal(t, []string{"exits", "exits", "exits", "fails", "good", "panics", "panics", "panics"}, tries)
		require.Equal(t, []string{"exits3", "fails1", "panics3"}, given)

		sendValues(t, b, "jobs", "fails")
		err = share.Run(t.Context(), c, func(context.Context, record.Record) error { return consumer.Permanent(errors.New("never")) })
		var e *consumer.HandlerError
		require.ErrorAs(t, err, &e, "neither dead letters nor OnGivenUp")
	})
}

// TestShareCrash holds the promises over power losses: what is acknowledged is never
// delivered again, everything else always is, and deliveries count.
func TestShareCrash(t *testing.T) {
	b := runneltest.New(t)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "jobs", Partitions: 2}))
	sendValues(t, b, "jobs", numbers(60)...)
	acked := map[record.Position]bool{}
	attempts := map[record.Position]int{}
	for len(acked) < 60 {
		c, err := share.New(b, share.Group("workers"), share.Topics("jobs"), share.Prefetch(4), share.Attempts(100))
		require.NoError(t, err)
		for i := range min(9, 60-len(acked)) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			d, err := c.Receive(ctx)
			cancel()
			require.NoError(t, err)
			at := d.Record.Position()
			require.False(t, acked[at], "%v was acknowledged", at)
			require.Greater(t, d.Attempt, attempts[at], "a delivery that was made counts")
			attempts[at] = d.Attempt
			if i%2 == 0 {
				require.NoError(t, d.Ack(t.Context()))
				acked[at] = true
			}
		}
		b = b.Crash()
	}
}

func TestShareDeliversAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory(t, "jobs", 1)
		p, err := producer.New(b)
		require.NoError(t, err)
		defer p.Close()
		began := time.Now()
		for i, delay := range []time.Duration{time.Hour, 0, time.Minute, -time.Minute, time.Minute} {
			r := record.Record{Topic: "jobs", Value: []byte(strconv.Itoa(i))}
			if delay != 0 {
				r.Headers = []record.Header{producer.At(began.Add(delay))}
			}
			_, err := p.Send(t.Context(), r)
			require.NoError(t, err)
		}
		plain, err := consumer.New(b, consumer.Assign(record.TopicPartition{Topic: "jobs"}))
		require.NoError(t, err)
		defer plain.Close()
		records, err := plain.Poll(t.Context())
		require.NoError(t, err)
		require.Len(t, records, 5, "other consumers see all at once")

		c := queue(t, b, "workers", "jobs", share.Prefetch(3))
		var got []string
		for range 5 {
			d := receive(t, c)
			require.Equal(t, 1, d.Attempt)
			got = append(got, string(d.Record.Value)+" after "+time.Since(began).String())
			require.NoError(t, d.Ack(t.Context()))
		}
		require.Equal(t, []string{"1 after 0s", "3 after 0s", "2 after 1m0s", "4 after 1m0s", "0 after 1h0m0s"}, got)
	})
}

// TestShareManyDelayed has far more records wait than Locks allows to be in flight, in batches,
// compressed, and the broker lose power meanwhile.
func TestShareManyDelayed(t *testing.T) {
	b := runneltest.New(t)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "jobs", Partitions: 1}))
	p, err := producer.New(b, producer.Compression(record.LZ4))
	require.NoError(t, err)
	const records = 3000
	soon := time.Now().Add(2 * time.Second)
	for i := range records {
		r := record.Record{Topic: "jobs", Value: []byte("now")}
		if i%10 > 0 {
			r.Value, r.Headers = []byte("later"), []record.Header{producer.At(soon.Add(time.Duration(i%3) * 100 * time.Millisecond))}
		}
		p.SendAsync(t.Context(), r, nil)
	}
	require.NoError(t, p.Flush(t.Context()))
	require.NoError(t, p.Close())
	seen := map[int64]bool{}
	for _, half := range []int{150, 300, 1500, records} {
		c := queue(t, b, "workers", "jobs", share.Locks(100), share.Prefetch(20), share.Attempts(100))
		for len(seen) < half {
			d := receive(t, c)
			require.False(t, seen[d.Record.Offset], "offset %d was acknowledged", d.Record.Offset)
			if at, ok := producer.DeliverAt(d.Record); ok {
				require.False(t, time.Now().Before(at))
			}
			require.NoError(t, d.Ack(t.Context()))
			seen[d.Record.Offset] = true
		}
		b = b.Crash()
	}
}

func TestShareAdmin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory(t, "jobs", 3)
		none, err := b.ShareGroups(t.Context())
		require.NoError(t, err)
		require.Empty(t, none)
		_, err = b.DescribeShareGroup(t.Context(), "workers")
		require.ErrorIs(t, err, fault.GroupNotFound)
		require.ErrorIs(t, b.DeleteShareGroup(t.Context(), "workers"), fault.GroupNotFound)

		p, err := producer.New(b, producer.Partitioner(topic.ManualPartitioner))
		require.NoError(t, err)
		defer p.Close()
		for i := range 9 {
			_, err := p.Send(t.Context(), at("jobs", int32(i%3), strconv.Itoa(i)))
			require.NoError(t, err)
		}
		c := queue(t, b, "workers", "jobs")
		var held []*share.Delivery
		for range 5 {
			held = append(held, receive(t, c))
		}
		require.NoError(t, held[0].ReleaseAfter(t.Context(), time.Hour))
		queue(t, b, "others", "jobs")
		names, err := b.ShareGroups(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"workers"}, names, "a member that has received nothing makes no group")
		d, err := b.DescribeShareGroup(t.Context(), "workers")
		require.NoError(t, err)
		require.Len(t, d.Partitions, 3)
		var sum share.PartitionDescription
		for i, one := range d.Partitions {
			require.Equal(t, record.TopicPartition{Topic: "jobs", Partition: int32(i)}, one.TopicPartition)
			require.Zero(t, one.Start)
			sum.End, sum.Acquired, sum.Delayed, sum.New = sum.End+one.End, sum.Acquired+one.Acquired, sum.Delayed+one.Delayed, sum.New+one.New
		}
		require.Equal(t, share.PartitionDescription{End: 5, Acquired: 4, Delayed: 1, New: 4}, sum)

		all := []record.TopicPartition{{Topic: "jobs"}, {Topic: "jobs", Partition: 1}, {Topic: "jobs", Partition: 2}}
		require.ErrorIs(t, b.ResetShareGroup(t.Context(), "workers", topic.Earliest(), all...), fault.NonEmptyGroup)
		require.ErrorIs(t, b.DeleteShareGroup(t.Context(), "workers"), fault.NonEmptyGroup)
		require.NoError(t, c.Close())
		require.NoError(t, b.ResetShareGroup(t.Context(), "workers", topic.AtOffset(2), all...))
		require.ErrorIs(t, b.ResetShareGroup(t.Context(), "workers", topic.AtOffset(20), all...), fault.OffsetOutOfRange)
		require.ErrorIs(t, b.ResetShareGroup(t.Context(), "workers", topic.Earliest(), record.TopicPartition{Topic: "none"}), fault.UnknownTopic)
		again := queue(t, b, "workers", "jobs")
		for range 3 {
			d := receive(t, again)
			require.Equal(t, int64(2), d.Record.Offset)
			require.Equal(t, 1, d.Attempt)
			require.NoError(t, d.Ack(t.Context()))
		}
		nothing(t, again, time.Hour)
		require.NoError(t, b.DeleteShareGroup(t.Context(), "workers"))
		names, err = b.ShareGroups(t.Context())
		require.NoError(t, err)
		require.Empty(t, names)
		require.Zero(t, receive(t, again).Record.Offset, "a member that is still there begins anew")
	})
}

// TestShareStateStaysSmall holds that the log of what was delivered does not grow with it.
func TestShareStateStaysSmall(t *testing.T) {
	b := runneltest.New(t)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "jobs", Partitions: 1}))
	sendValues(t, b, "jobs", numbers(3000)...)
	c := queue(t, b, "workers", "jobs")
	for range 3000 {
		require.NoError(t, receive(t, c).Ack(t.Context()))
	}
	size := func() (n int64) {
		described, err := b.DescribeTopics(t.Context(), topic.ShareGroupState)
		require.NoError(t, err)
		for _, p := range described[0].Partitions {
			n += p.EndOffset - p.StartOffset
		}
		return n
	}
	require.Less(t, size(), int64(5000), "of 6000 records, snapshots have made most superfluous")
	require.NoError(t, c.Close())
	b = b.Crash()
	d, err := b.DescribeShareGroup(t.Context(), "workers")
	require.NoError(t, err)
	require.Equal(t, int64(3000), d.Partitions[0].Start)
}
