package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/record"
)

// A topic that does not open as a whole is a row without a partition, once.
func TestUnopenedTopic(t *testing.T) {
	failed := []runnel.PartitionRecovery{{TopicPartition: record.TopicPartition{Topic: "orders", Partition: -1}, Err: errors.New("it is gone")}}
	r := withFailed(withFailed(runnel.Recovery{}, failed), failed)
	require.Len(t, r.Partitions, 1)
	var out strings.Builder
	s := &shell{out: &out, table: true, at: "data"}
	require.EqualError(t, s.showRecovery(r), "1 topic did not open")
	require.Contains(t, out.String(), "\norders ")
	require.Contains(t, out.String(), "\norders did not open: it is gone\n")
	require.NotContains(t, out.String(), "--1")
	out.Reset()
	s.table = false
	require.EqualError(t, s.showRecovery(r), "1 topic did not open")
	require.NotContains(t, out.String(), "partition\"")
}
