package runneltest_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/runneltest"
	"github.com/runnel-go/runnel/topic"
)

// A desk takes orders and says whether one is taken.
type desk func(ctx context.Context, p *producer.Producer, order string) error

// TestAcknowledgedTooEarly: each way of saying too early that something is taken
// is found by one crash, and the service that waits passes every one.
func TestAcknowledgedTooEarly(t *testing.T) {
	order := func(v string) record.Record { return record.Record{Topic: "orders", Value: []byte(v)} }
	waits := func(ctx context.Context, p *producer.Producer, v string) error {
		_, err := p.Send(ctx, order(v))
		return err
	}
	tests := []struct {
		name  string
		desk  desk
		acks  producer.Acks
		level topic.Durability
		loses bool
	}{
		{name: "sends and does not wait", loses: true, desk: func(ctx context.Context, p *producer.Producer, v string) error {
			p.SendAsync(ctx, order(v), nil)
			return nil
		}},
		{name: "awaits no acknowledgement", acks: producer.AcksNone, desk: waits, loses: true},
		{name: "to a topic that the operating system keeps", level: topic.OS, desk: waits, loses: true},
		{name: "to a topic in memory", level: topic.Memory, desk: waits, loses: true},
		{name: "waits", desk: waits},
		{name: "waits for many at once", desk: func(ctx context.Context, p *producer.Producer, v string) error {
			p.SendAsync(ctx, order(v), nil)
			return p.Flush(ctx)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := runneltest.New(t)
			require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: topic.Config{Durability: test.level}}))
			p, err := producer.New(b, producer.RequireAcks(test.acks))
			require.NoError(t, err)
			var taken []string
			for i := range 10 {
				if i == 5 { // no sync gets through any more
					b.Inject(runneltest.Fault{On: runneltest.Sync, Topic: "orders", File: ".log"})
				}
				v := fmt.Sprint("order ", i)
				if test.desk(t.Context(), p, v) == nil {
					taken = append(taken, v)
				}
			}
			b = b.Crash()
			kept := values(t, b, "orders")
			lost := 0
			for _, v := range taken {
				if !slices.Contains(kept, v) {
					lost++
				}
			}
			require.Equal(t, test.loses, lost > 0, "taken %v, kept %v", taken, kept)
		})
	}
}

// TestCrashIsRepeatable: equal seeds take the same, others something else.
func TestCrashIsRepeatable(t *testing.T) {
	outcome := func(seed int, loss runneltest.Loss) string {
		t.Setenv(runneltest.SeedVariable, fmt.Sprint(seed))
		b := runneltest.New(t, runnel.DefaultDurability(topic.OS))
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: topic.Config{SegmentBytes: 1 << 10}}))
		var story string
		for round := range 3 {
			for i := range 8 {
				sendAll(t, b, "orders", fmt.Sprintf("%d/%d %0150d", round, i, 0))
			}
			b = b.Crash(loss)
			story += fmt.Sprintln(values(t, b, "orders"), b.Recovery().Partitions[1].Cut)
		}
		return story
	}
	for _, loss := range []runneltest.Loss{runneltest.LoseTail, runneltest.LoseSome, runneltest.LoseAny} {
		different := map[string]bool{}
		for seed := range 12 {
			first := outcome(seed, loss)
			require.Equal(t, first, outcome(seed, loss), "seed %d", seed)
			different[first] = true
		}
		require.Greater(t, len(different), 3)
	}
}
