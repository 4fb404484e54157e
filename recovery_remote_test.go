package runnel

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

func someRecovery() Recovery {
	tp := record.TopicPartition{Topic: "orders", Partition: 3}
	return Recovery{
		Clean: true, Duration: time.Second,
		Partitions: []PartitionRecovery{
			{TopicPartition: tp, Recovery: log.Recovery{
				Clean: true, Segments: 1, Batches: 2, Bytes: 3, Cut: 4, Reason: "torn", Indexes: 5, Duration: time.Minute,
				Restored: []error{&fault.Corruption{Topic: "orders", Partition: 3, File: "f", Expected: "c", Found: "d", Next: 7}},
				Damage:   []error{&fault.Corruption{Topic: "orders", Partition: 3, File: "f", Expected: "a", Found: "b"}},
			}},
			{TopicPartition: record.TopicPartition{Topic: "visits", Partition: -1}, Err: fault.At(fault.Storage, "visits", 1, -1)},
		},
		Missing: []record.TopicPartition{tp}, Removed: []string{"a", "b"}, Orphans: []string{"c"},
	}
}

// What opening found is known in every process.
func TestRemoteRecovery(t *testing.T) {
	for _, r := range []Recovery{{}, someRecovery()} {
		var b bytes.Buffer
		require.NoError(t, writeRecovery(&b, r))
		got, err := readRecovery(b.Bytes())
		require.NoError(t, err)
		require.Equal(t, r, got)
	}
	dir := t.TempDir()
	b, err := Open(dir)
	require.NoError(t, err)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2}))
	require.NoError(t, b.Close())
	b, err = Open(dir)
	require.NoError(t, err)
	defer b.Close()
	r, err := Attach(dir)
	require.NoError(t, err)
	defer r.Close()
	_, err = r.DescribeTopics(t.Context())
	require.NoError(t, err)
	got, err := r.Recovery(t.Context())
	require.NoError(t, err)
	require.Equal(t, b.Recovery(), got)
	require.Len(t, got.Partitions, 3)
	require.ErrorIs(t, r.client.Stream(t.Context(), "secrets", nil), fault.InvalidRequest)
	require.NoError(t, r.Close())
	_, err = r.Recovery(t.Context())
	require.ErrorIs(t, err, fault.Closed)
}

func FuzzReadRecovery(f *testing.F) {
	var b bytes.Buffer
	if err := errors.Join(writeRecovery(&b, someRecovery()), writeRecovery(&b, Recovery{})); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:30])
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := readRecovery(b)
		if err != nil {
			return
		}
		var again bytes.Buffer
		require.NoError(t, writeRecovery(&again, r))
	})
}
