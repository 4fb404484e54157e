package backendtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/topic"
)

// mill is a streams application whose records may fail in each phase: "undecodable"
// when it is read, "unprocessable" within the topology, "unwritable" when the result
// is written.
type mill struct {
	name, in, out, dead string
	app                 *streams.App
}

// brittle is text, except for one word that it does not write and one that it does
// not read.
var brittle = serde.Func(func(dst []byte, s string) ([]byte, error) {
	if s == "UNWRITABLE" {
		return dst, errors.New("cannot be written")
	}
	return append(dst, s...), nil
}, func(src []byte) (string, error) {
	if string(src) == "undecodable" {
		return "", errors.New("cannot be read")
	}
	return string(src), nil
})

// badRecords are what fails, by phase.
var badRecords = []string{"undecodable", "unprocessable", "unwritable"}

// mill makes topics and an application that writes its input in capitals.
func (s *suite) mill(options ...func(*mill) streams.Option) *mill {
	s.Helper()
	m := &mill{name: s.name(), in: s.topic(1, topic.Config{}), out: s.topic(1, topic.Config{}), dead: s.topic(1, topic.Config{})}
	all := []streams.Option{streams.CommitInterval(20 * time.Millisecond)}
	for _, o := range options {
		all = append(all, o(m))
	}
	app, err := streams.New(s.Backend, m.name, func(t *streams.Topology) {
		in := streams.Stream(t, serde.For(m.in, serde.Bytes, brittle))
		streams.MapValues(in, func(v string) string {
			if v == "unprocessable" {
				panic("cannot be processed")
			}
			return strings.ToUpper(v)
		}, streams.ValueSerde(brittle)).To(serde.For(m.out, serde.Bytes, brittle))
	}, all...)
	require.NoError(s, err)
	m.app = app
	return m
}

// grind runs the application until it has processed all of its input.
func (s *suite) grind(m *mill) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- m.app.Run(ctx) }()
	require.NoError(s, m.app.CaughtUp(s.ctx))
	cancel()
	require.NoError(s, <-ran)
}

// valuesIn reads the n records that a topic has.
func (s *suite) valuesIn(name string, n int) (values []string, records []record.Record) {
	s.Helper()
	records = s.fetch(s.assigned(name, 0), n)
	for _, r := range records {
		values = append(values, string(r.Value))
	}
	return values, records
}

var streamsTests = []test{
	{"skip what fails in any phase", func(s *suite) {
		m := s.mill(func(*mill) streams.Option { return streams.OnError(streams.Skip()) })
		s.send(m.in, 0, "a", badRecords[0], badRecords[1], "b", badRecords[2], "c")
		s.grind(m)
		values, _ := s.valuesIn(m.out, 3)
		require.Equal(s, []string{"A", "B", "C"}, values)
		one := streams.ErrorCount{Skipped: 1}
		require.Equal(s, streams.ErrorCounts{Deserialization: one, Processing: one, Production: one}, m.app.ErrorCounts())
	}},
	{"write what fails in any phase to a dead-letter topic", func(s *suite) {
		s.still()
		m := s.mill(func(m *mill) streams.Option { return streams.OnError(streams.DeadLetter(m.dead)) })
		s.send(m.in, 0, "a", badRecords[0], badRecords[1], "b", badRecords[2], "c")
		s.grind(m)
		values, _ := s.valuesIn(m.out, 3)
		require.Equal(s, []string{"A", "B", "C"}, values)
		letters, records := s.valuesIn(m.dead, 3)
		require.Equal(s, badRecords, letters, "as they were read")
		for i, number := range []int{1, 2, 4} {
			story := map[string]string{}
			for _, h := range records[i].Headers {
				story[h.Key] = string(h.Value)
			}
			require.Equal(s, m.in, story[streams.HeaderTopic])
			require.Equal(s, fmt.Sprint(s.at(number)), story[streams.HeaderOffset])
			require.NotEmpty(s, story[streams.HeaderMessage])
		}
		one := streams.ErrorCount{DeadLettered: 1}
		require.Equal(s, streams.ErrorCounts{Deserialization: one, Processing: one, Production: one}, m.app.ErrorCounts())
	}},
	{"fail in the phase that has no handler, and go on where it is", func(s *suite) {
		for i, bad := range badRecords {
			m := s.mill(func(*mill) streams.Option { // handlers for the other two phases
				skip := streams.Skip()
				switch i {
				case 0:
					return streams.OnProcessingError(skip)
				default:
					return streams.OnDeserializationError(skip)
				}
			})
			s.send(m.in, 0, "a", bad, "b")
			var failed *streams.ProcessingError
			require.ErrorAs(s, m.app.Run(s.ctx), &failed, bad)
			require.Equal(s, bad, string(failed.Raw.Value))
			s.isAt(failed.At, m.in, 0, 1)
			require.ErrorAs(s, m.app.Run(s.ctx), &failed, "at every start")
		}
	}},
	{"refuse an ordinary consumer in their group", func(s *suite) {
		if s.features.RefusesConsumers == nil {
			return
		}
		m := s.mill()
		s.send(m.in, 0, "a")
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		ran := make(chan error, 1)
		go func() { ran <- m.app.Run(ctx) }()
		require.NoError(s, m.app.CaughtUp(s.ctx))
		c := s.consumer(inGroup(m.name, m.in))
		_, err := c.Fetch(s.ctx, consumer.UntilDone, nil)
		require.ErrorIs(s, err, s.features.RefusesConsumers)
		require.NoError(s, c.Close())
		s.send(m.in, 0, "b")
		require.NoError(s, m.app.CaughtUp(s.ctx))
		values, _ := s.valuesIn(m.out, 2)
		require.Equal(s, []string{"A", "B"}, values)
		cancel()
		require.NoError(s, <-ran)
	}},
}
