package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
)

func TestErrorNamesThePlace(t *testing.T) {
	cause := errors.New("no space left on device")
	for _, tc := range []struct {
		err  *fault.Error
		want string
	}{
		{fault.At(fault.UnknownTopic, "orders", -1, -1), "orders: there is no such topic or partition"},
		{fault.At(fault.UnknownTopic, "orders", 3, -1), "orders-3: there is no such topic or partition"},
		{fault.At(fault.OffsetOutOfRange, "orders", 0, 0), "orders-0 at offset 0: the offset is outside the range that the partition holds"},
		{
			fault.At(fault.OffsetOutOfRange, "orders", 3, 1042).Detailf("it holds %d to %d", 5, 9),
			"orders-3 at offset 1042: the offset is outside the range that the partition holds: it holds 5 to 9",
		},
		{fault.Newf(fault.Locked, "%s", "process 17"), "another process holds the data directory: process 17"},
		{
			fault.At(fault.DiskFull, "orders", 3, 7).Because(cause).Try("delete something"),
			"orders-3 at offset 7: there is no space left on the disk: no space left on device (delete something)",
		},
		{&fault.Error{Code: fault.Closed}, "it is closed"},
	} {
		require.EqualError(t, tc.err, tc.want)
	}
}

func TestErrorAnswersIs(t *testing.T) {
	err := fmt.Errorf("opening: %w", fault.At(fault.Storage, "orders", 1, -1).Because(fs.ErrPermission))
	require.ErrorIs(t, err, fault.Storage)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.NotErrorIs(t, err, fault.Closed)
	var e *fault.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "orders", e.Topic)
	require.Equal(t, int32(1), e.Partition)
	require.Equal(t, int64(-1), e.Offset)
}

func TestCorruption(t *testing.T) {
	c := &fault.Corruption{
		Topic: "orders", Partition: 3, Offset: 40,
		File: "orders-3/00000000000000000000.log", Pos: 512,
		Expected: "checksum 0badcafe", Found: "0badc0de",
		Hint: "restore the file from a copy",
	}
	require.EqualError(t, c, "orders-3 at offset 40: corrupt data in orders-3/00000000000000000000.log at byte 512:"+
		" expected checksum 0badcafe, found 0badc0de (restore the file from a copy)")
	require.ErrorIs(t, fmt.Errorf("fetch: %w", c), fault.CorruptMessage)
	require.NotErrorIs(t, c, fault.Storage)

	bare := &fault.Corruption{Offset: -1, File: "meta", Expected: "4 bytes", Found: "2"}
	require.EqualError(t, bare, "corrupt data in meta at byte 0: expected 4 bytes, found 2")
	located := &fault.Corruption{Topic: "orders", Offset: -1, File: "f", Expected: "a", Found: "b"}
	require.EqualError(t, located, "orders-0: corrupt data in f at byte 0: expected a, found b")
}

func TestCodeOfAndRetriable(t *testing.T) {
	corruption := &fault.Corruption{File: "f"}
	for _, tc := range []struct {
		name      string
		err       error
		code      fault.Code
		retriable bool
	}{
		{"no error", nil, fault.Unknown, false},
		{"somebody else's", context.Canceled, fault.Unknown, false},
		{"a code", fault.TimedOut, fault.TimedOut, true},
		{"a wrapped code", fmt.Errorf("so: %w", fault.TimedOut), fault.TimedOut, true},
		{"an error", fault.At(fault.Closed, "", -1, -1), fault.Closed, false},
		{"a wrapped error", fmt.Errorf("so: %w", fault.At(fault.NotLeader, "t", 0, -1)), fault.NotLeader, true},
		{"joined errors", errors.Join(errors.New("first"), fault.At(fault.NotLeader, "t", 0, -1)), fault.NotLeader, true},
		{"the outer error counts", fault.At(fault.InvalidConfig, "", -1, -1).Because(fault.TimedOut), fault.InvalidConfig, false},
		{"bytes damaged on the way", fault.Newf(fault.CorruptMessage, "checksum"), fault.CorruptMessage, true},
		{"a log that failed for good", fault.At(fault.Storage, "t", 0, -1).ForGood(), fault.Storage, false},
		{"one beneath another", fault.At(fault.Storage, "", -1, -1).Because(fmt.Errorf("so: %w", fault.At(fault.Storage, "t", 0, -1).ForGood())), fault.Storage, false},
		{"bytes damaged on disk", corruption, fault.CorruptMessage, false},
		{"a failure because of damage", fault.At(fault.Storage, "t", 0, -1).Because(corruption), fault.Storage, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.code, fault.CodeOf(tc.err))
			require.Equal(t, tc.retriable, fault.Retriable(tc.err))
		})
	}
}

func ExampleAt() {
	err := fault.At(fault.UnknownTopic, "ordres", -1, -1).Try("did you mean orders?")
	fmt.Println(err)
	fmt.Println(errors.Is(err, fault.UnknownTopic), fault.CodeOf(err).Name())
	// Output:
	// ordres: there is no such topic or partition (did you mean orders?)
	// true UNKNOWN_TOPIC_OR_PARTITION
}

func ExampleRetriable() {
	fmt.Println(fault.Retriable(fault.At(fault.NotLeader, "orders", 3, -1)))
	fmt.Println(fault.Retriable(fault.At(fault.RecordTooLarge, "orders", 3, -1)))
	// Output:
	// true
	// false
}
