package consumer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// within runs fn in the next Fetch, on the goroutine that fetches.
func (h *handling) within(fn func()) {
	h.fake.mu.Lock()
	h.fake.before = append(h.fake.before, fn)
	h.fake.mu.Unlock()
	h.fake.wake()
	synctest.Wait()
}

func TestRunFinishesWhatRunsBeforeAPartitionGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1", "a2", "c1")
		f.keyed(a1, "_1", "_2")
		var revoked map[int32]int64
		h := handle(t, f, []Option{MaxRecords(10), OnRevoked(func([]record.TopicPartition) { revoked = f.offsets() })}, Concurrency(3))
		require.ElementsMatch(t, []string{"a1", "b1", "c1"}, h.running())
		h.within(func() { f.take(a0, f.cfg.OnRevoked) })
		synctest.Wait()
		require.Nil(t, revoked, "handlers are waited for")
		h.finish(nil, "a1", "b1")
		require.ElementsMatch(t, []string{"_1", "_2"}, h.running(), "the others go on; a2 was not begun")
		require.Nil(t, revoked)
		h.finish(errors.New("no"), "c1")
		require.EqualValues(t, 2, revoked[0], "what is finished was committed while the partition was owned")
		h.finish(nil, "_1", "_2")
		require.EqualValues(t, 2, h.committed(a1))
		require.Empty(t, h.running(), "no attempt follows for a partition that has gone")
		require.NoError(t, h.end())
		require.Empty(t, h.cut)
	})
}

func TestRunGivesAPartitionUpWithoutASlowHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1")
		h := handle(t, f, nil, Concurrency(2), DrainTimeout(time.Second))
		h.sticky = true
		h.finish(nil, "a1")
		began := time.Now()
		h.within(func() { f.take(a0, f.cfg.OnRevoked) })
		time.Sleep(time.Second)
		synctest.Wait()
		require.Empty(t, f.Assignment())
		require.Equal(t, time.Second, time.Since(began))
		require.Equal(t, map[int32]int64{0: 1}, f.offsets())
		h.finish(nil, "b1")
		require.NoError(t, h.c.Commit(t.Context()))
		require.Equal(t, map[int32]int64{0: 1}, f.offsets(), "it was too late")
		require.NoError(t, h.end())
	})
}

func TestRunCommitsNothingOfALostPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1", "b2")
		h := handle(t, f, nil, Concurrency(2))
		h.finish(nil, "a1")
		h.within(func() { f.take(a0, f.cfg.OnLost) })
		synctest.Wait()
		require.Equal(t, []string{"b1"}, h.cut, "its ctx has ended")
		require.NoError(t, h.c.Commit(t.Context()))
		require.Empty(t, f.offsets())
		require.ElementsMatch(t, []string{"a1", "b1"}, h.running())
		require.NoError(t, h.end())
		require.Empty(t, f.offsets())
	})
}

func TestRunKeepsTheOrderOfAPartitionThatComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1")
		h := handle(t, f, nil, Concurrency(4))
		h.sticky = true
		require.ElementsMatch(t, []string{"a1", "b1"}, h.running())
		h.within(func() {
			f.take(a0, f.cfg.OnLost)
			f.mu.Lock()
			f.position[a0], f.paused[a0] = 0, false
			f.mu.Unlock()
			f.cfg.OnAssigned([]record.TopicPartition{a0})
		})
		require.Empty(t, h.running(), "the handlers of both keys still run")
		h.finish(errors.New("no"), "a1")
		require.Equal(t, []string{"a1"}, h.running(), "it is handled for the second time")
		h.finish(nil, "b1")
		require.Equal(t, []string{"b1"}, h.running())
		require.EqualValues(t, 0, h.committed(a0), "the first ones do not count")
		h.finish(nil, "a1", "b1")
		require.EqualValues(t, 2, h.committed(a0))
		require.NoError(t, h.end())
	})
}

func TestSeekInACallbackOfRunBeginsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1", "c1")
		var h *handling
		h = handle(t, f, []Option{OnAssigned(func([]record.TopicPartition) {
			require.NoError(t, h.c.Seek(t.Context(), a0, 2))
		})}, Concurrency(4))
		require.ElementsMatch(t, []string{"a1", "b1", "c1"}, h.running())
		h.within(func() { f.cfg.OnAssigned([]record.TopicPartition{a1}) })
		require.Equal(t, []string{"c1"}, h.running())
		require.ElementsMatch(t, []string{"a1", "b1", "c1"}, h.cut)
		require.EqualValues(t, 2, h.committed(a0))
		h.finish(nil, "c1")
		require.EqualValues(t, 3, h.committed(a0))
		require.NoError(t, h.end())
	})
}

func TestRunSkipsGapsInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1")
		f.gap(a0, 3)
		f.keyed(a0, "b1")
		f.gap(a0, 2)
		h := handle(t, f, []Option{MaxRecords(1)}, Concurrency(4))
		require.ElementsMatch(t, []string{"a1", "b1"}, h.running())
		h.finish(nil, "b1")
		require.EqualValues(t, 0, h.committed(a0))
		h.finish(nil, "a1")
		require.EqualValues(t, 7, h.committed(a0))
		f.gap(a0, 2)
		synctest.Wait()
		require.EqualValues(t, 9, h.committed(a0))
		require.NoError(t, h.end())
	})
}

func TestAResetCommitsNothingThatIsUnfinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1")
		var told []error
		h := handle(t, f, nil, Concurrency(4), OnError(func(err error) error {
			told = append(told, err)
			return nil
		}))
		f.mu.Lock()
		f.failFetch = append(f.failFetch, fault.At(fault.OffsetOutOfRange, "a", 0, 2))
		f.position[a0], f.ends[a0] = 40, 40
		f.mu.Unlock()
		f.wake()
		synctest.Wait()
		require.Len(t, told, 1)
		require.EqualValues(t, 0, h.committed(a0))
		h.finish(nil, "b1", "a1")
		require.EqualValues(t, 40, h.committed(a0))
		require.NoError(t, h.end())
	})
}

func TestRunReportsErrorsThatDoNotEndIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1")
		f.failFetch = []error{fault.CorruptMessage}
		nothing := func(context.Context, record.Record) error { return nil }
		require.ErrorIs(t, Run(t.Context(), open(t, f), nothing), fault.CorruptMessage, "without OnError")
		f.failFetch = []error{fault.CorruptMessage, fault.CorruptMessage, fault.Closed}
		enough := errors.New("enough")
		n := 0
		err := Run(t.Context(), open(t, f), nothing, OnError(func(error) error { n++; return nil }))
		require.ErrorIs(t, err, fault.Closed)
		require.Equal(t, 2, n)
		f.failFetch = []error{fault.CorruptMessage}
		require.ErrorIs(t, Run(t.Context(), open(t, f), nothing, OnError(func(error) error { return enough })), enough)
	})
}
