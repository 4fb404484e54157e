package streams_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
)

// folded sends each record through that many repartition topics, all of which
// belong to one sub-topology, and adds a record after each.
func folded(times int) func(*streams.Topology) {
	return func(t *streams.Topology) {
		all := streams.Stream(t, lines)
		for i := range times {
			again := streams.SelectKey(all, func(_, line string) string { return line }).Repartition(fmt.Sprint("r", i), 1)
			all = again.Merge(all)
		}
		all.To(serde.For("folded", serde.String, serde.String))
	}
}

// lazy is a commit interval that no test waits out.
var lazy = streams.CommitInterval(time.Hour)

func openFolded(t *testing.T, times int) (*runnel.Broker, func() *streams.App) {
	broker := closed(t, openMemory(t))
	create(t, broker, 2, "lines")
	create(t, broker, 1, "folded")
	return broker, func() *streams.App {
		app, err := streams.New(broker, "folded", folded(times), lazy, streams.Threads(2))
		require.NoError(t, err)
		return app
	}
}

func foldedLines(t *testing.T, broker *runnel.Broker) int {
	return len(readAll(t, broker, serde.For("folded", serde.String, serde.String)))
}

// A sub-topology that feeds itself has caught up when it produces no more input
// for itself. No test waits for a commit that is due in an hour.
func TestASubTopologyThatFeedsItselfCatchesUp(t *testing.T) {
	for times := range 4 {
		synctest.Test(t, func(t *testing.T) {
			broker, instance := openFolded(t, times)
			app := instance()
			stop := start(app)
			began := time.Now()
			for round := range 3 {
				send(t, broker, "a", "b", "c")
				require.NoError(t, app.CaughtUp(t.Context()))
				require.Equal(t, 3*(round+1)<<times, foldedLines(t, broker))
			}
			require.Less(t, time.Since(began), time.Second)
			require.NoError(t, stop())
		})
	}
}

// A CaughtUp that begins while a thread is about to wait for its interval, an
// hour here, does not wait that long.
func TestWaitingBeginsWhileAThreadSettlesDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker, instance := openFolded(t, 0)
		app := instance()
		stop := start(app)
		send(t, broker, "a")
		require.NoError(t, app.CaughtUp(t.Context()))
		streams.StirBehindALook(app)
		send(t, broker, "a")
		synctest.Wait()
		committed, err := broker.GroupOffsets(t.Context(), "folded")
		require.NoError(t, err)
		read := int64(0)
		for _, o := range committed {
			read += o.Offset
		}
		require.EqualValues(t, 2, read, "no time has passed")
		require.NoError(t, stop())
	})
}

// Commits of another instance count, on either side.
func TestEveryInstanceCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker, instance := openFolded(t, 2)
		x, y := instance(), instance()
		stopX, stopY := start(x), start(y)
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		for round := range 3 {
			send(t, broker, "a", "b", "c", "d")
			require.NoError(t, x.CaughtUp(ctx))
			require.NoError(t, y.CaughtUp(ctx))
			require.Equal(t, 16*(round+1), foldedLines(t, broker))
		}
		require.NoError(t, stopX())
		require.NoError(t, stopY())
	})
}

// An application that has nothing left to process commits without waiting for
// its interval, but no more often than once per interval.
func TestAnIdleApplicationCommitsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := closed(t, openMemory(t))
		create(t, broker, 1, "lines", "totals")
		app, err := streams.New(broker, "wordcount", wordCount, streams.CommitInterval(time.Minute), streams.Threads(1))
		require.NoError(t, err)
		stop := start(app)
		time.Sleep(time.Second)
		send(t, broker, "a")
		synctest.Wait()
		require.Equal(t, map[string]int64{"a": 1}, table(t, broker, totals), "no time has passed")
		for range 30 {
			time.Sleep(time.Second)
			send(t, broker, "a")
		}
		synctest.Wait()
		require.Equal(t, map[string]int64{"a": 1}, table(t, broker, totals), "it committed a moment ago")
		time.Sleep(time.Minute)
		require.Equal(t, map[string]int64{"a": 31}, table(t, broker, totals))
		require.Len(t, readAll(t, broker, totals), 2)
		require.NoError(t, stop())
	})
}
