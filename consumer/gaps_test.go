package consumer

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Markers or compacted records may follow the last record of a batch: they are
// done together with the record, and not before it.
func TestWhatLiesBehindTheLastRecordIsDoneWithIt(t *testing.T) {
	f := newFake()
	f.add(a0, "0", "1")
	f.gap(a0, 3)
	c := open(t, f, ManualCommit())
	n := 0
	for _, err := range c.Records(t.Context()) {
		require.NoError(t, err)
		require.NoError(t, c.Commit(t.Context()))
		n++
		require.Equal(t, map[int32]int64{0: map[int]int64{1: 1, 2: 5}[n]}, f.offsets())
		if n == 2 {
			break
		}
	}
	f.add(a0, "5")
	records, err := c.Poll(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"5"}, values(records))
	require.NoError(t, c.Commit(t.Context()))
	require.Equal(t, map[int32]int64{0: 6}, f.offsets())
}

// If there are no records at all, the position is done as soon as it has moved.
// A record that was returned before is not.
func TestABatchWithoutRecordsIsDone(t *testing.T) {
	f := newFake()
	f.add(a0)
	f.gap(a0, 4)
	c := open(t, f, ManualCommit())
	_, err := c.Poll(ended())
	if err != nil {
		require.ErrorIs(t, err, context.Canceled)
	}
	require.NoError(t, c.Commit(t.Context()))
	require.Equal(t, map[int32]int64{0: 4}, f.offsets())

	f.add(a0, "4", "5")
	f.add(a1, "0")
	f.gap(a1, 1)
	records, err := c.Poll(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"4", "5"}, values(records))
	lag, err := c.Lag(t.Context())
	require.NoError(t, err)
	require.Zero(t, lag[a0])
	require.NoError(t, c.Close())
	require.Equal(t, map[int32]int64{0: 4}, f.offsets(), "Commit was not called")
}

// Close returns after the pending commit is stored and its function has
// returned.
func TestCloseWaitsForTheCommitOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{fake: newFake(), begun: make(chan struct{}), on: make(chan struct{})}
		s.add(a0, "0", "1", "2")
		c, err := New(s, Group("g"), Topics("a"), ManualCommit(), MaxRecords(1))
		require.NoError(t, err)
		told := make(chan error, 3)
		for range 3 {
			_, err = c.Poll(t.Context())
			require.NoError(t, err)
			c.CommitAsync(func(err error) { told <- err })
		}
		<-s.begun
		closed := make(chan error)
		go func() { closed <- c.Close() }()
		synctest.Wait()
		select {
		case <-closed:
			t.Fatal("closed beside a commit")
		default:
		}
		close(s.on)
		require.NoError(t, <-closed)
		for range 3 {
			require.NoError(t, <-told)
		}
		require.Equal(t, map[int32]int64{0: 3}, s.offsets())
	})
	synctest.Test(t, func(t *testing.T) { // even with nothing assigned
		s := &slow{fake: newFake(), begun: make(chan struct{}), on: make(chan struct{})}
		c, err := New(s, Group("g"), ManualCommit())
		require.NoError(t, err)
		stored, closed := make(chan error, 1), make(chan error, 1)
		go func() { stored <- c.CommitOffsets(t.Context(), map[record.TopicPartition]Offset{a0: {Offset: 3}}) }()
		<-s.begun
		go func() { closed <- c.Close() }()
		synctest.Wait()
		require.Empty(t, closed, "closed beside a commit")
		close(s.on)
		require.NoError(t, <-stored)
		require.NoError(t, <-closed)
	})
}

// The same holds for partitions that are given up, which then belong to another
// member. The commits of a lost partition fail with it.
func TestRevokingWaitsForTheCommitOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{fake: newFake(), begun: make(chan struct{}), on: make(chan struct{})}
		s.add(a0, "0", "1", "2")
		c, err := New(s, Group("g"), Topics("a"), ManualCommit(), MaxRecords(1))
		require.NoError(t, err)
		told := make(chan error, 3)
		commit := func() {
			_, err := c.Poll(t.Context())
			require.NoError(t, err)
			c.CommitAsync(func(err error) { told <- err })
		}
		commit()
		<-s.begun
		commit()
		s.before = []func(){func() {
			s.take(a0, s.cfg.OnRevoked)
			require.Equal(t, map[int32]int64{0: 2}, s.offsets())
		}}
		go func() { // once the callback waits
			synctest.Wait()
			close(s.on)
		}()
		_, err = c.Poll(ended())
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, <-told)
		require.NoError(t, <-told)
		require.NoError(t, c.Close())
	})
	synctest.Test(t, func(t *testing.T) {
		s := &slow{fake: newFake(), begun: make(chan struct{}), on: make(chan struct{})}
		s.add(a0, "0", "1", "2")
		c, err := New(s, Group("g"), Topics("a"), ManualCommit(), MaxRecords(1))
		require.NoError(t, err)
		told := make(chan error, 3)
		for range 2 {
			_, err = c.Poll(t.Context())
			require.NoError(t, err)
			c.CommitAsync(func(err error) { told <- err })
			<-s.begun
		}
		s.take(a0, s.cfg.OnLost)
		close(s.on)
		require.NoError(t, <-told, "it was on its way before")
		require.ErrorIs(t, <-told, fault.StaleMemberEpoch)
		require.Equal(t, map[int32]int64{0: 1}, s.offsets())
		require.NoError(t, c.Close())
	})
}

// CommitAsync commits what was done at the call, and nothing that was done
// later.
func TestCommitAsyncStoresWhatWasDoneWhenItWasCalled(t *testing.T) {
	s := &slow{fake: newFake(), begun: make(chan struct{}), on: make(chan struct{})}
	s.add(a0, "0", "1", "2", "3")
	c, err := New(s, Group("g"), Topics("a"), ManualCommit(), MaxRecords(1))
	require.NoError(t, err)
	told := make(chan error, 3)
	for range 2 {
		_, err = c.Poll(t.Context())
		require.NoError(t, err)
		c.CommitAsync(func(err error) { told <- err })
		<-s.begun
	}
	for range 2 { // the third record is done and not committed
		_, err = c.Poll(t.Context())
		require.NoError(t, err)
	}
	close(s.on)
	require.NoError(t, <-told)
	require.NoError(t, <-told)
	require.Equal(t, map[int32]int64{0: 2}, s.offsets())
	require.NoError(t, c.Close())
	require.Equal(t, map[int32]int64{0: 2}, s.offsets())
}

// A position that a member has because of its start, a reset, or Seek is
// committed for the group.
func TestAPositionThatWasTakenIsCommitted(t *testing.T) {
	f := newFake()
	f.add(a0)
	f.add(a1)
	f.committed[a1] = Offset{Offset: 7}
	f.gap(a0, 9)
	f.position[a0] = 9
	c := open(t, f, ManualCommit(), FromEnd())
	f.before = []func(){func() { f.cfg.OnAssigned([]record.TopicPartition{a0, a1}) }}
	_, err := c.Poll(ended())
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, c.Commit(t.Context()))
	require.Equal(t, map[int32]int64{0: 9, 1: 7}, f.offsets(), "the group's own stays")

	f.position[a1] = 20
	f.ends[a1] = 20
	f.failFetch = []error{fault.At(fault.OffsetOutOfRange, "a", 1, 7)}
	_, err = c.Poll(t.Context())
	require.ErrorIs(t, err, fault.OffsetOutOfRange)
	require.NoError(t, c.Commit(t.Context()))
	require.Equal(t, map[int32]int64{0: 9, 1: 20}, f.offsets())

	require.ErrorIs(t, c.Seek(t.Context(), a0, -1), fault.OffsetOutOfRange)
	require.ErrorIs(t, c.SeekTo(t.Context(), topic.AtOffset(-2)), fault.OffsetOutOfRange)
	at, err := c.Position(t.Context(), a0)
	require.NoError(t, err)
	require.EqualValues(t, 9, at)
}
