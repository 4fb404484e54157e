package replica_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
)

var losses = []vfs.Loss{{}, {Kept: vfs.KeepAll}, {Kept: vfs.KeepPrefix, Seed: 1}, {Kept: vfs.KeepSome, Seed: 2, Block: 512}}

// crashes lets the power fail at each of the changes that do makes to a disk, and
// opens what is left each time.
func crashes(t *testing.T, from *vfs.Crashable, cfg replica.DiskConfig, do func(cfg replica.DiskConfig) error, open func(cfg replica.DiskConfig, done bool)) {
	t.Helper()
	for _, loss := range losses {
		for skip := 0; ; skip++ {
			disk := from.After(vfs.Loss{Kept: vfs.KeepAll})
			faulty := vfs.NewFaulty(disk)
			faulty.Add(vfs.Rule{On: vfs.OpChange, Skip: skip, Err: errPower})
			cfg.Log.FS = faulty
			err := do(cfg)
			cfg.Log.FS = disk.Crash(loss)
			open(cfg, err == nil)
			if err == nil {
				require.Greater(t, skip, 3)
				break
			}
		}
	}
}

func TestCrashWhileAReplicaIsCreated(t *testing.T) {
	members := replica.Membership{Voters: []replica.ID{1, 2, 3}}
	cfg := (&node{id: 1}).config()
	crashes(t, vfs.NewCrashable(), cfg, func(cfg replica.DiskConfig) error { return replica.CreateDisk(cfg, members) },
		func(cfg replica.DiskConfig, done bool) {
			disk, s, err := replica.OpenDisk(cfg)
			if errors.Is(err, replica.ErrAbsent) && !done {
				require.NoError(t, replica.CreateDisk(cfg, members), "it is tried again")
				disk, s, err = replica.OpenDisk(cfg)
			}
			require.NoError(t, err)
			require.Equal(t, members, s.Members)
			require.NoError(t, disk.Close())
		})
}

// stored returns a disk with a log of several segments, and a leader's state.
func stored(t *testing.T) (*cluster, *node) {
	c, l := led(t, 3, 20)
	for range 120 {
		l.produce(4)
		c.run(2 * time.Millisecond)
	}
	c.run(time.Second)
	l.crash(vfs.Loss{})
	return c, l
}

func TestCrashWhileALogBeginsAgain(t *testing.T) {
	_, l := stored(t)
	start := replica.Start{Index: 5000, Term: 9, Offset: 20000, Membership: replica.Membership{Voters: []replica.ID{1, 2, 3}}}
	before := l.high
	crashes(t, l.disk, l.config(), func(cfg replica.DiskConfig) error {
		disk, _, err := replica.OpenDisk(cfg)
		if err != nil {
			return err
		}
		state := replica.HardState{Term: 9, Commit: 5000}
		return disk.Do([]replica.DiskWrite{{Sequence: 1, HasState: true, State: state, Start: &start, Sync: true}}).Err
	}, func(cfg replica.DiskConfig, done bool) {
		disk, s, err := replica.OpenDisk(cfg)
		require.NoError(t, err)
		if done {
			require.Equal(t, start, s.Start)
		}
		if s.Start.Index == start.Index {
			require.Equal(t, int64(20000), disk.Log().EndOffset())
			require.Equal(t, int64(20000), s.HighWatermark)
			require.Equal(t, uint64(9), s.State.Term)
		} else {
			require.Equal(t, before, disk.Log().EndOffset(), "all of the old log")
		}
		require.NoError(t, disk.Close())
	})
}

func TestCrashWhileRecordsAreDropped(t *testing.T) {
	_, l := stored(t)
	crashes(t, l.disk, l.config(), func(cfg replica.DiskConfig) error {
		disk, s, err := replica.OpenDisk(cfg)
		if err != nil {
			return err
		}
		s.State.Commit = 120
		if err := disk.Do([]replica.DiskWrite{{Sequence: 1, HasState: true, State: s.State}}).Err; err != nil {
			return err
		}
		_, err = disk.SetStart(l.high - 100)
		return err
	}, func(cfg replica.DiskConfig, done bool) {
		disk, s, err := replica.OpenDisk(cfg)
		require.NoError(t, err)
		require.Equal(t, l.high, disk.Log().EndOffset())
		require.Equal(t, s.Start.Offset, disk.Log().StartOffset())
		if done {
			require.Positive(t, s.Start.Offset)
		}
		require.NoError(t, disk.Close())
	})
}

// A replica whose uncommitted batches were cut off has lost nothing, whenever it
// crashes.
func TestCutBatchesAreNotLost(t *testing.T) {
	c, l := stored(t)
	var begins []int64
	for _, offset := range c.truth.offsets {
		if offset < l.high {
			begins = append(begins, offset)
		}
	}
	cut := len(begins) - 3
	batch := batchOf(1, 1)
	record.Stamp(batch, begins[cut], 40)
	crashes(t, l.disk, l.config(), func(cfg replica.DiskConfig) error {
		disk, _, err := replica.OpenDisk(cfg)
		if err != nil {
			return err
		}
		return disk.Do([]replica.DiskWrite{{
			Sequence: 1, HasState: true, State: replica.HardState{Term: 40, Commit: uint64(cut + 1)}, First: uint64(cut + 1), Offset: begins[cut], Batches: [][]byte{batch}, Sync: true,
		}}).Err
	}, func(cfg replica.DiskConfig, done bool) {
		disk, s, err := replica.OpenDisk(cfg)
		require.NoError(t, err)
		switch end := disk.Log().EndOffset(); {
		case done:
			require.Equal(t, begins[cut]+1, end)
		case end > begins[cut]+1:
			require.LessOrEqual(t, s.State.Commit, uint64(cut), "what is still there was to be replaced by what is committed")
		}
		require.NoError(t, disk.Close())
	})
}

// A change of members is in force after a crash at any moment, as soon as it is on
// record as committed.
func TestMembersOutliveCrashes(t *testing.T) {
	c, l := led(t, 3, 21)
	c.run(time.Second)
	for round := range 12 {
		kind, learners := replica.AddLearner, 1
		if round%2 == 1 {
			kind, learners = replica.Remove, 0
		}
		done := false
		l.core.ProposeMembers([]replica.Change{{ID: replica.NewID(99, 0), Kind: kind}}, func(r replica.Result) { done = r.Err == nil })
		l.pump()
		for range 200 { // more than what makes a follower record how far it is committed
			l.produce(1)
		}
		c.run(time.Duration(round) * time.Millisecond)
		for _, d := range c.nodes {
			d.crash(vfs.Loss{Kept: vfs.KeepAll})
			d.start()
		}
		require.True(t, c.runUntil(5*time.Second, func() bool { l = c.leader(); return l != nil && c.settled() }), c.failures)
		members := l.core.Status().Members
		if done {
			require.Len(t, members.Learners, learners)
		}
		for _, d := range c.nodes {
			require.Equal(t, members, d.core.Status().Members)
		}
		if len(members.Learners) != learners { // it got lost, so that the next one is of the same kind
			result := false
			l.core.ProposeMembers([]replica.Change{{ID: replica.NewID(99, 0), Kind: kind}}, func(replica.Result) { result = true })
			l.pump()
			require.True(t, c.runUntil(5*time.Second, func() bool { return result }))
		}
	}
	c.check()
	require.Empty(t, c.failures)
}

// Each sealed segment has to end with the batch that is on record, also where no term begins.
func TestASegmentOfAnotherLog(t *testing.T) {
	_, l := stored(t)
	entries, err := l.disk.ReadDir(dataDir)
	require.NoError(t, err)
	entries = slices.DeleteFunc(entries, func(e vfs.Entry) bool { return !strings.HasSuffix(e.Name, ".log") })
	require.Greater(t, len(entries), 1)
	for _, e := range entries[:len(entries)-1] {
		cfg := l.config()
		disk := l.disk.After(vfs.Loss{Kept: vfs.KeepAll})
		path := dataDir + "/" + e.Name
		b, err := vfs.ReadFile(disk, path, 1<<20)
		require.NoError(t, err)
		require.NoError(t, vfs.WriteFile(disk, path, twin(b)))
		cfg.Log.FS = disk
		_, _, err = replica.OpenDisk(cfg)
		require.ErrorContains(t, err, "runnel-index contradicts", e.Name)
	}
}
