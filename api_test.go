package runnel_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/runneltest"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/topic"
)

// everything is what programs run on.
type everything interface {
	topic.Admin
	consumer.Admin
	producer.Backend
	consumer.Backend
	streams.Backend
}

// One broker is all of it, in this process or in another one.
var _, _ everything = (*runnel.Broker)(nil), (*runnel.Remote)(nil)

var (
	lines  = serde.For("quickstart-events", serde.String, serde.String)
	totals = serde.For("output-topic", serde.String, serde.Int64)
)

func wordCount(t *streams.Topology) {
	words := streams.FlatMapValues(streams.Stream(t, lines), func(line string) []string {
		return strings.Fields(strings.ToLower(line))
	})
	byWord := streams.GroupBy(words, func(_, word string) string { return word })
	streams.Count(byWord, "counts").ToStream().To(totals)
}

// TestAPIOnOneScreen is the public API as the documentation shows it, on one
// screen and in one function.
func TestAPIOnOneScreen(t *testing.T) {
	ctx := t.Context()
	broker, err := runnel.Open(t.TempDir())
	require.NoError(t, err)
	defer broker.Close()
	err = broker.CreateTopics(ctx, topic.Spec{Name: "quickstart-events", Partitions: 3}, topic.Spec{Name: totals.Name})
	require.NoError(t, err)

	p, err := producer.New(broker)
	require.NoError(t, err)
	defer p.Close()
	k, v := []byte("k"), []byte("This is my first event")
	at, err := p.Send(ctx, record.Record{Topic: "quickstart-events", Key: k, Value: v})
	require.NoError(t, err)
	require.Equal(t, "quickstart-events-2@0", at.String())
	rec := record.Record{Topic: "quickstart-events", Value: []byte("This is my second event")}
	acknowledged := make(chan record.Position, 1)
	p.SendAsync(ctx, rec, func(at record.Position, err error) {
		require.NoError(t, err)
		acknowledged <- at
	})
	err = p.Flush(ctx)
	require.NoError(t, err)
	require.Equal(t, "quickstart-events", (<-acknowledged).Topic)

	c, err := consumer.New(broker, consumer.Group("printer"), consumer.Topics("quickstart-events"))
	require.NoError(t, err)
	defer c.Close()
	read := 0
	for rec, err := range c.Records(ctx) {
		require.NoError(t, err)
		require.Contains(t, string(rec.Value), "event")
		if read++; read == 2 {
			break
		}
	}

	in := producer.To(p, lines)
	_, err = in.Send(ctx, "k", "one two")
	require.NoError(t, err)
	in.SendAsync(ctx, "k", "two", nil)
	_, err = in.Delete(ctx, "k")
	require.NoError(t, err)
	at, err = in.SendValue(ctx, "这是第一条消息")
	require.NoError(t, err)
	require.Equal(t, "quickstart-events", at.Topic)
	batch, err := c.Poll(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, batch)

	app, err := streams.New(broker, "wordcount", wordCount)
	require.NoError(t, err)
	running, stop := context.WithCancel(ctx)
	stopped := make(chan error)
	go func() { stopped <- app.Run(running) }()

	counts, err := consumer.New(broker, consumer.Group("reader"), consumer.Topics(totals.Name))
	require.NoError(t, err)
	defer counts.Close()
	got := map[string]int64{}
	for rec, err := range consumer.Of(counts, totals).Records(ctx) {
		require.NoError(t, err)
		got[rec.Key] = rec.Value
		if got["first"] == 1 && got["event"] == 2 && got["two"] == 2 && got["这是第一条消息"] == 1 {
			break
		}
	}
	stop()
	require.NoError(t, <-stopped)
}

func TestAPIOfTests(t *testing.T) {
	broker := runneltest.New(t)
	require.NoError(t, broker.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: topic.Config{Retention: time.Hour}}))
	app, err := streams.New(broker, "wordcount", func(t *streams.Topology) {
		streams.Stream(t, serde.For("orders", serde.String, serde.String)).Filter(func(_, v string) bool { return v != "" })
	})
	require.NoError(t, err)
	require.NotNil(t, app)
}
