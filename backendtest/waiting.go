package backendtest

import (
	"context"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// What the time that a Fetch may wait means.
var waitingTests = []test{
	{"brings what is at hand without waiting", func(s *suite) {
		name := s.topic(1, topic.Config{})
		c := s.assigned(name, 0)
		for _, wait := range []time.Duration{0, -1, -time.Hour} {
			s.send(name, 0, "a")
			for {
				got, err := s.fetchOnce(s.ctx, c, wait, nil)
				require.NoError(s, err)
				if !got.IsNone() {
					require.Equal(s, []string{"a"}, values(got.Records))
					break
				}
				time.Sleep(time.Millisecond)
			}
			got, err := c.Fetch(s.ctx, wait, make([]record.Record, 3))
			require.NoError(s, err, "there is nothing, which is no error")
			s.requireNone(got)
		}
	}},
	{"waits for as long as it may, and not longer", func(s *suite) {
		name := s.topic(1, topic.Config{})
		c := s.assigned(name, 0)
		for _, wait := range []time.Duration{time.Nanosecond, 30 * time.Millisecond} {
			began := time.Now()
			got, err := s.fetchOnce(s.ctx, c, wait, nil)
			require.NoError(s, err)
			s.requireNone(got)
			require.GreaterOrEqual(s, time.Since(began), wait)
			require.Less(s, time.Since(began), patience/2)
		}
		s.send(name, 0, "later")
		got, err := s.fetchOnce(s.ctx, c, patience, nil)
		require.NoError(s, err)
		require.Equal(s, []string{"later"}, values(got.Records))
	}},
	{"ends at once when a record comes", func(s *suite) {
		name := s.topic(1, topic.Config{})
		c := s.assigned(name, 0)
		done := make(chan fetched, 1)
		go func() {
			got, err := s.fetchOnce(s.ctx, c, 24*time.Hour, nil)
			done <- fetched{got, err}
		}()
		s.send(name, 0, "now")
		got, err := s.wait(done)
		require.NoError(s, err)
		require.Equal(s, []string{"now"}, values(got.Records))
	}},
	{"is ctx's, too", func(s *suite) {
		name := s.topic(1, topic.Config{})
		s.send(name, 0, "a")
		c := s.assigned(name, 0)
		over, cancel := context.WithCancel(s.ctx)
		cancel()
		for _, wait := range []time.Duration{0, time.Hour, consumer.UntilDone} {
			got, err := c.Fetch(over, wait, nil)
			require.ErrorIs(s, err, context.Canceled, "a ctx that is done brings nothing")
			s.requireNone(got)
		}
		require.Equal(s, []string{"a"}, values(s.fetch(c, 1)))
		for _, wait := range []time.Duration{time.Hour, consumer.UntilDone} {
			soon, cancel := context.WithTimeout(s.ctx, 20*time.Millisecond)
			defer cancel()
			_, err := s.fetchOnce(soon, c, wait, nil)
			require.ErrorIs(s, err, context.DeadlineExceeded)
		}
	}},
	{"does not keep a member from taking part in its group", func(s *suite) {
		name, group := s.topic(2, topic.Config{}), s.name()
		first := s.consumer(inGroup(group, name))
		owns := func(c consumer.Session, n int, wait time.Duration) bool {
			got, err := s.fetchOnce(s.ctx, c, wait, nil)
			require.NoError(s, err)
			s.requireNone(got)
			return len(c.Assignment()) == n
		}
		for !owns(first, 2, 0) {
			time.Sleep(time.Millisecond)
		}
		second := s.consumer(inGroup(group, name))
		for shared := false; !shared; {
			shared = owns(first, 1, 0)
			shared = owns(second, 1, time.Millisecond) && shared
		}
	}},
}

func (s *suite) requireNone(got consumer.Fetched) {
	s.Helper()
	require.True(s, got.IsNone())
	require.Empty(s, got.Records)
	require.Zero(s, got.Lease)
}

// Records of several Fetches that are in use at once, with ReuseBuffers.
var leasingTests = []test{
	{"holds each Fetch's records until they are given back, in any order", func(s *suite) {
		s.still()
		const n = 2000
		name := s.topic(2, topic.Config{})
		s.sendMany(name, 2, n)
		c := s.consumer(func(cfg *consumer.Config) { cfg.MaxRecords, cfg.MaxBytes, cfg.ReuseBuffers = 20, 1<<10, true })
		require.NoError(s, c.Assign(s.ctx, tps(name, 0, 1)))
		var held []consumer.Fetched
		giveBack := func(i int) {
			got := held[i]
			for _, r := range got.Records {
				require.Equal(s, fmt.Sprint(s.number(r.Offset)), string(r.Value), "it is still leased")
			}
			c.Release(got.Lease)
			held[i] = held[len(held)-1]
			held = held[:len(held)-1]
		}
		for seen := 0; seen < 2*n; {
			got, err := c.Fetch(s.ctx, consumer.UntilDone, nil)
			require.NoError(s, err)
			seen += len(got.Records)
			if held = append(held, got); len(held) > 9 {
				giveBack(seen % len(held)) // some at once, some late
			}
			if seen%7 == 0 {
				giveBack(len(held) - 1)
			}
		}
		for len(held) > 0 {
			giveBack(0)
		}
	}},
	{"takes a lease back once", func(s *suite) {
		s.still()
		name := s.topic(1, topic.Config{})
		s.sendMany(name, 1, 2000)
		c := s.consumer(func(cfg *consumer.Config) { cfg.MaxRecords, cfg.MaxBytes, cfg.ReuseBuffers = 50, 1<<10, true })
		require.NoError(s, c.Assign(s.ctx, tps(name, 0)))
		var before consumer.Lease
		next := 0
		fetch := func() consumer.Fetched {
			if next == 2000 {
				return consumer.Fetched{}
			}
			got, err := c.Fetch(s.ctx, consumer.UntilDone, nil)
			require.NoError(s, err)
			next = s.number(got.Next)
			return got
		}
		for next < 2000 {
			first := fetch()
			c.Release(before) // a second time: it may not end the new one
			c.Release(0)
			second := fetch()
			third := fetch()
			for _, r := range first.Records {
				require.Equal(s, fmt.Sprint(s.number(r.Offset)), string(r.Value))
			}
			c.Release(third.Lease)
			c.Release(second.Lease)
			c.Release(first.Lease)
			before = first.Lease
		}
		require.NoError(s, c.Close())
		c.Release(before)
	}},
}
