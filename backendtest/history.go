package backendtest

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

// history returns the values of a key in its order.
func (s *suite) history(name, key string, opts ...consumer.HistoryOption) (values []string) {
	s.Helper()
	for r, err := range consumer.History(s.ctx, s.Backend, serde.For(name, serde.String, serde.String), key, opts...) {
		require.NoError(s, err)
		require.Equal(s, key, r.Key)
		if !r.HasValue {
			r.Value = "deleted"
		}
		values = append(values, r.Value)
	}
	return values
}

var historyTests = []test{
	{"is a key's records in their order", func(s *suite) {
		const keys, each = 5, 700
		name := s.topic(3, topic.Config{KeyIndex: true})
		p, err := producer.New(s.Backend)
		require.NoError(s, err)
		defer p.Close()
		to := producer.To(p, serde.For(name, serde.String, serde.String))
		want := map[string][]string{}
		for i := range each {
			for k := range keys {
				key, value := fmt.Sprint("key ", k), fmt.Sprint("value ", i)
				to.SendAsync(s.ctx, key, value, nil)
				want[key] = append(want[key], value)
			}
		}
		require.NoError(s, p.Flush(s.ctx))
		_, err = to.Delete(s.ctx, "key 1")
		require.NoError(s, err)
		want["key 1"] = append(want["key 1"], "deleted")
		opts := [][]consumer.HistoryOption{{consumer.Scanning()}}
		if s.features.Preconditions {
			opts = append(opts, nil)
		}
		for _, o := range opts {
			for key, values := range want {
				require.Equal(s, values, s.history(name, key, o...))
				part := topic.PartitionForKey([]byte(key), 3)
				require.Empty(s, s.history(name, key, append(o, consumer.OfPartition((part+1)%3))...))
			}
			require.Empty(s, s.history(name, "no one's", o...))
			at, err := to.Send(s.ctx, "key 2", "last")
			require.NoError(s, err)
			want["key 2"] = append(want["key 2"], "last")
			require.Equal(s, []string{"last"}, s.history(name, "key 2", append(o, consumer.Since(at.Offset))...), "what was just written is there")
		}
	}},
	{"needs an index, or reads everything", func(s *suite) {
		name := s.topic(1, topic.Config{})
		s.send(name, 0, "of no key")
		topic := serde.For(name, serde.String, serde.String)
		for _, err := range consumer.History(s.ctx, s.Backend, topic, "k") {
			want := fault.InvalidConfig
			if !s.features.Preconditions {
				want = fault.UnsupportedVersion
			}
			require.ErrorIs(s, err, want)
			require.ErrorContains(s, err, "consumer.Scanning")
		}
		require.Empty(s, s.history(name, "k", consumer.Scanning()))
		for _, err := range consumer.History(s.ctx, s.Backend, serde.For(s.name(), serde.String, serde.String), "k") {
			require.ErrorIs(s, err, fault.UnknownTopic)
		}
	}},
	{"has what a level of isolation shows", func(s *suite) {
		name := s.topic(1, topic.Config{KeyIndex: true})
		p, err := producer.New(s.Backend, producer.TransactionalID(s.name()))
		require.NoError(s, err)
		defer p.Close()
		send := func(value string) {
			_, err := p.Send(s.ctx, record.Record{Topic: name, Key: []byte("k"), Value: []byte(value)})
			require.NoError(s, err)
		}
		require.NoError(s, p.Begin(s.ctx))
		send("a")
		require.NoError(s, p.Commit(s.ctx))
		require.NoError(s, p.Begin(s.ctx))
		send("b")
		require.NoError(s, p.Abort(s.ctx))
		require.NoError(s, p.Begin(s.ctx))
		send("c")
		opts := [][]consumer.HistoryOption{{consumer.Scanning()}}
		if s.features.Preconditions {
			opts = append(opts, nil)
		}
		for _, o := range opts {
			require.Equal(s, []string{"a", "b"}, s.history(name, "k", o...)[:2], "what is open may be there already")
			require.Equal(s, []string{"a"}, s.history(name, "k", append(o, consumer.ReadCommitted())...))
		}
		require.NoError(s, p.Commit(s.ctx))
		for _, o := range opts {
			require.Equal(s, []string{"a", "b", "c"}, s.history(name, "k", o...))
			require.Equal(s, []string{"a", "c"}, s.history(name, "k", append(o, consumer.ReadCommitted())...))
		}
	}},
}
