package partition_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// openReplica opens a replica's copy.
func openReplica(t failer, fs vfs.FS) *partition.Partition {
	t.Helper()
	cfg := configOn(fs)
	cfg.Replica = true
	p, _ := open(t, cfg)
	return p
}

// stamped is a batch as a leader would send it.
func stamped(base int64, epoch int32, values ...string) []byte {
	raw := batchOf(values...)
	record.Stamp(raw, base, epoch)
	return raw
}

// store stores a batch and waits.
func store(p *partition.Partition, batch []byte) (int64, error) {
	done := newOutcome()
	p.Store(batch, nil, done)
	return done.wait()
}

// proposals is a Proposer of a group in which the test decides what is stored.
type proposals struct {
	batches [][]byte
	refuses error
}

func (g *proposals) Propose(batch []byte) error {
	if g.refuses != nil {
		return g.refuses
	}
	g.batches = append(g.batches, batch)
	return nil
}

// storeAll stores what was proposed.
func (g *proposals) storeAll(t failer, p *partition.Partition) {
	t.Helper()
	for _, b := range g.batches {
		_, err := store(p, b)
		require.NoError(t, err)
	}
	g.batches = nil
}

// appendLater appends without waiting.
func appendLater(p *partition.Partition, batch []byte) *outcome {
	done := newOutcome()
	p.Append(batch, nil, done)
	return done
}

func TestAFollowerShowsWhatItsGroupHasCommitted(t *testing.T) {
	p := openReplica(t, vfs.NewMemory())
	defer p.Close()
	base, err := store(p, stamped(0, 4, "a"))
	require.NoError(t, err)
	require.EqualValues(t, 0, base)
	base, err = store(p, stamped(1, 4, "b"))
	require.NoError(t, err)
	require.EqualValues(t, 1, base)
	require.EqualValues(t, 2, p.EndOffset())
	require.EqualValues(t, 0, p.HighWatermark(), "stored is not committed")

	rings := make(bell, 1)
	require.True(t, p.Wait(1, rings))
	p.Commit(1)
	require.EqualValues(t, 1, p.HighWatermark())
	require.Empty(t, rings)
	p.Commit(5)
	require.EqualValues(t, 2, p.HighWatermark(), "the group is ahead of this log")
	<-rings
	p.Commit(2)
	_, err = store(p, stamped(2, 5, "c", "d", "e"))
	require.NoError(t, err)
	_, err = store(p, stamped(5, 5, "f"))
	require.NoError(t, err)
	require.EqualValues(t, 5, p.HighWatermark(), "what is stored later is committed already, and Commit never goes back")
	require.Equal(t, []string{"a", "b", "c", "d", "e"}, readAll(t, p, 0))

	s, err := p.Read(9, 100, nil)
	require.NoError(t, err, "a reader may come from a replica that is ahead")
	require.Empty(t, s.Bytes)
	all, err := p.ReadLog(2, 1000, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"c", "d", "e"}, valuesFrom(t, partition.Slice{Slice: all}, 2))
	all, err = p.ReadLog(5, 1000, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"f"}, valuesFrom(t, partition.Slice{Slice: all}, 5), "also what is not committed")

	_, err = store(p, stamped(7, 5, "gap"))
	require.ErrorIs(t, err, fault.InvalidRecord)
	_, err = store(p, stamped(6, 4, "older leader"))
	require.ErrorIs(t, err, fault.InvalidRecord)
	_, err = appendAll(p, "x")
	require.ErrorIs(t, err, fault.NotLeader)
	require.True(t, fault.Retriable(err))
	_, leads := p.Leadership()
	require.False(t, leads)
}

func TestAReplicaOpensWithNothingCommitted(t *testing.T) {
	fs := vfs.NewMemory()
	p := openReplica(t, fs)
	_, err := store(p, stamped(0, 4, "a"))
	require.NoError(t, err)
	p.Commit(1)
	require.NoError(t, p.Close())
	p = openReplica(t, fs)
	defer p.Close()
	require.EqualValues(t, 1, p.EndOffset())
	require.EqualValues(t, 0, p.HighWatermark())
	require.EqualValues(t, 4, p.LeaderEpoch())
	p.Commit(1)
	require.Equal(t, []string{"a"}, readAll(t, p, 0))
}

func TestALeaderAcknowledgesWhatIsCommitted(t *testing.T) {
	p := openReplica(t, vfs.NewMemory())
	defer p.Close()
	_, err := store(p, stamped(0, 1, "no-op"))
	require.NoError(t, err)
	group := &proposals{}
	p.Lead(1, group)
	_, leads := p.Leadership()
	require.False(t, leads, "what precedes it is not committed yet")
	first, second := appendLater(p, batchOf("a", "b")), appendLater(p, batchOf("c"))
	bad := appendLater(p, []byte("no batch"))
	require.Len(t, group.batches, 2)
	h, err := record.ParseHeader(group.batches[1])
	require.NoError(t, err)
	require.EqualValues(t, 3, h.BaseOffset)
	require.EqualValues(t, 1, h.LeaderEpoch)
	p.Commit(1)
	epoch, leads := p.Leadership()
	require.EqualValues(t, 1, epoch)
	require.True(t, leads)
	require.EqualValues(t, 1, p.EndOffset(), "the partition stores nothing by itself")

	group.storeAll(t, p)
	require.False(t, first.isTold(), "it is in one log only")
	p.Commit(3)
	base, err := first.wait()
	require.NoError(t, err)
	require.EqualValues(t, 1, base)
	require.False(t, second.isTold())
	require.False(t, bad.isTold(), "outcomes come in the order of the appends")
	p.Commit(4)
	base, err = second.wait()
	require.NoError(t, err)
	require.EqualValues(t, 3, base)
	_, err = bad.wait()
	require.ErrorIs(t, err, fault.InvalidRecord)
	_, err = p.Read(5, 100, nil)
	require.ErrorIs(t, err, fault.OffsetOutOfRange, "a leader knows where the partition ends")
}

func TestAFastGroupCommitsWithinPropose(t *testing.T) {
	p := openReplica(t, vfs.NewMemory())
	defer p.Close()
	p.Lead(1, at(func(batch []byte) error {
		p.Store(batch, nil, newOutcome())
		p.Commit(p.EndOffset())
		return nil
	}))
	for i, v := range []string{"a", "b", "c"} {
		base, err := appendAll(p, v)
		require.NoError(t, err)
		require.EqualValues(t, i, base)
	}
	require.Equal(t, []string{"a", "b", "c"}, readAll(t, p, 0))
}

// at is a Proposer that is a function.
type at func([]byte) error

func (f at) Propose(batch []byte) error { return f(batch) }

func TestALeaderBeginsBehindWhatWasStoredBefore(t *testing.T) {
	gated := &gatedFS{FS: vfs.NewMemory()}
	cfg := configOn(gated)
	cfg.Replica, cfg.Fsync = true, true
	p, _ := open(t, cfg)
	defer p.Close()
	gated.shut()
	before := newOutcome()
	raw := produced(7, 0, 0, "of the last leader")
	record.Stamp(raw, 0, 1)
	p.Store(raw, nil, before)
	proposed := make(chan []byte, 9)
	p.Lead(2, at(func(b []byte) error { proposed <- b; return nil }))
	done := appendLater(p, produced(7, 0, 1, "next"))
	require.Empty(t, proposed, "what precedes it is on its way to the disk")
	gated.open()
	b := <-proposed
	h, err := record.ParseHeader(b)
	require.NoError(t, err)
	require.EqualValues(t, 1, h.BaseOffset)
	_, err = before.wait()
	require.NoError(t, err)
	_, err = store(p, b)
	require.NoError(t, err)
	p.Commit(2)
	base, err := done.wait()
	require.NoError(t, err)
	require.EqualValues(t, 1, base)
}

func TestSequencesAreJudgedByWhatIsProposed(t *testing.T) {
	p := openReplica(t, vfs.NewMemory())
	defer p.Close()
	group := &proposals{}
	p.Lead(1, group)
	first, second := appendLater(p, produced(7, 0, 0, "a")), appendLater(p, produced(7, 0, 1, "b"))
	again := appendLater(p, produced(7, 0, 0, "a"))
	gap := appendLater(p, produced(7, 0, 3, "d"))
	require.Len(t, group.batches, 2, "nothing is proposed twice, or out of sequence")
	require.False(t, again.isTold(), "a duplicate of what is not committed is not, either")
	group.storeAll(t, p)
	p.Commit(2)
	for i, o := range []*outcome{first, second, again} {
		base, err := o.wait()
		require.NoError(t, err)
		require.EqualValues(t, []int64{0, 1, 0}[i], base)
	}
	_, err := gap.wait()
	require.ErrorIs(t, err, fault.OutOfOrderSequence)

	// A producer that goes on after a change of leaders writes nothing twice, and what
	// was cut off may be written again.
	kept, lost := appendLater(p, produced(7, 0, 2, "c")), appendLater(p, produced(7, 0, 3, "d"))
	_, err = store(p, group.batches[0])
	require.NoError(t, err)
	_, err = store(p, group.batches[1])
	require.NoError(t, err)
	p.Follow(2)
	for _, o := range []*outcome{kept, lost} {
		_, err := o.wait()
		require.ErrorIs(t, err, fault.UnknownOutcome)
	}
	require.NoError(t, p.Truncate(3))
	*group = proposals{}
	p.Lead(3, group)
	kept, lost = appendLater(p, produced(7, 0, 2, "c")), appendLater(p, produced(7, 0, 3, "d"))
	require.Len(t, group.batches, 1)
	group.storeAll(t, p)
	p.Commit(4)
	base, err := kept.wait()
	require.NoError(t, err)
	require.EqualValues(t, 2, base)
	base, err = lost.wait()
	require.NoError(t, err)
	require.EqualValues(t, 3, base)
	require.Equal(t, []string{"a", "b", "c", "d"}, readAll(t, p, 0))
	require.EqualValues(t, 1, p.EpochAt(2))
	require.EqualValues(t, 3, p.EpochAt(3))
}

func TestAStepDownKeepsWhatIsCommitted(t *testing.T) {
	p := openReplica(t, vfs.NewMemory())
	defer p.Close()
	group := &proposals{}
	p.Lead(1, group)
	committed, proposed := appendLater(p, batchOf("a")), appendLater(p, batchOf("b"))
	group.storeAll(t, p)
	p.Commit(1)
	p.Follow(2)
	_, err := committed.wait()
	require.NoError(t, err)
	_, err = proposed.wait()
	require.ErrorIs(t, err, fault.UnknownOutcome)
	p.Commit(2)
	require.EqualValues(t, 2, p.HighWatermark(), "the next leader had it")
	_, err = appendAll(p, "c")
	require.ErrorIs(t, err, fault.NotLeader)
}

func TestARefusedProposalLeavesNoGap(t *testing.T) {
	p := openReplica(t, vfs.NewMemory())
	defer p.Close()
	group := &proposals{}
	p.Lead(1, group)
	first := appendLater(p, produced(7, 0, 0, "a"))
	group.refuses = fault.Newf(fault.NotLeader, "leadership is being handed over")
	refused := appendLater(p, produced(7, 0, 1, "b"))
	group.refuses = nil
	again := appendLater(p, produced(7, 0, 1, "b"))
	require.Len(t, group.batches, 2)
	group.storeAll(t, p)
	p.Commit(2)
	_, err := first.wait()
	require.NoError(t, err)
	_, err = refused.wait()
	require.ErrorIs(t, err, fault.NotLeader)
	base, err := again.wait()
	require.NoError(t, err)
	require.EqualValues(t, 1, base)
}

func TestCommittedRecordsAreNeverCutOff(t *testing.T) {
	gated := &gatedFS{FS: vfs.NewMemory()}
	cfg := configOn(gated)
	cfg.Replica, cfg.Fsync = true, true
	p, _ := open(t, cfg)
	defer p.Close()
	for i, v := range []string{"a", "b", "of a deposed leader"} {
		_, err := store(p, stamped(int64(i), 1, v))
		require.NoError(t, err)
	}
	p.Commit(2)
	require.ErrorIs(t, p.Truncate(1), fault.OffsetOutOfRange)

	// The group commits other records at an offset that is about to be cut: the old
	// ones must not show meanwhile.
	gated.shut()
	cut := make(chan error)
	queued := newOutcome()
	p.Store(stamped(3, 1, "also of a deposed leader"), nil, queued) // whose sync the Truncate waits for
	go func() { cut <- p.Truncate(2) }()
	require.Eventually(t, func() bool { return p.Cuts() == 1 }, time.Minute, time.Millisecond)
	p.Commit(4)
	require.EqualValues(t, 2, p.HighWatermark())
	gated.open()
	require.NoError(t, <-cut)
	require.EqualValues(t, 2, p.HighWatermark())
	_, err := store(p, stamped(2, 2, "c", "d"))
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "c", "d"}, readAll(t, p, 0))
}

func TestClosingAReplicaTellsWhatWaits(t *testing.T) {
	p := openReplica(t, vfs.NewMemory())
	group := &proposals{}
	p.Lead(1, group)
	proposed := appendLater(p, batchOf("a"))
	rings := make(bell, 1)
	require.True(t, p.Wait(0, rings))
	require.NoError(t, p.Close())
	_, err := proposed.wait()
	require.ErrorIs(t, err, fault.UnknownOutcome)
	<-rings
	_, err = appendAll(p, "b")
	require.ErrorIs(t, err, fault.Closed)
	_, err = store(p, stamped(0, 1, "a"))
	require.ErrorIs(t, err, fault.Closed)
	p.Follow(2)
	p.Lead(3, group)
	_, err = appendAll(p, "b")
	require.ErrorIs(t, err, fault.Closed)
}

func TestALeaderWhoseLogFailsAcknowledgesNothing(t *testing.T) {
	gated := &gatedFS{FS: vfs.NewMemory()}
	cfg := configOn(gated)
	cfg.Replica, cfg.Fsync = true, true
	p, _ := open(t, cfg)
	defer p.Close()
	group := make(chan []byte, 1)
	p.Lead(1, at(func(b []byte) error { group <- b; return nil }))
	done := appendLater(p, batchOf("a"))
	_, err := store(p, <-group)
	require.NoError(t, err)
	p.Commit(1)
	_, err = done.wait()
	require.NoError(t, err)
	done = appendLater(p, batchOf("b"))
	gated.set(nil, errors.New("the disk is gone"))
	_, err = store(p, <-group)
	require.ErrorIs(t, err, fault.Storage)
	require.False(t, done.isTold())
	p.Follow(2)
	_, err = done.wait()
	require.ErrorIs(t, err, fault.UnknownOutcome)
	p.Lead(3, at(func([]byte) error { return nil }))
	_, err = appendAll(p, "b")
	require.ErrorIs(t, err, fault.Storage, "a failed sync is final")
}

func TestWhatTheGroupStillNeedsIsNotCleaned(t *testing.T) {
	cfg := configOn(vfs.NewMemory())
	cfg.Replica, cfg.Log.SegmentBytes = true, 1
	p, _ := open(t, cfg)
	defer p.Close()
	for i := range int64(5) {
		_, err := store(p, stamped(i, 1, "v"))
		require.NoError(t, err)
	}
	p.Commit(5)
	p.SetFloor(2)
	all := partition.CleanPolicy{Delete: true, RetentionBytes: -1, DeleteRetention: -1}
	_, _, err := p.Clean(t.Context(), time.UnixMilli(1000).Add(time.Hour), all)
	require.NoError(t, err)
	require.EqualValues(t, 2, p.StartOffset())
	p.SetFloor(4)
	_, _, err = p.Clean(t.Context(), time.UnixMilli(1000).Add(time.Hour), all)
	require.NoError(t, err)
	require.EqualValues(t, 4, p.StartOffset())
}

func TestAGroupMayWriteTheLogItself(t *testing.T) {
	cfg := configOn(vfs.NewMemory())
	cfg.Fsync = true
	l, _, err := log.Open(cfg.Log)
	require.NoError(t, err)
	require.NoError(t, l.Append(stamped(0, 3, "a"), nil))
	var begins int64
	cfg.SetStart = func(offset int64) error {
		begins = offset
		return l.SetStart(offset)
	}
	p := partition.Over(l, cfg)
	require.EqualValues(t, 3, p.LeaderEpoch())
	p.Commit(2)
	require.EqualValues(t, 1, p.HighWatermark())
	require.NoError(t, p.Write(func() error { return l.Append(stamped(1, 4, "b"), nil) }))
	require.EqualValues(t, 2, p.HighWatermark(), "what is committed shows once it is written")
	require.ErrorIs(t, p.Write(func() error { return l.Append(stamped(1, 4, "b"), nil) }), fault.InvalidRecord)
	start, err := p.DeleteRecords(1)
	require.NoError(t, err)
	require.EqualValues(t, 1, start)
	require.EqualValues(t, 1, begins)
	require.Equal(t, []string{"b"}, readAll(t, p, 1))
	require.NoError(t, p.Close())
	require.ErrorIs(t, p.Write(func() error { return nil }), fault.Closed)
}

// TestAnAppendForOneEpoch has a leader that was another one meanwhile: what it made of
// the records before may not be appended behind the other's.
func TestAnAppendForOneEpoch(t *testing.T) {
	p := openReplica(t, vfs.NewMemory())
	defer p.Close()
	commits := at(func(batch []byte) error {
		p.Store(batch, nil, newOutcome())
		p.Commit(p.EndOffset())
		return nil
	})
	p.Lead(1, commits)
	require.NoError(t, p.AppendIn(1, batchOf("a")))
	p.Follow(2)
	require.ErrorIs(t, p.AppendIn(1, batchOf("b")), fault.NotLeader)
	p.Lead(3, commits)
	require.ErrorIs(t, p.AppendIn(1, batchOf("b")), fault.FencedLeaderEpoch)
	require.NoError(t, p.AppendIn(3, batchOf("b")))

	single, _ := open(t, configOn(vfs.NewMemory()))
	defer single.Close()
	epoch, leads := single.Leadership()
	require.True(t, leads)
	require.NoError(t, single.AppendIn(epoch, batchOf("a")))
	require.ErrorIs(t, single.AppendIn(epoch+1, batchOf("a")), fault.FencedLeaderEpoch)
}
