package streams_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/streams/streamstest"
	"github.com/runnel-go/runnel/topic"
)

func ExampleKStream_ToTopics() {
	show(func(t *streams.Topology) {
		streams.Stream(t, lines).ToTopics(func(r streams.Record[string, string]) string {
			if strings.HasPrefix(r.Value, "ERROR") {
				return "alerts"
			}
			return "out"
		})
	}, "a=ERROR: disk full", "a=started")
	// Output: a=started
}

// byValue writes each record to the topic that its value begins with.
func byValue(t *streams.Topology) {
	streams.Stream(t, lines).ToTopics(func(r streams.Record[string, string]) string {
		name, _, _ := strings.Cut(r.Value, " ")
		return name
	})
}

func TestToTopics(t *testing.T) {
	d := streamstest.New(t, byValue)
	in := streamstest.Input(d, lines)
	for _, value := range []string{"a 1", "b 2", "a 3"} {
		in.Send("k", value)
	}
	read := func(name string) (values []string) {
		for _, r := range d.Records(name) {
			values = append(values, string(r.Value))
		}
		return values
	}
	require.Equal(t, []string{"a 1", "a 3"}, read("a"))
	require.Equal(t, []string{"b 2"}, read("b"))
	failed := new(streams.ProcessingError)
	require.ErrorAs(t, in.Try(streamstest.Record[string, string]{Value: "no/topic", HasValue: true}), &failed)
	require.Equal(t, streams.Production, failed.Phase)

	description := newApp(t, byValue).Describe()
	require.Contains(t, description, "Sink: KSTREAM-SINK-0000000001 (extractor class: ToTopics)")
	require.NotContains(t, newApp(t, byValue).Mermaid(), `[("")]`)
}

// In an application a topic is looked for when it is first chosen. One that is not there,
// or that refuses a record, is an error of the records that chose it.
func TestToTopicsOfAnApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := openMemory(t)
		defer broker.Close()
		create(t, broker, 1, "lines", "a", "dead")
		require.NoError(t, broker.CreateTopics(context.Background(), topic.Spec{Name: "small", Partitions: 1, Config: topic.Config{MaxMessageBytes: 200}}))
		send(t, broker, "a 1", "none 2", "small "+strings.Repeat("x", 300), "a 3")
		send(t, broker, "small 4", "small 5", "small "+strings.Repeat("y", 100), "small "+strings.Repeat("z", 100))

		app, err := streams.New(broker, "fails", byValue, fast)
		require.NoError(t, err)
		err = app.Run(context.Background())
		require.ErrorIs(t, err, fault.UnknownTopic)
		require.ErrorContains(t, err, "none")
		failed := new(streams.ProcessingError)
		require.ErrorAs(t, err, &failed)
		require.Equal(t, record.Position{Topic: "lines", Offset: 1}, failed.At)

		app, err = streams.New(broker, "goes-on", byValue, fast, streams.OnProductionError(streams.DeadLetter("dead")))
		require.NoError(t, err)
		drain(t, app)
		var got []string
		for _, name := range []string{"a", "small", "dead"} {
			for _, r := range readAll(t, broker, serde.For(name, serde.String, serde.String)) {
				got = append(got, name+": "+r.Value[:min(len(r.Value), 7)])
			}
		}
		require.Equal(t, []string{"a: a 1", "a: a 3", "small: small 4", "small: small 5", "small: small y", "small: small z", "dead: none 2", "dead: small x"}, got)
	})
}
