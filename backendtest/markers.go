package backendtest

import (
	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

var markerTests = []test{
	{"at the end do not keep a session from getting there", func(s *suite) {
		s.still()
		name := s.topic(1, topic.Config{})
		s.send(name, 0, "a", "b")
		s.mark(name)
		c := s.assigned(name, 0)
		require.Equal(s, []string{"a", "b", "marked"}, s.fetchTo(c, name, s.at(4)))
		s.mark(name)
		s.mark(name)
		require.Equal(s, []string{"marked", "marked"}, s.fetchTo(c, name, s.at(8)))
		s.send(name, 0, "behind")
		require.Equal(s, []string{"behind"}, s.fetchTo(c, name, s.at(9)))
	}},
	{"alone are passed over", func(s *suite) {
		s.still()
		name := s.topic(1, topic.Config{})
		s.mark(name)
		c := s.assigned(name, 0)
		require.NoError(s, c.Seek(s.ctx, tp(name, 0), s.atOffset(1)))
		require.Empty(s, s.fetchTo(c, name, s.at(2)))
	}},
	{"are done once a consumer is past them, and no lag", func(s *suite) {
		s.still()
		name, group := s.topic(1, topic.Config{}), s.name()
		s.sendMany(name, 1, 4)
		s.mark(name)
		c := s.newConsumer(consumer.Group(group), consumer.Topics(name), consumer.MaxRecords(5))
		require.Len(s, s.poll(c, 5), 5)
		for {
			lag, err := c.Lag(s.ctx)
			require.NoError(s, err)
			if lag[tp(name, 0)] == 0 {
				break
			}
			batch, err := c.Poll(s.ctx) // returns without records
			require.NoError(s, err)
			require.Empty(s, batch)
		}
		require.NoError(s, c.Commit(s.ctx))
		committed, err := s.GroupOffsets(s.ctx, group)
		require.NoError(s, err)
		require.Equal(s, s.at(6), committed[tp(name, 0)].Offset)
	}},
}

// mark sends a record in a transaction.
func (s *suite) mark(name string) { s.features.Mark(s.T, s.Backend, tp(name, 0)) }

// fetchTo fetches until the position is that offset, at which the partition
// ends, and returns the fetched values.
func (s *suite) fetchTo(c consumer.Session, name string, offset int64) (all []string) {
	s.Helper()
	for {
		at, err := c.Position(s.ctx, tp(name, 0))
		require.NoError(s, err)
		if at == offset {
			return all
		}
		got, err := c.Fetch(s.ctx, consumer.UntilDone, nil)
		require.NoError(s, err, "at %d of %d", at, offset)
		require.Equal(s, record.TopicPartition{Topic: name}, got.TopicPartition)
		require.Greater(s, got.Next, at)
		all = append(all, values(got.Records)...)
	}
}
