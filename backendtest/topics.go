package backendtest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// ledTopic describes a topic. Where a partition begins with its leader's control record,
// it waits for the leader, that record and the followers: no call of a backend does.
func (s *suite) ledTopic(name string) topic.Description {
	s.Helper()
	for late := time.Now().Add(patience); ; {
		described, err := s.DescribeTopics(s.ctx, name)
		require.NoError(s, err)
		require.Len(s, described, 1)
		led := true
		for _, p := range described[0].Partitions {
			led = led && p.Leader >= 0 && !p.UnderReplicated() && p.HighWatermark >= s.features.FirstOffset
		}
		if led || s.features.FirstOffset == 0 {
			return described[0]
		}
		require.True(s, time.Now().Before(late), "no leader yet: %+v", described[0].Partitions)
		time.Sleep(time.Millisecond)
	}
}

var topicTests = []test{
	{"are created, described, listed and deleted", func(s *suite) {
		s.still()
		name := s.topic(3, topic.Config{})
		d := s.ledTopic(name)
		require.Equal(s, name, d.Name)
		require.NotZero(s, d.ID)
		require.False(s, d.Internal)
		require.Equal(s, tps(name, 0, 1, 2), d.TopicPartitions())
		for _, p := range d.Partitions {
			require.GreaterOrEqual(s, p.Leader, int32(0))
			require.NotEmpty(s, p.Replicas)
			require.ElementsMatch(s, p.Replicas, p.ISR)
			require.Zero(s, p.StartOffset)
			require.Equal(s, s.at(0), p.HighWatermark)
			require.Equal(s, s.at(0), p.EndOffset)
		}
		names, err := s.Topics(s.ctx)
		require.NoError(s, err)
		require.Contains(s, names, name)
		require.IsIncreasing(s, append(names, "\xff"))

		require.NoError(s, s.DeleteTopics(s.ctx, name))
		names, err = s.Topics(s.ctx)
		require.NoError(s, err)
		require.NotContains(s, names, name)
		_, err = s.DescribeTopics(s.ctx, name)
		require.ErrorIs(s, err, fault.UnknownTopic)
	}},
	{"are described in the order asked for, or all", func(s *suite) {
		a, b := s.topic(1, topic.Config{}), s.topic(2, topic.Config{})
		described, err := s.DescribeTopics(s.ctx, b, a)
		require.NoError(s, err)
		require.Len(s, described, 2)
		require.Equal(s, []string{b, a}, []string{described[0].Name, described[1].Name})
		described, err = s.DescribeTopics(s.ctx)
		require.NoError(s, err)
		var names []string
		for _, d := range described {
			require.False(s, d.Internal)
			names = append(names, d.Name)
		}
		require.Contains(s, names, a)
		require.Contains(s, names, b)
	}},
	{"are on the nodes of the cluster", func(s *suite) {
		name := s.topic(2, topic.Config{}) // there is a controller by now
		cluster, err := s.DescribeCluster(s.ctx)
		for err == nil && cluster.Controller < 0 && s.features.LeadersMove && s.ctx.Err() == nil {
			time.Sleep(time.Millisecond)
			cluster, err = s.DescribeCluster(s.ctx)
		}
		require.NoError(s, err)
		alive := map[int32]bool{}
		for i, n := range cluster.Nodes {
			require.True(s, i == 0 || n.ID > cluster.Nodes[i-1].ID, "%+v", cluster.Nodes)
			alive[n.ID] = n.Alive
		}
		require.True(s, alive[cluster.Controller], "%+v", cluster)
		for _, p := range s.ledTopic(name).Partitions {
			require.True(s, alive[p.Leader])
			require.NotContains(s, p.Lag, topic.Lag{Node: p.Leader})
		}
	}},
	{"have one partition by default", func(s *suite) {
		name := s.topic(0, topic.Config{})
		described, err := s.DescribeTopics(s.ctx, name)
		require.NoError(s, err)
		require.Len(s, described[0].Partitions, 1)
	}},
	{"exist once", func(s *suite) {
		name := s.topic(1, topic.Config{})
		require.ErrorIs(s, s.CreateTopics(s.ctx, topic.Spec{Name: name}), fault.TopicExists)
	}},
	{"are created all or none", func(s *suite) {
		if !s.features.AtomicTopics {
			return
		}
		name, other := s.topic(1, topic.Config{}), s.name()
		err := s.CreateTopics(s.ctx, topic.Spec{Name: other}, topic.Spec{Name: name})
		require.ErrorIs(s, err, fault.TopicExists)
		_, err = s.DescribeTopics(s.ctx, other)
		require.ErrorIs(s, err, fault.UnknownTopic)
	}},
	{"are ensured: created where missing, grown where asked, never shrunk or configured", func(s *suite) {
		cfg := topic.Config{Cleanup: topic.Compact, Retention: time.Hour}
		there, missing := s.topic(2, cfg), s.name()
		found, err := topic.Ensure(s.ctx, s, topic.Spec{Name: there, Partitions: 2, Config: cfg}, topic.Spec{Name: missing, Partitions: 3})
		require.NoError(s, err)
		require.Equal(s, []topic.Ensured{{Name: there, Partitions: 2}, {Name: missing, Created: true, Partitions: 3}}, found)

		// More partitions are added; fewer, and other settings, are reported.
		have := max(1, s.features.Replicas)
		found, err = topic.Ensure(s.ctx, s, topic.Spec{Name: missing, Partitions: 1}, topic.Spec{Name: there, Partitions: 4, Replicas: have + 1})
		require.NoError(s, err)
		require.Equal(s, []topic.Ensured{
			{Name: missing, Partitions: 3, Differs: []topic.Difference{{Setting: "partitions", Asked: "1", Have: "3"}}},
			{Name: there, Partitions: 4, Added: 2, Differs: []topic.Difference{
				{Setting: "cleanup.policy", Asked: "delete", Have: "compact"},
				{Setting: "replicas", Asked: fmt.Sprint(have + 1), Have: fmt.Sprint(have)},
				{Setting: "retention.ms", Asked: "604800000", Have: "3600000"},
			}},
		}, found)
		require.NoError(s, (topic.Ensured{}).Err())
		require.ErrorIs(s, found[0].Err(), fault.InvalidConfig)
		described, err := s.DescribeTopics(s.ctx, there, missing)
		require.NoError(s, err)
		require.Len(s, described[0].Partitions, 4)
		require.Equal(s, cfg, described[0].Config)
		require.Len(s, described[1].Partitions, 3)

		// An invalid spec creates nothing.
		other := s.name()
		_, err = topic.Ensure(s.ctx, s, topic.Spec{Name: other}, topic.Spec{Name: "a/b"})
		require.ErrorIs(s, err, fault.InvalidTopic)
		_, err = topic.Ensure(s.ctx, s, topic.Spec{Name: other}, topic.Spec{Name: other, Partitions: 2})
		require.ErrorIs(s, err, fault.InvalidRequest)
		_, err = s.DescribeTopics(s.ctx, other)
		require.ErrorIs(s, err, fault.UnknownTopic)
	}},
	{"are ensured by many at once", func(s *suite) {
		const n = 4
		specs := []topic.Spec{{Name: s.name(), Partitions: 2}, {Name: s.name(), Partitions: 3}}
		errs := make(chan error, n)
		for range n {
			go func() {
				found, err := topic.Ensure(s.ctx, s, specs...)
				for _, f := range found {
					err = errors.Join(err, f.Err())
				}
				errs <- err
			}()
		}
		for range n {
			require.NoError(s, <-errs)
		}
	}},
	{"have valid names", func(s *suite) {
		for _, name := range []string{"", ".", "..", "a/b", "a b", "../a", "ä", "a\x00b", strings.Repeat("x", 250)} {
			require.ErrorIs(s, s.CreateTopics(s.ctx, topic.Spec{Name: name, Partitions: 1}), fault.InvalidTopic, "%q", name)
		}
	}},
	{"have a valid number of partitions", func(s *suite) {
		name := s.name()
		require.ErrorIs(s, s.CreateTopics(s.ctx, topic.Spec{Name: name, Partitions: -3}), fault.InvalidPartitions)
		_, err := s.DescribeTopics(s.ctx, name)
		require.ErrorIs(s, err, fault.UnknownTopic)
	}},
	{"that are unknown are errors", func(s *suite) {
		name := s.name()
		require.ErrorIs(s, s.DeleteTopics(s.ctx, name), fault.UnknownTopic)
		require.ErrorIs(s, s.AddPartitions(s.ctx, name, 2), fault.UnknownTopic)
		require.ErrorIs(s, s.ConfigureTopic(s.ctx, name, topic.Config{}), fault.UnknownTopic)
		_, err := s.ListOffsets(s.ctx, topic.Latest(), tp(name, 0))
		require.ErrorIs(s, err, fault.UnknownTopic)
		_, err = s.DeleteRecords(s.ctx, map[record.TopicPartition]int64{tp(name, 0): 0})
		require.ErrorIs(s, err, fault.UnknownTopic)
	}},
	{"keep their configuration", func(s *suite) {
		cfg := topic.Config{
			Cleanup: topic.CompactDelete, Retention: time.Hour, RetentionBytes: 1 << 30,
			SegmentBytes: 64 << 20, SegmentAge: 30 * time.Minute, MaxMessageBytes: 2 << 20,
			Timestamps: topic.LogAppendTime, MinReplicas: 1,
		}
		name := s.topic(1, cfg)
		described, err := s.DescribeTopics(s.ctx, name)
		require.NoError(s, err)
		require.Equal(s, cfg, described[0].Config)

		cfg = topic.Config{Retention: topic.Forever, MaxMessageBytes: 1 << 20}
		require.NoError(s, s.ConfigureTopic(s.ctx, name, cfg))
		described, err = s.DescribeTopics(s.ctx, name)
		require.NoError(s, err)
		require.Equal(s, cfg, described[0].Config)

		require.NoError(s, s.ConfigureTopic(s.ctx, name, topic.Config{}))
		described, err = s.DescribeTopics(s.ctx, name)
		require.NoError(s, err)
		require.Zero(s, described[0].Config)
	}},
	{"grow by partitions", func(s *suite) {
		name := s.topic(1, topic.Config{})
		_, before := s.writer(name)
		require.EqualValues(s, 1, before.Partitions())
		require.ErrorIs(s, s.AddPartitions(s.ctx, name, 1), fault.InvalidPartitions)
		require.NoError(s, s.AddPartitions(s.ctx, name, 3))

		p, w := s.writer(name)
		require.EqualValues(s, 3, w.Partitions())
		at, err := w.Send(s.ctx, record.Record{Topic: name, Partition: 2, Value: []byte("new")})
		require.NoError(s, err)
		s.isAt(at, name, 2, 0)
		require.NoError(s, p.Close())

		// A session that was opened before writes to the new partitions, too.
		at, err = before.Send(s.ctx, record.Record{Topic: name, Partition: 2, Value: []byte("newer")})
		require.NoError(s, err)
		s.isAt(at, name, 2, 1)
		require.EqualValues(s, 3, before.Partitions())
		require.Equal(s, []string{"new", "newer"}, values(s.fetch(s.assigned(name, 2), 2)))
	}},
	{"start empty when they are deleted and created again", func(s *suite) {
		name := s.topic(1, topic.Config{})
		p, w := s.writer(name)
		_, err := w.Send(s.ctx, record.Record{Topic: name, Value: []byte("old")})
		require.NoError(s, err)
		old, err := s.DescribeTopics(s.ctx, name)
		require.NoError(s, err)

		require.NoError(s, s.DeleteTopics(s.ctx, name))
		_, err = w.Send(s.ctx, record.Record{Topic: name, Value: []byte("lost")})
		require.ErrorIs(s, err, fault.UnknownTopic)

		require.NoError(s, s.CreateTopics(s.ctx, topic.Spec{Name: name, Partitions: 2}))
		described, err := s.DescribeTopics(s.ctx, name)
		require.NoError(s, err)
		require.NotEqual(s, old[0].ID, described[0].ID)
		require.Len(s, described[0].Partitions, 2)

		w, err = p.Topic(s.ctx, name)
		require.NoError(s, err)
		require.EqualValues(s, 2, w.Partitions())
		at, err := w.Send(s.ctx, record.Record{Topic: name, Value: []byte("new")})
		require.NoError(s, err)
		s.isAt(at, name, 0, 0)
		require.Equal(s, []string{"new"}, values(s.fetch(s.assigned(name, 0, 1), 1)))
	}},
	{"may be changed by many at once", func(s *suite) {
		const n = 8
		same := s.name()
		errs := make(chan error, n)
		for range n {
			own := s.name()
			go func() {
				err := s.CreateTopics(s.ctx, topic.Spec{Name: own, Partitions: 1})
				if err == nil {
					_, err = s.DescribeTopics(s.ctx, own)
				}
				if err == nil {
					err = s.DeleteTopics(s.ctx, own)
				}
				if err != nil {
					s.Errorf("%s: %v", own, err)
				}
				errs <- s.CreateTopics(s.ctx, topic.Spec{Name: same, Partitions: 1})
			}()
		}
		created := 0
		for range n {
			if err := <-errs; err == nil {
				created++
			} else {
				require.ErrorIs(s, err, fault.TopicExists)
			}
		}
		require.Equal(s, 1, created)
	}},
	{"know how durable they are", func(s *suite) {
		s.still()
		if !s.features.Durability {
			return
		}
		name := s.topic(1, topic.Config{Durability: topic.Memory})
		s.send(name, 0, "a", "b")
		described, err := s.DescribeTopics(s.ctx, name)
		require.NoError(s, err)
		require.Equal(s, topic.Memory, described[0].Config.Durability)
		p := described[0].Partitions[0]
		require.Equal(s, s.at(2), p.HighWatermark)
		require.Equal(s, s.at(2), p.EndOffset)
		require.LessOrEqual(s, p.DurableOffset, p.EndOffset)
		require.Positive(s, p.Size)
	}},
}
