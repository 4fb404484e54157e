package streams_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/topic"
)

// closings is how often a broker is closed under a running application, each way.
const closings = 12

// A program closes its broker, or the process that it is attached to does,
// while an application runs. Run returns, and no offset is committed whose
// output was not acknowledged.
func TestClosingUnderARunningApplication(t *testing.T) {
	for name, attached := range map[string]bool{"broker": false, "remote": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			lines := serde.For("lines", serde.String, serde.String)
			totals := serde.For("totals", serde.String, serde.Int64)
			sent := 0
			for i := range closings {
				broker, err := runnel.Open(dir, runnel.DefaultDurability(topic.OS))
				require.NoError(t, err)
				if i == 0 {
					create(t, broker, 2, "lines", "copies")
					create(t, broker, 1, "totals")
				}
				var more []string
				for range 20 {
					more = append(more, fmt.Sprint("line ", sent))
					sent++
				}
				send(t, broker, more...)
				requireOutputs(t, broker)
				var backend streams.Backend = broker
				shut := broker.Close
				if attached {
					remote, err := runnel.Attach(dir)
					require.NoError(t, err)
					backend = remote
					if i%2 == 0 {
						shut = remote.Close
					}
					t.Cleanup(func() { _ = remote.Close() })
				}
				app, err := streams.New(backend, "copy", func(topology *streams.Topology) {
					in := streams.Stream(topology, lines)
					in.To(serde.For("copies", serde.String, serde.String))
					byLine := streams.GroupBy(in, func(_, line string) string { return line })
					streams.Count(byLine, "counts").ToStream().To(totals)
				}, streams.Threads(2), streams.CommitInterval(time.Millisecond))
				require.NoError(t, err)
				ran := make(chan error, 1)
				go func() { ran <- app.Run(context.Background()) }()
				<-time.After(time.Duration(rand.IntN(8_000)) * time.Microsecond)
				_ = shut()
				select {
				case err := <-ran:
					require.ErrorIs(t, err, fault.Closed)
				case <-time.After(5 * time.Minute):
					t.Fatal("Run does not return")
				}
				require.NoError(t, broker.Close())
			}
			broker, err := runnel.Open(dir)
			require.NoError(t, err)
			requireOutputs(t, broker)
			require.NoError(t, broker.Close())
		})
	}
}

// requireOutputs compares committed offsets with the outputs of the records
// before them.
func requireOutputs(t *testing.T, broker *runnel.Broker) {
	t.Helper()
	offsets, err := broker.GroupOffsets(t.Context(), "copy")
	if err != nil {
		require.ErrorIs(t, err, fault.GroupNotFound)
		return
	}
	committed, written := int64(0), map[string]bool{}
	for tp, o := range offsets {
		if tp.Topic == "lines" {
			committed += o.Offset
		}
	}
	for _, r := range readAll(t, broker, serde.For("copies", serde.String, serde.String)) {
		written[r.Value] = true
	}
	require.LessOrEqual(t, committed, int64(len(written)))
}
