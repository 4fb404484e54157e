package streams_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/streams/streamstest"
)

func first(_, line string) (string, bool) { return line[:min(1, len(line))], line != "" }

func greeted(t *streams.Topology) {
	streams.LeftJoinGlobal(streams.Stream(t, lines), streams.GlobalTable(t, users), first, func(k, line string, user *string) string {
		if user == nil {
			return k + ": nobody " + line
		}
		return k + ": " + *user + " " + line
	}).To(words)
}

// Every task has all rows of a global table, which were there before the
// application started, in whatever partitions.
func TestAGlobalTableIsThereBeforeTheFirstRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := closed(t, openMemory(t))
		create(t, b, 3, "lines", "words")
		create(t, b, 5, "users")
		send := func(topic string, key, value string) {
			p, err := producer.New(b)
			require.NoError(t, err)
			to := lines
			to.Name = topic
			_, err = producer.To(p, to).Send(context.Background(), key, value)
			require.NoError(t, err)
			require.NoError(t, p.Close())
		}
		for i := range 9 {
			send("users", fmt.Sprint(i), fmt.Sprint("user", i))
			send("lines", fmt.Sprint("k", i), fmt.Sprint(i))
		}
		app, err := streams.New(b, "app", greeted, streams.Threads(2))
		require.NoError(t, err)
		stop := start(app)
		require.NoError(t, app.CaughtUp(context.Background()))
		send("users", "a", "Anna")
		synctest.Wait()
		send("lines", "k", "a")
		require.NoError(t, app.CaughtUp(context.Background()))
		require.NoError(t, stop())
		got := table(t, b, words)
		require.Len(t, got, 10)
		for i := range 9 {
			require.Equal(t, fmt.Sprintf("k%d: user%d %d", i, i, i), got[fmt.Sprint("k", i)])
		}
		require.Equal(t, "k: Anna a", got["k"])
	})
}

func TestAnApplicationWithoutItsGlobalTableFails(t *testing.T) {
	b := closed(t, openMemory(t))
	create(t, b, 1, "lines", "words")
	app, err := streams.New(b, "app", greeted)
	require.NoError(t, err)
	require.ErrorIs(t, app.Run(context.Background()), fault.UnknownTopic)
}

func TestGlobalRowsThatCannotBeReadGoToTheHandler(t *testing.T) {
	define := func(t *streams.Topology) {
		streams.LeftJoinGlobal(streams.Stream(t, lines), streams.GlobalTable(t, regions), first, func(_, line string, n *int64) string {
			if n == nil {
				return line
			}
			return fmt.Sprint(line, *n)
		}).To(words)
	}
	bad := record.Record{Topic: "regions", Key: []byte("a"), Value: []byte("no number")}
	s, err := streams.NewSimulation("app", define)
	require.NoError(t, err)
	var failed *streams.ProcessingError
	require.ErrorAs(t, s.Send(bad), &failed)
	require.Equal(t, streams.Deserialization, failed.Phase)
	require.Equal(t, "KSTREAM-SOURCE-0000000001", failed.Node)

	d := streamstest.New(t, define, streams.OnError(streams.Skip()))
	require.NoError(t, d.Send(bad))
	in, of := streamstest.Input(d, lines), streamstest.Input(d, regions)
	in.Send("k", "a")
	of.Send("a", 7)
	in.Send("k", "a")
	of.SendValue(8)
	of.Delete("a")
	in.Send("k", "a")
	in.Send("k", "")
	in.Delete("k")
	require.Equal(t, []row[string, string]{some("k", "a"), some("k", "a7"), some("k", "a"), some("k", "")}, rows(streamstest.Output(d, words)))
	require.Equal(t, int64(2), d.ErrorCounts().Deserialization.Skipped)
	require.Equal(t, int64(1), d.ErrorCounts().Processing.Skipped)
}

func TestAGlobalTableIsDescribed(t *testing.T) {
	app := newApp(t, greeted)
	require.Contains(t, app.Describe(), `  Sub-topology: 1 for global store (will not generate tasks)
    Source: KSTREAM-SOURCE-0000000001 (topics: [users])
      --> KTABLE-SOURCE-0000000002
    Processor: KTABLE-SOURCE-0000000002 (stores: [users])
      --> none
      <-- KSTREAM-SOURCE-0000000001
`)
	_, err := streams.NewSimulation("app", func(t *streams.Topology) { streams.GlobalTable(t, users) })
	require.ErrorContains(t, err, "the topology reads no topic")
}
