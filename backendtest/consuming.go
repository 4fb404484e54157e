package backendtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// fetched is the result of a Fetch on another goroutine.
type fetched struct {
	consumer.Fetched
	err error
}

// fetchAsync fetches on another goroutine.
func (s *suite) fetchAsync(ctx context.Context, c consumer.Session) <-chan fetched {
	done := make(chan fetched, 1)
	go func() {
		got, err := s.fetchOnce(ctx, c, consumer.UntilDone, nil)
		done <- fetched{got, err}
	}()
	return done
}

// wait waits for a Fetch on another goroutine.
func (s *suite) wait(done <-chan fetched) (consumer.Fetched, error) {
	s.Helper()
	select {
	case f := <-done:
		return f.Fetched, f.err
	case <-s.ctx.Done():
		s.Fatal("Fetch did not return")
		return consumer.Fetched{}, nil
	}
}

var consumingTests = []test{
	{"starts where Start says", func(s *suite) {
		s.still()
		name := s.topic(1, topic.Config{Retention: topic.Forever})
		_, w := s.writer(name)
		for i := range 4 {
			r := record.Record{Topic: name, Value: []byte(fmt.Sprint(i)), Timestamp: time.UnixMilli(int64(1000 * i))}
			_, err := w.Send(s.ctx, r)
			require.NoError(s, err)
		}
		for _, c := range []struct {
			start topic.OffsetSpec
			want  []string
		}{
			{topic.Earliest(), []string{"0", "1", "2", "3", "last"}},
			{topic.Latest(), []string{"last"}},
			{topic.AtTime(time.UnixMilli(1500)), []string{"2", "3", "last"}},
			{topic.AtTime(time.UnixMilli(3001)), []string{"last"}},
			{s.atOffset(3), []string{"3", "last"}},
		} {
			own := s.consumer(func(cfg *consumer.Config) { cfg.Start = c.start })
			require.NoError(s, own.Assign(s.ctx, tps(name, 0)))
			position, err := own.Position(s.ctx, tp(name, 0))
			require.NoError(s, err)
			if c.start == topic.Earliest() {
				require.Zero(s, position)
			} else {
				require.Equal(s, s.at(5-len(c.want)), position)
			}
			defer func() {
				require.Equal(s, c.want, values(s.fetch(own, len(c.want))))
			}()
		}
		_, err := w.Send(s.ctx, record.Record{Topic: name, Value: []byte("last"), Timestamp: time.UnixMilli(2000)})
		require.NoError(s, err)
	}},
	{"brings records of one partition at a time, with what is known", func(s *suite) {
		s.still()
		name := s.topic(2, topic.Config{})
		s.sendMany(name, 2, 100)
		c := s.consumer(func(cfg *consumer.Config) { cfg.MaxRecords = 7 })
		require.NoError(s, c.Assign(s.ctx, tps(name, 0, 1)))
		next := map[record.TopicPartition]int64{tp(name, 0): s.at(0), tp(name, 1): s.at(0)}
		dst := make([]record.Record, 3, 10)
		for next[tp(name, 0)]+next[tp(name, 1)] < 2*s.at(100) {
			got, err := s.fetchOnce(s.ctx, c, consumer.UntilDone, dst)
			require.NoError(s, err)
			require.LessOrEqual(s, len(got.Records), 7)
			for _, r := range got.Records {
				require.Equal(s, got.TopicPartition, tp(r.Topic, r.Partition))
				require.Equal(s, next[got.TopicPartition], r.Offset)
				require.Equal(s, fmt.Sprint(s.number(r.Offset)), string(r.Value))
				next[got.TopicPartition]++
			}
			require.Equal(s, next[got.TopicPartition], got.Next)
			require.LessOrEqual(s, got.Next, got.HighWatermark)
			require.LessOrEqual(s, got.HighWatermark, s.at(100))
			position, err := c.Position(s.ctx, got.TopicPartition)
			require.NoError(s, err)
			require.Equal(s, got.Next, position)
		}
	}},
	{"lets partitions take turns", func(s *suite) {
		name := s.topic(2, topic.Config{})
		s.sendMany(name, 2, 2000)
		c := s.consumer(func(cfg *consumer.Config) { cfg.MaxRecords = 10 })
		require.NoError(s, c.Assign(s.ctx, tps(name, 0, 1)))
		counts := map[int32]int{}
		for counts[0] < 2000 && counts[1] < 2000 {
			got, err := c.Fetch(s.ctx, consumer.UntilDone, nil)
			require.NoError(s, err)
			counts[got.Partition] += len(got.Records)
		}
		require.NotZero(s, counts[0])
		require.NotZero(s, counts[1])
	}},
	{"waits for a record, and wakes", func(s *suite) {
		name := s.topic(3, topic.Config{})
		c := s.assigned(name, 0, 1, 2)
		for i := range int32(3) {
			done := s.fetchAsync(s.ctx, c)
			s.send(name, i, "now")
			got, err := s.wait(done)
			require.NoError(s, err)
			require.Equal(s, tp(name, i), got.TopicPartition)
			require.Equal(s, []string{"now"}, values(got.Records))
		}
	}},
	{"ends waiting when ctx does", func(s *suite) {
		name := s.topic(1, topic.Config{})
		c := s.assigned(name, 0)
		ctx, cancel := context.WithTimeout(s.ctx, 20*time.Millisecond)
		defer cancel()
		_, err := s.fetchOnce(ctx, c, consumer.UntilDone, nil)
		require.ErrorIs(s, err, context.DeadlineExceeded)
		s.send(name, 0, "later")
		require.Equal(s, []string{"later"}, values(s.fetch(c, 1)))
	}},
	{"seeks", func(s *suite) {
		s.still()
		name := s.topic(2, topic.Config{Retention: topic.Forever})
		s.sendMany(name, 2, 10)
		c := s.consumer(func(cfg *consumer.Config) { cfg.MaxRecords = 3 })
		require.NoError(s, c.Assign(s.ctx, tps(name, 0)))
		s.fetch(c, 3)
		for _, to := range []struct {
			spec topic.OffsetSpec
			want string
		}{
			{s.atOffset(7), "7"},
			{s.atOffset(1), "1"},
			{topic.Earliest(), "0"},
			{topic.AtTime(time.UnixMilli(0)), "0"},
			{s.atOffset(9), "9"},
			{s.atOffset(8), "8"},
		} {
			require.NoError(s, c.Seek(s.ctx, tp(name, 0), to.spec))
			got, err := s.fetchOnce(s.ctx, c, consumer.UntilDone, nil)
			require.NoError(s, err)
			require.Equal(s, to.want, string(got.Records[0].Value))
		}
		require.NoError(s, c.Seek(s.ctx, tp(name, 0), topic.Latest()))
		position, err := c.Position(s.ctx, tp(name, 0))
		require.NoError(s, err)
		require.Equal(s, s.at(10), position)
		s.send(name, 0, "next")
		require.Equal(s, []string{"next"}, values(s.fetch(c, 1)))

		require.ErrorIs(s, c.Seek(s.ctx, tp(name, 1), topic.Earliest()), fault.NotAssigned)
		_, err = c.Position(s.ctx, tp(name, 1))
		require.ErrorIs(s, err, fault.NotAssigned)
	}},
	{"passes over paused partitions", func(s *suite) {
		s.still()
		name := s.topic(2, topic.Config{})
		s.sendMany(name, 2, 100)
		c := s.consumer(func(cfg *consumer.Config) { cfg.MaxRecords = 10 })
		require.NoError(s, c.Assign(s.ctx, tps(name, 0, 1)))
		s.fetch(c, 10)
		require.NoError(s, c.Pause(tp(name, 0)))
		before, err := c.Position(s.ctx, tp(name, 0))
		require.NoError(s, err)
		other, err := c.Position(s.ctx, tp(name, 1))
		require.NoError(s, err)
		for _, r := range s.fetch(c, 100-s.number(other)) {
			require.EqualValues(s, 1, r.Partition)
		}
		after, err := c.Position(s.ctx, tp(name, 0))
		require.NoError(s, err)
		require.Equal(s, before, after)

		// All partitions with records are paused now: Fetch waits.
		ctx, cancel := context.WithTimeout(s.ctx, 20*time.Millisecond)
		defer cancel()
		_, err = c.Fetch(ctx, consumer.UntilDone, nil)
		require.ErrorIs(s, err, context.DeadlineExceeded)
		done := s.fetchAsync(s.ctx, c)
		require.NoError(s, c.Resume(tp(name, 0)))
		got, err := s.wait(done)
		require.NoError(s, err)
		require.Equal(s, fmt.Sprint(s.number(before)), string(got.Records[0].Value))
		s.fetch(c, 100-s.number(before)-len(got.Records))
	}},
	{"says that an offset is out of range, and goes on at its start", func(s *suite) {
		s.still()
		name := s.topic(2, topic.Config{})
		s.sendMany(name, 1, 10)
		_, err := s.DeleteRecords(s.ctx, map[record.TopicPartition]int64{tp(name, 0): s.at(6)})
		require.NoError(s, err)
		for _, offset := range []int64{s.at(2), 1000} {
			c := s.assigned(name, 0)
			require.NoError(s, c.Seek(s.ctx, tp(name, 0), topic.AtOffset(offset)))
			_, err = c.Fetch(s.ctx, consumer.UntilDone, nil)
			require.ErrorIs(s, err, fault.OffsetOutOfRange)
			require.Equal(s, []string{"6", "7", "8", "9"}, values(s.fetch(c, 4)), "from %d", offset)
		}
		c := s.consumer(func(cfg *consumer.Config) { cfg.Start = topic.Latest() })
		require.NoError(s, c.Assign(s.ctx, tps(name, 0, 1)))
		require.NoError(s, c.Seek(s.ctx, tp(name, 0), s.atOffset(2)))
		_, err = c.Fetch(s.ctx, consumer.UntilDone, nil)
		require.ErrorIs(s, err, fault.OffsetOutOfRange)
		s.send(name, 1, "other")
		require.Equal(s, []string{"other"}, values(s.fetch(c, 1)))
		s.send(name, 0, "next")
		require.Equal(s, []string{"next"}, values(s.fetch(c, 1)))
	}},
	{"starts over where the group's committed offset is out of range", func(s *suite) {
		s.still()
		name, group := s.topic(1, topic.Config{}), s.name()
		s.sendMany(name, 1, 10)
		offsets := map[record.TopicPartition]consumer.Offset{tp(name, 0): {Offset: s.at(3), LeaderEpoch: -1}}
		require.NoError(s, s.SetGroupOffsets(s.ctx, group, offsets))
		_, err := s.DeleteRecords(s.ctx, map[record.TopicPartition]int64{tp(name, 0): s.at(6)})
		require.NoError(s, err)
		c := s.consumer(inGroup(group, name))
		_, err = c.Fetch(s.ctx, consumer.UntilDone, nil)
		require.ErrorIs(s, err, fault.OffsetOutOfRange)
		require.Equal(s, []string{"6", "7", "8", "9"}, values(s.fetch(c, 4)))
	}},
	{"keeps the position of partitions that stay assigned", func(s *suite) {
		s.still()
		name := s.topic(3, topic.Config{})
		s.sendMany(name, 3, 10)
		c := s.consumer(func(cfg *consumer.Config) { cfg.MaxRecords = 4 })
		require.Empty(s, c.Assignment())
		require.NoError(s, c.Assign(s.ctx, tps(name, 0)))
		s.fetch(c, 4)
		require.NoError(s, c.Assign(s.ctx, tps(name, 2, 0)))
		require.Equal(s, tps(name, 0, 2), c.Assignment())
		position, err := c.Position(s.ctx, tp(name, 0))
		require.NoError(s, err)
		require.Equal(s, s.at(4), position)
		counts := map[int32]int{}
		for range 16 / 4 {
			got, err := s.fetchOnce(s.ctx, c, consumer.UntilDone, nil)
			require.NoError(s, err)
			counts[got.Partition] += len(got.Records)
		}
		require.NotContains(s, counts, int32(1))
		require.NoError(s, c.Assign(s.ctx, tps(name, 1)))
		require.Equal(s, []string{"0", "1", "2", "3"}, values(s.fetch(c, 4)))
		_, err = c.Position(s.ctx, tp(name, 0))
		require.ErrorIs(s, err, fault.NotAssigned)

		// A partition that was taken away and comes back starts again.
		require.NoError(s, c.Assign(s.ctx, tps(name, 0)))
		require.Equal(s, []string{"0", "1", "2", "3"}, values(s.fetch(c, 4)))
	}},
	{"knows offsets of partitions, assigned or not", func(s *suite) {
		s.still()
		name := s.topic(2, topic.Config{})
		s.sendMany(name, 2, 10)
		c := s.assigned(name, 0)
		for _, want := range []struct {
			spec   topic.OffsetSpec
			offset int64
		}{{topic.Earliest(), 0}, {topic.Latest(), s.at(10)}, {topic.AtTime(time.UnixMilli(0)), s.at(0)}} {
			offsets, err := c.Offsets(s.ctx, want.spec, tps(name, 0, 1)...)
			require.NoError(s, err)
			require.Equal(s, map[record.TopicPartition]int64{tp(name, 0): want.offset, tp(name, 1): want.offset}, offsets)
		}
	}},
	{"gets either topics or partitions", func(s *suite) {
		name := s.topic(1, topic.Config{})
		c := s.consumer(inGroup(s.name(), name))
		require.ErrorIs(s, c.Assign(s.ctx, tps(name, 0)), fault.InvalidRequest)
	}},
	{"is used by many goroutines", func(s *suite) {
		name := s.topic(2, topic.Config{})
		s.sendMany(name, 2, 2000)
		c := s.consumer(func(cfg *consumer.Config) { cfg.MaxRecords, cfg.Group = 10, s.name() })
		require.NoError(s, c.Assign(s.ctx, tps(name, 0, 1)))
		var wg sync.WaitGroup
		for _, do := range []func() error{
			func() error { return c.Pause(tp(name, 0)) },
			func() error { return c.Resume(tp(name, 0)) },
			func() error { _, err := c.Position(s.ctx, tp(name, 1)); return err },
			func() error { c.Assignment(); return nil },
			func() error { _, err := c.Offsets(s.ctx, topic.Latest(), tp(name, 1)); return err },
			func() error {
				return c.Commit(s.ctx, map[record.TopicPartition]consumer.Offset{tp(name, 1): {Offset: 1, LeaderEpoch: -1}})
			},
			func() error { _, err := c.Committed(s.ctx, tp(name, 1)); return err },
		} {
			wg.Go(func() {
				for range 50 {
					if err := do(); err != nil {
						s.Error(err)
						return
					}
				}
			})
		}
		s.fetch(c, 2000) // at least of the partition that is never paused
		wg.Wait()
		require.NoError(s, c.Resume(tp(name, 0)))
		s.fetch(c, 2000)
	}},
	{"may be closed at any moment", func(s *suite) {
		name := s.topic(1, topic.Config{})
		s.sendMany(name, 1, 100)
		for range 10 {
			c := s.assigned(name, 0)
			done := make(chan error, 1)
			go func() {
				for {
					if _, err := c.Fetch(s.ctx, consumer.UntilDone, nil); err != nil {
						done <- err
						return
					}
				}
			}()
			require.NoError(s, c.Close())
			select {
			case err := <-done:
				require.ErrorIs(s, err, fault.Closed)
			case <-s.ctx.Done():
				s.Fatal("Fetch did not return")
			}
			require.NoError(s, c.Close())
			require.ErrorIs(s, c.Assign(s.ctx, tps(name, 0)), fault.Closed)
		}
	}},
	{"leaves other partitions alone when a topic is deleted", func(s *suite) {
		doomed, name := s.topic(1, topic.Config{}), s.topic(1, topic.Config{})
		c := s.consumer()
		require.NoError(s, c.Assign(s.ctx, append(tps(doomed, 0), tps(name, 0)...)))
		s.send(doomed, 0, "a")
		s.fetch(c, 1)
		require.NoError(s, s.DeleteTopics(s.ctx, doomed))
		s.send(name, 0, "b")
		for {
			got, err := s.fetchOnce(s.ctx, c, consumer.UntilDone, nil)
			if err == nil {
				require.Equal(s, []string{"b"}, values(got.Records))
				break
			}
			require.ErrorIs(s, err, fault.UnknownTopic)
		}
	}},
}
