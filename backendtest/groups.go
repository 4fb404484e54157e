package backendtest

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/tasks"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// member is a consumer in a group, with a goroutine that keeps fetching: a
// member that does not call Fetch takes no part in rebalancing.
type member struct {
	consumer.Session
	events  chan event
	fetches chan consumer.Fetched
	stopped chan struct{}
}

// event is a change of a member's assignment.
type event struct {
	kind       string // assigned, revoked, lost
	partitions []record.TopicPartition
}

// join starts a member. Callbacks that change sets are called first.
func (s *suite) join(group string, topics []string, change ...func(*consumer.Config)) *member {
	s.Helper()
	m := &member{
		events: make(chan event, 1000), fetches: make(chan consumer.Fetched, 100_000), stopped: make(chan struct{}),
	}
	// It is not atomic, so that the race detector sees callbacks that run on
	// another goroutine than the one that fetches.
	fetching := false
	m.Session = s.consumer(append([]func(*consumer.Config){inGroup(group, topics...)}, append(change, func(cfg *consumer.Config) {
		wrap := func(kind string, own func([]record.TopicPartition)) func([]record.TopicPartition) {
			return func(partitions []record.TopicPartition) {
				if kind == "assigned" && !fetching {
					s.Error("partitions assigned outside of Fetch")
				}
				if !slices.IsSortedFunc(partitions, record.TopicPartition.Compare) {
					s.Errorf("partitions are not sorted: %v", partitions)
				}
				if own != nil {
					own(partitions)
				}
				m.events <- event{kind, slices.Clone(partitions)}
			}
		}
		cfg.OnAssigned = wrap("assigned", cfg.OnAssigned)
		cfg.OnRevoked = wrap("revoked", cfg.OnRevoked)
		cfg.OnLost = wrap("lost", cfg.OnLost)
	})...)...)
	ctx, cancel := context.WithCancel(s.ctx)
	go func() {
		defer close(m.stopped)
		for {
			fetching = true
			got, err := m.Fetch(ctx, consumer.UntilDone, nil)
			fetching = false
			if err != nil {
				if ctx.Err() == nil && fault.CodeOf(err) != fault.Closed {
					s.Errorf("Fetch: %v", err)
				}
				return
			}
			m.fetches <- got
		}
	}()
	s.Cleanup(func() {
		cancel()
		<-m.stopped
	})
	return m
}

// leave stops the member's goroutine, which no longer fetches, and closes it.
func (s *suite) leave(m *member) {
	s.Helper()
	require.NoError(s, m.Close())
	select {
	case <-m.stopped:
	case <-s.ctx.Done():
		s.Fatal("the member does not stop")
	}
}

// settle waits until the members share all of a topic's partitions, each
// holding at least one if there are enough.
func (s *suite) settle(all []record.TopicPartition, members ...*member) {
	s.Helper()
	cases := make(chan struct{}, 1)
	stop := make(chan struct{})
	defer close(stop)
	for _, m := range members {
		go func() {
			for {
				select {
				case e := <-m.events:
					s.Logf("%p %s %v", m, e.kind, e.partitions)
					select {
					case cases <- struct{}{}:
					default:
					}
				case <-stop:
					return
				}
			}
		}()
	}
	for {
		var union []record.TopicPartition
		least := len(all)
		for _, m := range members {
			owned := m.Assignment()
			union = append(union, owned...)
			least = min(least, len(owned))
		}
		slices.SortFunc(union, record.TopicPartition.Compare)
		if slices.Equal(union, all) && (least > 0 || len(members) > len(all)) {
			return
		}
		select {
		case <-cases:
		case <-s.ctx.Done():
			s.Fatalf("the members own %v instead of %v", union, all)
		}
	}
}

// awaitStable waits until the group knows that its members have what it assigned.
func (s *suite) awaitStable(group string) {
	s.Helper()
	for {
		described, err := s.DescribeGroups(s.ctx, group)
		require.NoError(s, err)
		if described[0].State == consumer.GroupStable {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// event returns the member's next change of that kind, and skips others.
func (s *suite) event(m *member, kind string) event {
	s.Helper()
	for {
		select {
		case e := <-m.events:
			if e.kind == kind && len(e.partitions) > 0 {
				return e
			}
		case <-s.ctx.Done():
			s.Fatalf("nothing was %s", kind)
		}
	}
}

// take returns the next n records that the member fetched.
func (s *suite) take(m *member, n int) []record.Record {
	s.Helper()
	var all []record.Record
	for len(all) < n {
		select {
		case got := <-m.fetches:
			all = append(all, got.Records...)
		case <-s.ctx.Done():
			s.Fatalf("%d of %d records came", len(all), n)
		}
	}
	require.Len(s, all, n)
	return all
}

var groupTests = []test{
	{"assign all partitions to a single member", func(s *suite) {
		a, b := s.topic(2, topic.Config{}), s.topic(1, topic.Config{})
		s.sendMany(a, 2, 10)
		s.sendMany(b, 1, 10)
		m := s.join(s.name(), []string{b, a})
		want := append(tps(a, 0, 1), tps(b, 0)...)
		slices.SortFunc(want, record.TopicPartition.Compare)
		s.settle(want, m)
		require.Equal(s, want, m.Assignment())
		s.take(m, 30)
	}},
	{"share partitions, and pass them on", func(s *suite) {
		name, group := s.topic(4, topic.Config{}), s.name()
		all := tps(name, 0, 1, 2, 3)
		first := s.join(group, []string{name})
		s.settle(all, first)
		second := s.join(group, []string{name})
		s.settle(all, first, second)
		require.Len(s, first.Assignment(), 2)
		require.Len(s, second.Assignment(), 2)
		s.sendMany(name, 4, 10)
		for _, m := range []*member{first, second} {
			for _, r := range s.take(m, 20) {
				require.Contains(s, m.Assignment(), tp(name, r.Partition))
			}
		}
		s.leave(first)
		s.settle(all, second)
	}},
	{"leave a member without partitions where there are too few", func(s *suite) {
		name, group := s.topic(1, topic.Config{}), s.name()
		first := s.join(group, []string{name})
		s.settle(tps(name, 0), first)
		second := s.join(group, []string{name})
		s.send(name, 0, "a")
		s.settle(tps(name, 0), first, second)
		s.leave(first)
		s.settle(tps(name, 0), second)
	}},
	{"read all, each for itself", func(s *suite) {
		name := s.topic(2, topic.Config{})
		s.sendMany(name, 2, 50)
		for range 2 {
			m := s.join(s.name(), []string{name})
			s.take(m, 100)
		}
	}},
	{"tell members about changes, while they still may commit", func(s *suite) {
		s.still()
		name, group := s.topic(2, topic.Config{}), s.name()
		s.sendMany(name, 2, 10)
		var own atomic.Pointer[member]
		var commits atomic.Int64
		first := s.join(group, []string{name}, func(cfg *consumer.Config) {
			cfg.OnRevoked = func(partitions []record.TopicPartition) {
				if len(partitions) == 0 || own.Load() == nil {
					return
				}
				offsets := map[record.TopicPartition]consumer.Offset{}
				for _, tp := range partitions {
					if !slices.Contains(own.Load().Assignment(), tp) {
						s.Errorf("%v is revoked, and gone already", tp)
					}
					offsets[tp] = consumer.Offset{Offset: s.at(10), LeaderEpoch: -1, Metadata: "revoked"}
				}
				if err := own.Load().Commit(s.ctx, offsets); err != nil {
					s.Errorf("Commit while partitions are revoked: %v", err)
				}
				commits.Add(int64(len(partitions)))
			}
		})
		own.Store(first)
		require.Equal(s, tps(name, 0, 1), s.event(first, "assigned").partitions)
		s.take(first, 20)

		second := s.join(group, []string{name})
		assigned := s.event(second, "assigned").partitions
		require.Len(s, assigned, 1)
		require.Contains(s, s.event(first, "revoked").partitions, assigned[0])
		require.Positive(s, commits.Load())
		offsets, err := s.GroupOffsets(s.ctx, group)
		require.NoError(s, err)
		require.Equal(s, "revoked", offsets[assigned[0]].Metadata)
		// The new owner continues where the old one stopped.
		position, err := second.Position(s.ctx, assigned[0])
		require.NoError(s, err)
		require.Equal(s, s.at(10), position)

		s.leave(first)
		require.NotEmpty(s, s.event(first, "revoked").partitions)
		s.settle(tps(name, 0, 1), second)
	}},
	{"go on where they committed", func(s *suite) {
		name, group := s.topic(1, topic.Config{}), s.name()
		s.sendMany(name, 1, 10)
		c := s.consumer(inGroup(group, name), func(cfg *consumer.Config) { cfg.MaxRecords = 4 })
		got := s.fetch(c, 4)
		require.NoError(s, c.Commit(s.ctx, map[record.TopicPartition]consumer.Offset{tp(name, 0): {Offset: got[3].Offset + 1, LeaderEpoch: got[3].LeaderEpoch}}))
		s.fetch(c, 4) // and does not commit
		require.NoError(s, c.Close())

		c = s.consumer(inGroup(group, name))
		require.Equal(s, []string{"4", "5", "6", "7", "8", "9"}, values(s.fetch(c, 6)))
	}},
	{"start where Start says while nothing is committed", func(s *suite) {
		s.still()
		name := s.topic(1, topic.Config{})
		s.sendMany(name, 1, 10)
		m := s.join(s.name(), []string{name}, func(cfg *consumer.Config) { cfg.Start = topic.Latest() })
		s.settle(tps(name, 0), m)
		position, err := m.Position(s.ctx, tp(name, 0))
		require.NoError(s, err)
		require.Equal(s, s.at(10), position)
		s.send(name, 0, "next")
		require.Equal(s, []string{"next"}, values(s.take(m, 1)))

		c := s.consumer(inGroup(s.name(), name), func(cfg *consumer.Config) { cfg.Start = s.atOffset(8) })
		require.Equal(s, []string{"8", "9", "next"}, values(s.fetch(c, 3)))
	}},
	{"seek in what they are assigned", func(s *suite) {
		s.still()
		name := s.topic(1, topic.Config{})
		s.sendMany(name, 1, 10)
		c := s.consumer(inGroup(s.name(), name))
		s.fetch(c, 10)
		require.NoError(s, c.Seek(s.ctx, tp(name, 0), s.atOffset(6)))
		require.Equal(s, []string{"6", "7", "8", "9"}, values(s.fetch(c, 4)))
		require.NoError(s, c.Seek(s.ctx, tp(name, 0), topic.Earliest()))
		s.fetch(c, 10)
	}},
	{"seek while partitions are assigned", func(s *suite) {
		s.still()
		name := s.topic(1, topic.Config{})
		s.sendMany(name, 1, 10)
		var c consumer.Session
		c = s.consumer(inGroup(s.name(), name), func(cfg *consumer.Config) {
			cfg.OnAssigned = func(partitions []record.TopicPartition) {
				for _, tp := range partitions {
					if err := c.Seek(s.ctx, tp, s.atOffset(7)); err != nil {
						s.Errorf("Seek: %v", err)
					}
				}
			}
		})
		require.Equal(s, []string{"7", "8", "9"}, values(s.fetch(c, 3)))
	}},
	{"seek to no negative offset", func(s *suite) {
		s.still()
		name := s.topic(1, topic.Config{})
		s.sendMany(name, 1, 10)
		c := s.consumer(inGroup(s.name(), name), func(cfg *consumer.Config) { cfg.MaxRecords = 4 })
		s.fetch(c, 4)
		for _, offset := range []int64{-1, -2, -1 << 62} {
			require.ErrorIs(s, c.Seek(s.ctx, tp(name, 0), topic.AtOffset(offset)), fault.OffsetOutOfRange)
			at, err := c.Position(s.ctx, tp(name, 0))
			require.NoError(s, err)
			require.Equal(s, s.at(4), at)
		}
		require.Equal(s, []string{"4", "5", "6", "7"}, values(s.fetch(c, 4)))
	}},
	{"wait for topics that do not exist yet", func(s *suite) {
		name := s.name()
		m := s.join(s.name(), []string{name})
		require.NoError(s, s.CreateTopics(s.ctx, topic.Spec{Name: name, Partitions: 2}))
		s.settle(tps(name, 0, 1), m)
		s.sendMany(name, 2, 1)
		s.take(m, 2)
	}},
	{"share new partitions", func(s *suite) {
		name := s.topic(1, topic.Config{})
		m := s.join(s.name(), []string{name})
		s.settle(tps(name, 0), m)
		require.NoError(s, s.AddPartitions(s.ctx, name, 3))
		s.settle(tps(name, 0, 1, 2), m)
		s.sendMany(name, 3, 1)
		s.take(m, 3)
	}},
	{"keep a static member's partitions for it", func(s *suite) {
		if !s.features.StaticMembers {
			return
		}
		name, group := s.topic(4, topic.Config{}), s.name()
		static := func(instance string) func(*consumer.Config) {
			return func(cfg *consumer.Config) { cfg.InstanceID = instance }
		}
		first := s.join(group, []string{name}, static("one"))
		s.settle(tps(name, 0, 1, 2, 3), first)
		second := s.join(group, []string{name}, static("two"))
		s.settle(tps(name, 0, 1, 2, 3), first, second)
		owned, kept := second.Assignment(), first.Assignment()
		s.leave(second)
		second = s.join(group, []string{name}, static("two"))
		require.Equal(s, owned, s.event(second, "assigned").partitions)
		require.Equal(s, kept, first.Assignment())
	}},
	{"survive that a topic is deleted", func(s *suite) {
		doomed, name := s.topic(1, topic.Config{}), s.topic(1, topic.Config{})
		c := s.consumer(inGroup(s.name(), doomed, name))
		s.send(doomed, 0, "a")
		require.Equal(s, []string{"a"}, values(s.fetch(c, 1)))
		require.NoError(s, s.DeleteTopics(s.ctx, doomed))
		s.send(name, 0, "b")
		for {
			got, err := c.Fetch(s.ctx, consumer.UntilDone, nil)
			if err == nil && len(got.Records) > 0 {
				require.Equal(s, []string{"b"}, values(got.Records))
				break
			}
			if err != nil {
				require.ErrorIs(s, err, fault.UnknownTopic)
			}
		}
	}},
	{"refuses an assignor that it does not know", func(s *suite) {
		cfg := consumer.Config{
			ClientID: "backendtest", Group: s.name(), Topics: []string{s.topic(1, topic.Config{})}, Assignor: "fairest of all",
			SessionTimeout: patience, RebalanceTimeout: patience, MaxRecords: 1, MaxBytes: 1,
		}
		_, err := s.OpenConsumer(s.ctx, cfg)
		require.ErrorIs(s, err, fault.UnsupportedAssignor)
	}},
	{"shares partitions in the manner of each assignor", func(s *suite) {
		name := s.topic(4, topic.Config{})
		for _, assignor := range []string{"uniform", "range", "roundrobin", "sticky", "cooperative-sticky"} {
			group := s.name()
			chosen := func(cfg *consumer.Config) { cfg.Assignor = assignor }
			a, b := s.join(group, []string{name}, chosen), s.join(group, []string{name}, chosen)
			s.settle(tps(name, 0, 1, 2, 3), a, b)
			require.Len(s, a.Assignment(), 2, assignor)
			s.leave(a)
			s.settle(tps(name, 0, 1, 2, 3), b)
		}
	}},
	{"assign as asked", func(s *suite) {
		a, b := s.topic(2, topic.Config{}), s.topic(2, topic.Config{})
		group := s.name()
		ranged := func(cfg *consumer.Config) { cfg.Assignor = "range" }
		first := s.join(group, []string{a, b}, ranged)
		all := append(tps(a, 0, 1), tps(b, 0, 1)...)
		slices.SortFunc(all, record.TopicPartition.Compare)
		s.settle(all, first)
		second := s.join(group, []string{a, b}, ranged)
		s.settle(all, first, second)
		for _, m := range []*member{first, second} {
			owned := m.Assignment()
			require.Len(s, owned, 2)
			require.Equal(s, owned[0].Partition, owned[1].Partition, "the range assignor keeps like partitions together")
		}
	}},
	{"give out tasks as a whole", func(s *suite) {
		a, b, group := s.topic(4, topic.Config{}), s.topic(2, topic.Config{}), s.name()
		told, err := tasks.Metadata{SubTopologies: [][]string{{a, b}}}.Encode()
		require.NoError(s, err)
		thread := func(cfg *consumer.Config) { cfg.Assignor, cfg.Metadata = tasks.Assignor, told }
		topics := []string{a, b}
		slices.Sort(topics)
		all := append(tps(a, 0, 1, 2, 3), tps(b, 0, 1)...)
		slices.SortFunc(all, record.TopicPartition.Compare)
		first := s.join(group, topics, thread)
		s.settle(all, first)
		second := s.join(group, topics, thread)
		s.settle(all, first, second)
		for _, m := range []*member{first, second} {
			reads := map[string]int{}
			numbers := map[int32]bool{}
			for _, tp := range m.Assignment() {
				reads[tp.Topic]++
				numbers[tp.Partition] = true
			}
			require.Equal(s, 2, reads[a], "two of four tasks")
			require.Len(s, numbers, 2, "both topics' partitions of a task belong to one member")
		}
		s.leave(second)
		s.settle(all, first)
	}},
	{"may be left at any moment", func(s *suite) {
		name, group := s.topic(2, topic.Config{}), s.name()
		s.sendMany(name, 2, 100)
		for range 3 {
			m := s.join(group, []string{name})
			s.leave(m)
		}
		m := s.join(group, []string{name})
		s.settle(tps(name, 0, 1), m)
		s.take(m, 200)
	}},
	{"lose nothing while members come and go", func(s *suite) {
		const partitions, each = 4, 200
		name, group := s.topic(partitions, topic.Config{}), s.name()
		seen := make(chan string, 100_000)
		work := func(c consumer.Session, ctx context.Context) {
			for {
				got, err := c.Fetch(ctx, consumer.UntilDone, nil)
				if err != nil {
					return
				}
				for _, r := range got.Records {
					seen <- fmt.Sprintf("%d %s", r.Partition, r.Value)
				}
				err = c.Commit(ctx, map[record.TopicPartition]consumer.Offset{got.TopicPartition: {Offset: got.Next, LeaderEpoch: got.LeaderEpoch}})
				if err != nil && ctx.Err() == nil && !fault.Retriable(err) && fault.CodeOf(err) != fault.Closed && !membership(err) {
					s.Errorf("Commit: %v", err)
				}
			}
		}
		start := func() (consumer.Session, chan struct{}) {
			c := s.consumer(inGroup(group, name), func(cfg *consumer.Config) { cfg.MaxRecords = 20 })
			stopped := make(chan struct{})
			go func() { defer close(stopped); work(c, s.ctx) }()
			return c, stopped
		}
		stay, stayed := start()
		come, came := start()
		s.sendMany(name, partitions, each)
		all := map[string]bool{}
		collect := func(n int) {
			for len(all) < n {
				select {
				case v := <-seen:
					all[v] = true
				case <-s.ctx.Done():
					s.Fatalf("%d of %d records came", len(all), n)
				}
			}
		}
		collect(each)
		require.NoError(s, come.Close())
		<-came
		come, came = start()
		collect(partitions * each)
		require.NoError(s, come.Close())
		require.NoError(s, stay.Close())
		<-came
		<-stayed
	}},
}

// membership reports whether err says that a member is no longer one, or does
// not know the newest assignment yet.
func membership(err error) bool {
	switch fault.CodeOf(err) {
	case fault.UnknownMember, fault.StaleMemberEpoch, fault.FencedMemberEpoch, fault.IllegalGeneration, fault.RebalanceInProgress, fault.FencedInstance:
		return true
	}
	return false
}
