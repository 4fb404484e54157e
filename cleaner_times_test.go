package runnel_test

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/runneltest"
	"github.com/runnel-go/runnel/topic"
)

// sendAt sends a record to partition 0 of a topic with a timestamp.
func sendAt(t *testing.T, b *runnel.Broker, name, key string, at time.Time) error {
	t.Helper()
	p, err := producer.New(b)
	require.NoError(t, err)
	defer p.Close()
	_, err = p.Send(t.Context(), record.Record{Topic: name, Key: []byte(key), Value: []byte("v"), Timestamp: at})
	return err
}

// TestRetentionWithAWrongClock sends one record with a time that is far from the
// clock's among those of ten days: records go when their time is over.
func TestRetentionWithAWrongClock(t *testing.T) {
	for _, off := range []time.Duration{1000 * time.Hour, -1000 * time.Hour, 0} {
		for _, when := range []int{0, 1, 700} {
			for _, again := range []int{-1, 1, 701} {
				synctest.Test(t, func(t *testing.T) {
					b := runneltest.New(t)
					cfg := topic.Config{Retention: time.Hour, SegmentAge: 10 * time.Minute}
					require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: cfg}))
					for n := range 1500 {
						at := time.Now()
						if n == when {
							at = at.Add(off)
						}
						require.NoError(t, sendAt(t, b.Broker, "orders", "k", at))
						time.Sleep(5 * time.Minute)
						if n == again {
							b = b.Crash()
						}
						d := stateOf(t, b.Broker, "orders")
						require.LessOrEqual(t, d.HighWatermark-d.StartOffset, int64(12+3+4),
							"off by %v at %d, opened again at %d: after %d the log begins at %d", off, when, again, n, d.StartOffset)
						if n > 20 && n != when && (n < when || n > when+20) {
							require.GreaterOrEqual(t, d.HighWatermark-d.StartOffset, int64(11), "nothing goes before its time")
						}
						if n > when+40 && n > again+40 {
							break
						}
					}
				})
			}
		}
	}
}

// TestRetentionOfTheLastRecordAhead: nothing is written behind a record whose time
// is not yet. It and those before it go when they have been there for long enough,
// whether or not the directory was opened again.
func TestRetentionOfTheLastRecordAhead(t *testing.T) {
	for _, again := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := runneltest.New(t)
			cfg := topic.Config{Retention: 100 * time.Hour, SegmentAge: 10 * time.Hour}
			require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: cfg}))
			require.NoError(t, sendAt(t, b.Broker, "orders", "k", time.Now()))
			require.NoError(t, sendAt(t, b.Broker, "orders", "k", time.Now().Add(10_000*time.Hour)))
			for range 99 {
				time.Sleep(time.Hour)
				if again {
					b = b.Crash()
				}
				stateOf(t, b.Broker, "orders")
			}
			require.Zero(t, stateOf(t, b.Broker, "orders").StartOffset)
			time.Sleep(13 * time.Hour) // after a crash, a segment.ms later at most
			require.EqualValues(t, 2, stateOf(t, b.Broker, "orders").StartOffset)
		})
	}
}

// TestCompactionWithAWrongClock: one record whose time is not yet keeps compaction
// neither from the others, when they have lain for min.compaction.lag.ms, nor from
// looking at them after max.compaction.lag.ms.
func TestCompactionWithAWrongClock(t *testing.T) {
	for name, cfg := range map[string]topic.Config{
		"min": {Cleanup: topic.Compact, SegmentAge: 10 * time.Minute, MinCompactionLag: time.Hour, MinCleanableRatio: 0.01},
		"max": {Cleanup: topic.Compact, MaxCompactionLag: time.Hour, MinCleanableRatio: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, err := runnel.OpenMemory()
				require.NoError(t, err)
				defer b.Close()
				require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: cfg}))
				require.NoError(t, sendAt(t, b, "orders", "k", time.Now().Add(1000*time.Hour)))
				for range 60 {
					require.NoError(t, sendAt(t, b, "orders", "k", time.Now()))
					time.Sleep(5 * time.Minute)
				}
				require.Less(t, len(content(t, b, "orders")), 35)
			})
		})
	}
}

// TestTimestampLimits refuses records whose time is too far from the broker's
// clock, where that is asked for, and only those.
func TestTimestampLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		defer b.Close()
		ctx := t.Context()
		require.NoError(t, b.CreateTopics(ctx,
			topic.Spec{Name: "any"},
			topic.Spec{Name: "near", Config: topic.Config{TimestampBefore: 24 * time.Hour, TimestampAfter: time.Hour}},
			topic.Spec{Name: "ours", Config: topic.Config{TimestampAfter: time.Hour, Timestamps: topic.LogAppendTime}}))
		now := time.Now()
		for _, off := range []time.Duration{-25 * time.Hour, -24 * time.Hour, 0, time.Hour, time.Hour + time.Millisecond, 10_000 * time.Hour} {
			for _, name := range []string{"any", "near", "ours"} {
				err := sendAt(t, b, name, "k", now.Add(off))
				if name == "near" && (off < -24*time.Hour || off > time.Hour) {
					require.ErrorIs(t, err, fault.InvalidTimestamp, "%s %v", name, off)
					require.ErrorContains(t, err, map[bool]string{true: "message.timestamp.before.max.ms", false: "message.timestamp.after.max.ms"}[off < 0])
					require.False(t, fault.Retriable(err))
					continue
				}
				require.NoError(t, err, "%s %v", name, off)
			}
		}
		require.EqualValues(t, 3, stateOf(t, b, "near").HighWatermark)
		require.NoError(t, sendAt(t, b, "near", "k", time.Time{}), "no time of its own: the clock's")

		p, err := producer.New(b) // a whole batch, as streams send them
		require.NoError(t, err)
		defer p.Close()
		ds, err := b.DescribeTopics(ctx, "near")
		require.NoError(t, err)
		require.Contains(t, fmt.Sprint(ds[0].Config.Entries()), "message.timestamp.after.max.ms=3600000 message.timestamp.before.max.ms=86400000")
		require.NoError(t, b.ConfigureTopic(ctx, "near", topic.Config{}))
		require.NoError(t, sendAt(t, b, "near", "k", now.Add(10_000*time.Hour)))
	})
}

// Times of which 64 bits of milliseconds look like others are refused, rather than
// stored as these, and those asked for are before or after all records.
func TestTimesBeyondMilliseconds(t *testing.T) {
	dir := t.TempDir()
	broker, err := runnel.Open(dir)
	require.NoError(t, err)
	defer broker.Close()
	remote, err := runnel.Attach(dir)
	require.NoError(t, err)
	defer remote.Close()
	require.NoError(t, broker.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	first := record.TopicPartition{Topic: "orders"}
	for _, backend := range []interface {
		producer.Backend
		topic.Admin
	}{broker, remote} {
		p, err := producer.New(backend)
		require.NoError(t, err)
		defer p.Close()
		for _, at := range []time.Time{time.Unix(math.MaxInt64/1000+1, 0), time.Unix(1<<61, 0), time.Unix(-1<<61, 0)} {
			_, err := p.Send(t.Context(), record.Record{Topic: "orders", Timestamp: at})
			require.ErrorIs(t, err, fault.InvalidTimestamp, "%v", at)
		}
		_, err = p.Send(t.Context(), record.Record{Topic: "orders", Timestamp: time.UnixMilli(math.MaxInt64 - 1)})
		require.NoError(t, err)
		end, err := backend.ListOffsets(t.Context(), topic.Latest(), first)
		require.NoError(t, err)
		for at, want := range map[time.Time]int64{time.Unix(1<<61, 0): end[first].Offset, time.Unix(-1<<61, 0): 0} {
			listed, err := backend.ListOffsets(t.Context(), topic.AtTime(at), first)
			require.NoError(t, err)
			require.Equal(t, want, listed[first].Offset, "%v", at)
		}
	}
}
