package streams_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/streams/streamstest"
)

// A stream whose keys have changed meets the table's rows behind a repartition
// topic, and a view of a table is read through the table's store.
func TestAStreamMeetsAViewOfATable(t *testing.T) {
	d := streamstest.New(t, func(t *streams.Topology) {
		loud := streams.MapTable(streams.Table(t, users), strings.ToUpper).Filter(func(_, v string) bool { return v != "NOBODY" })
		byUser := streams.SelectKey(streams.Stream(t, lines), func(_, v string) string { return v[:1] })
		streams.LeftJoinTable(byUser, loud, func(k, line string, user *string) string {
			if user == nil {
				return k + " unknown: " + line
			}
			return *user + ": " + line
		}).Named("enriched").To(words)
	})
	people, in, out := streamstest.Input(d, users), streamstest.Input(d, lines), streamstest.Output(d, words)
	in.Send("1", "a1")
	people.Send("a", "Anna")
	in.Send("2", "a2")
	people.Send("a", "nobody")
	in.Send("3", "a3")
	require.Len(t, d.Records("test-enriched-repartition"), 3)
	require.Equal(t, []row[string, string]{some("a", "a unknown: a1"), some("a", "ANNA: a2"), some("a", "a unknown: a3")}, rows(out))
}

func TestWhatJoinsNothingIsCounted(t *testing.T) {
	d := streamstest.New(t, func(t *streams.Topology) {
		streams.JoinTable(streams.Stream(t, lines), streams.Table(t, users), func(_, line, user string) string { return user + line }).To(words)
	})
	streamstest.Input(d, users).Send("a", "Anna")
	in := streamstest.Input(d, lines)
	in.SendValue("no key")
	in.Delete("a")
	in.Send("b", "nobody")
	in.Send("a", "!")
	require.Equal(t, []row[string, string]{some("a", "Anna!")}, rows(streamstest.Output(d, words)))
	require.Equal(t, int64(2), d.ErrorCounts().Processing.Skipped)
}

func TestTablesOfAnotherTopologyCannotBeJoined(t *testing.T) {
	var other *streams.KTable[string, string]
	_, err := streams.NewSimulation("app", func(t *streams.Topology) { other = streams.Table(t, users) })
	require.NoError(t, err)
	_, err = streams.NewSimulation("app", func(t *streams.Topology) {
		streams.JoinTable(streams.Stream(t, lines), other, func(_, a, b string) string { return a + b })
	})
	require.ErrorIs(t, err, fault.InvalidRequest)
	require.ErrorContains(t, err, "joins a table that is not of this topology")
}
