package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// What was joined comes apart again, however often it was joined, and what wraps
// others stays whole.
func TestLeaves(t *testing.T) {
	a, b := errors.New("a"), fault.At(fault.CorruptMessage, "orders", 1, 7).Because(errors.New("b"))
	wrapped := fmt.Errorf("both: %w, %w", a, b)
	require.Empty(t, leaves(nil))
	require.Equal(t, []error{a}, leaves(a))
	require.Equal(t, []error{a, b, wrapped}, leaves(errors.Join(errors.Join(a, b), wrapped)))
}

// Damage that a program has found is a finding in its partition, once.
func TestAddDamage(t *testing.T) {
	var found datadir.Inspection
	file := &fault.Corruption{Topic: "orders", Partition: 1, Offset: 7, File: "elsewhere/orders-1/00000000000000000000.log", Pos: 88, Expected: "x", Found: "y"}
	for range 2 {
		require.True(t, addDamage(&found, "data", file))
	}
	require.True(t, addDamage(&found, "data", fault.At(fault.CorruptMessage, "orders", 0, 3).Because(errors.New("its checksum differs"))))
	require.False(t, addDamage(&found, "data", fault.Closed))
	require.Len(t, found.Partitions, 2)
	require.Equal(t, record.TopicPartition{Topic: "orders"}, found.Partitions[0].TopicPartition)
	memory := found.Partitions[0].Findings[0]
	require.Equal(t, "data/orders-0", memory.File)
	require.Equal(t, "in the program's memory, its checksum differs", memory.Found)
	require.Len(t, found.Partitions[1].Findings, 1)
	disk := found.Partitions[1].Findings[0]
	require.Equal(t, "data/orders-1/00000000000000000000.log", disk.File)
	require.EqualValues(t, 88, disk.Pos)
	require.Equal(t, log.Damage, found.Worst())
	require.Equal(t, "elsewhere/orders-1/00000000000000000000.log", file.File, "the error stays as it is")
}
