package attach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// body returns what was encoded, without the frame's head.
func body(t require.TestingT, what fields) []byte {
	f, err := encode(kindCall, 0, what)
	require.NoError(t, err)
	return f[frameHead:]
}

// survive sends values of a type from one side to the other. It generates every
// field of the type, so a new one is not forgotten.
func survive[V any](t *testing.T, code func(c *coder, v *V)) {
	var zero V
	t.Run(fmt.Sprintf("%T", zero), func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			sent := rapid.Make[V]().Draw(t, "v")
			var got V
			require.NoError(t, decode(body(t, func(c *coder) { code(c, &sent) }), func(c *coder) { code(c, &got) }))
			require.Equal(t, fmt.Sprintf("%+v", sent), fmt.Sprintf("%+v", got)) // distinguishes nil from empty
		})
	})
}

func TestValuesSurvive(t *testing.T) {
	survive(t, (*coder).topicSpec)
	survive(t, (*coder).description)
	survive(t, (*coder).groupListing)
	survive(t, (*coder).groupDescription)
	survive(t, (*coder).offset)
	survive(t, (*coder).producerConfig)
	survive(t, (*coder).partitions)
	survive(t, func(c *coder, m *map[record.TopicPartition]int64) { table(c, 8, m, int64s) })
	survive(t, func(c *coder, m *map[record.TopicPartition]consumer.Offset) { table(c, 16, m, (*coder).offset) })
}

// Values that rapid cannot generate, because of functions or unexported fields.
func TestOtherValuesSurvive(t *testing.T) {
	for _, spec := range []topic.OffsetSpec{
		topic.Earliest(), topic.Latest(), topic.AtOffset(0), topic.AtOffset(1 << 40),
		topic.AtTime(time.UnixMilli(0)), topic.AtTime(time.UnixMilli(1_700_000_000_123)), topic.AtTime(time.Unix(1<<40, 999)),
		topic.Ago(time.Hour), topic.None(),
	} {
		sent := consumer.Config{
			ClientID: "client", Group: "group", Topics: []string{"a", "b"}, Pattern: "c.*", InstanceID: "one", Assignor: "tasks", Metadata: []byte("told"), Start: spec,
			SessionTimeout: 1, RebalanceTimeout: 2, MaxRecords: 3, MaxBytes: 4,
		}
		var got consumer.Config
		require.NoError(t, decode(body(t, func(c *coder) { c.consumerConfig(&sent) }), func(c *coder) { c.consumerConfig(&got) }))
		require.Equal(t, sent, got)
	}
	for _, at := range []time.Time{{}, time.UnixMilli(0), time.UnixMilli(1_700_000_000_123)} {
		sent := topic.ListedOffset{Offset: 7, LeaderEpoch: 3, Timestamp: at}
		var got topic.ListedOffset
		require.NoError(t, decode(body(t, func(c *coder) { c.listed(&sent) }), func(c *coder) { c.listed(&got) }))
		require.Equal(t, sent, got)
	}
	sent := consumer.Fetched{
		TopicPartition: record.TopicPartition{Topic: "orders", Partition: 3}, Next: 1, LeaderEpoch: 2, HighWatermark: 3,
	}
	var got consumer.Fetched
	require.NoError(t, decode(body(t, func(c *coder) { c.fetched(&sent) }), func(c *coder) { c.fetched(&got) }))
	require.Equal(t, sent, got)
}

func pass(t require.TestingT, err error) error {
	var got error
	require.NoError(t, decode(body(t, func(c *coder) { c.problem(&err) }), func(c *coder) { c.problem(&got) }))
	return got
}

// An error has the same text on the other side, and answers errors.Is alike.
func TestErrorsSurvive(t *testing.T) {
	require.NoError(t, pass(t, nil))
	full := fault.At(fault.DiskFull, "orders", 3, 1042).Detailf("detail").Try("hint").Because(io.ErrShortWrite)
	corruption := &fault.Corruption{
		Topic: "orders", Partition: 3, Offset: 40, File: "f", Pos: 512, Expected: "a", Found: "b", Hint: "c", Next: 41,
	}
	deep := error(fault.Closed)
	for range 50 {
		deep = fmt.Errorf("deeper: %w", deep)
	}
	deeper := error(fault.TimedOut)
	for range 50 {
		deeper = fault.At(fault.Storage, "t", 0, -1).Because(deeper)
	}
	for _, sent := range []error{
		full, corruption, fault.Closed, fault.Code(12345), context.Canceled, context.DeadlineExceeded, io.EOF,
		fmt.Errorf("so: %w", full), fmt.Errorf("so: %w and %w", corruption, fault.TimedOut),
		errors.Join(fault.At(fault.NotLeader, "t", 0, -1), io.EOF, context.Canceled),
		fault.At(fault.UnknownOutcome, "t", 1, -1).Because(context.DeadlineExceeded),
		fault.Newf(fault.Unknown, "no topic"), deep, deeper,
	} {
		got := pass(t, sent)
		require.EqualError(t, got, sent.Error())
		if sent == deep {
			continue // errors nested that deeply are sent as text
		}
		require.Equal(t, fault.CodeOf(sent), fault.CodeOf(got), "%v", sent)
		require.Equal(t, fault.Retriable(sent), fault.Retriable(got), "%v", sent)
		for _, target := range []error{
			fault.Closed, fault.DiskFull, fault.CorruptMessage, fault.TimedOut, fault.NotLeader, fault.Storage, fault.UnknownOutcome,
			context.Canceled, context.DeadlineExceeded,
		} {
			if sent != deeper || target == fault.Storage {
				require.Equal(t, errors.Is(sent, target), errors.Is(got, target), "%v is %v", sent, target)
			}
		}
	}
	var f *fault.Error
	require.ErrorAs(t, pass(t, fmt.Errorf("so: %w", full)), &f)
	require.Equal(t, full.Hint, f.Hint)
	require.EqualValues(t, 1042, f.Offset)
	var k *fault.Corruption
	require.ErrorAs(t, pass(t, corruption), &k)
	require.Equal(t, corruption, k)
}

// Bytes that no side writes are refused.
func TestDecodersRefuse(t *testing.T) {
	for name, b := range map[string][]byte{
		"a spec of an unknown kind":  append([]byte{9}, make([]byte, 12)...),
		"an error of an unknown one": {9},
		"an error that wraps none":   {6, 0, 0, 0, 0, 0, 0, 0, 1, 0},
		"a list of 2 GiB":            {6, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff},
	} {
		var spec topic.OffsetSpec
		var err error
		into := func(c *coder) { c.problem(&err) }
		if len(b) == 13 {
			into = func(c *coder) { c.spec(&spec) }
		}
		require.ErrorIs(t, decode(b, into), fault.CorruptMessage, name)
	}
	var nested []byte
	for range 100 { // errors that wrap errors, deeper than the limit
		nested = append(nested, 6, 0, 0, 0, 0, 0, 0, 0, 1)
	}
	var err error
	require.ErrorContains(t, decode(nested, func(c *coder) { c.problem(&err) }), "errors too deep")
	var cfg producer.Config
	require.ErrorIs(t, decode([]byte{1, 2, 3}, func(c *coder) { c.producerConfig(&cfg) }), fault.CorruptMessage)
}
