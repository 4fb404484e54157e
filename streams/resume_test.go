package streams_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
)

// A task that starts again has the stream time that it had when it committed, and each
// partition its own: a late record is late, too, if it is the first one after a restart.
func TestTimeGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := openMemory(t)
		defer broker.Close()
		create(t, broker, 1, "a", "b")
		var streamTimes, partitionTimes []int64
		run := func(options ...streams.Option) {
			app, err := streams.New(broker, "app", func(t *streams.Topology) {
				stamp := streams.EventTime(func(r streams.Incoming[string, string]) (time.Time, bool) {
					if r.Record.Topic == "b" {
						partitionTimes = append(partitionTimes, r.PartitionTime.UnixMilli())
					}
					return r.Record.Timestamp, true
				})
				a := streams.Stream(t, serde.For("a", serde.String, serde.String))
				b := streams.Stream(t, serde.For("b", serde.String, serde.String), stamp)
				streams.ProcessValues(a.Merge(b), func(c *streams.ValueContext[string]) (streams.Processor[string, string], error) {
					return func(streams.Record[string, string]) error {
						now, _ := c.StreamTime()
						streamTimes = append(streamTimes, now.UnixMilli())
						return nil
					}, nil
				})
			}, append(options, fast, streams.TaskIdle(-1))...)
			require.NoError(t, err)
			drain(t, app)
		}
		writeAt(t, broker, "a", 100)
		writeAt(t, broker, "b", 30)
		run()
		streamTimes, partitionTimes = nil, nil
		writeAt(t, broker, "b", 20, 40)
		run(streams.OnError(streams.Skip()))
		require.Equal(t, []int64{100, 100}, streamTimes)
		require.Contains(t, partitionTimes, int64(30))
		require.NotContains(t, partitionTimes, time.Time{}.UnixMilli())
	})
}
