package backendtest

import (
	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
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
}

// sharing opens a member of a share group, which is closed at the end of the test.
func (s *suite) sharing(group, topic string) *share.Consumer {
	s.Helper()
	c, err := share.New(s.Backend.(share.Backend), share.Group(group), share.Topics(topic))
	require.NoError(s, err)
	s.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *suite) receive(c *share.Consumer) *share.Delivery {
	s.Helper()
	d, err := c.Receive(s.ctx)
	require.NoError(s, err)
	return d
}
