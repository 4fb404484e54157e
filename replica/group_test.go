package replica_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
)

// led returns a group with a leader.
func led(t *testing.T, n int, seed uint64) (*cluster, *node) {
	cryptotest.SetGlobalRandom(t, seed)
	c := newCluster(n, seed)
	require.True(t, c.runUntil(5*time.Second, func() bool {
		l := c.leader()
		return l != nil && l.high > 0
	}), c.failures)
	return c, c.leader()
}

// others are all nodes but one.
func (c *cluster) others(d *node) (others []*node) {
	for _, o := range c.nodes {
		if o != d {
			others = append(others, o)
		}
	}
	return others
}

// isolate cuts a node off from all others.
func (c *cluster) isolate(d *node) {
	for i := range c.nodes {
		c.cut[[2]int{d.number, i}], c.cut[[2]int{i, d.number}] = time.Hour, time.Hour
	}
}

// send proposes batches and returns what becomes of them.
func (d *node) sends(n int, acks replica.Acks) *[]replica.Result {
	results := new([]replica.Result)
	for range n {
		d.sent++
		d.core.Propose(batchOf(d.sent, 2), acks, func(r replica.Result) { *results = append(*results, r) })
	}
	d.pump()
	return results
}

func TestLeaderThatIsCutOff(t *testing.T) {
	c, old := led(t, 3, 3)
	old.produce(3)
	c.run(time.Second)
	c.isolate(old)
	results := old.sends(3, replica.AcksAll)
	leader := old.sends(1, replica.AcksLeader)
	reads := 0
	old.core.ReadIndex(func(r replica.Result) {
		reads++
		require.ErrorIs(t, r.Err, fault.NotLeader, "it cannot know what is the latest")
	})
	old.pump()
	require.True(t, c.runUntil(3*time.Second, func() bool {
		return c.leader() != nil && c.leader() != old && old.core.Status().Role != replica.Leader
	}))
	require.Len(t, *results, 3)
	for _, r := range *results {
		require.ErrorIs(t, r.Err, fault.UnknownOutcome)
	}
	require.NoError(t, (*leader)[0].Err, "the leader's word was enough")
	require.Equal(t, 1, reads)

	refused := old.sends(1, replica.AcksAll)
	require.ErrorIs(t, (*refused)[0].Err, fault.NotLeader)

	clear(c.cut)
	c.leader().produce(1)
	require.True(t, c.runUntil(5*time.Second, c.settled), "what only the old leader had is cut off")
	c.check()
	require.Empty(t, c.failures)
}

// A leader that has not heard that it is none any more lacks what a producer wrote
// with the next one. It must not call that a gap.
func TestDeposedLeaderRefusesNoProducer(t *testing.T) {
	c, old := led(t, 3, 4)
	batch := func(sequence int32) []byte {
		b := batchOf(uint64(sequence), 1)
		record.StampProducer(b, 7, 0, sequence)
		return b
	}
	send := func(d *node, b []byte) *[]replica.Result {
		results := new([]replica.Result)
		d.core.Propose(b, replica.AcksAll, func(r replica.Result) { *results = append(*results, r) })
		d.pump()
		return results
	}
	first := send(old, batch(0))
	c.run(time.Second)
	require.NoError(t, (*first)[0].Err)

	c.isolate(old)
	old.paused = c.now + 3*time.Second
	require.True(t, c.runUntil(3*time.Second, func() bool { return c.leader() != nil && c.leader().high > old.high }))
	next := c.leader()
	for sequence := range int32(3) {
		r := send(next, batch(sequence+1))
		c.run(200 * time.Millisecond)
		require.NoError(t, (*r)[0].Err)
	}
	old.paused = c.now
	stale := send(old, batch(4))
	require.Empty(t, *stale)
	require.True(t, c.runUntil(5*time.Second, func() bool { return len(*stale) > 0 }))
	require.ErrorIs(t, (*stale)[0].Err, fault.NotLeader)

	again := send(next, batch(2)) // written already
	gap := send(next, batch(6))
	c.run(time.Second)
	require.NoError(t, (*again)[0].Err)
	require.ErrorIs(t, (*gap)[0].Err, fault.OutOfOrderSequence)
	require.Empty(t, c.failures)
}

func TestLeadershipIsHandedOver(t *testing.T) {
	c, old := led(t, 3, 5)
	for range 20 {
		old.produce(2)
	}
	c.run(time.Second)
	next := c.others(old)[0]
	began := c.now
	require.NoError(t, old.core.Transfer(next.id))
	old.pump()
	require.True(t, c.runUntil(time.Second, func() bool { return next.core.Status().Role == replica.Leader }))
	require.Less(t, c.now-began, 200*time.Millisecond)
	next.produce(1)
	require.True(t, c.runUntil(time.Second, c.settled))
	c.check()
	require.Empty(t, c.failures)
}

func TestMinimumOfReplicas(t *testing.T) {
	c, l := led(t, 3, 6)
	l.core.SetMinimum(3)
	all := l.sends(1, replica.AcksAll)
	c.run(time.Second)
	require.NoError(t, (*all)[0].Err)

	gone := c.others(l)[0]
	gone.crash(vfs.Loss{})
	late := l.sends(1, replica.AcksAll)
	c.run(300 * time.Millisecond)
	require.Empty(t, *late, "two of three are a majority, and too few")
	c.run(3 * time.Second)
	require.Equal(t, l, c.leader())
	few := l.sends(1, replica.AcksAll)
	require.ErrorIs(t, (*few)[0].Err, fault.NotEnoughReplicas)

	gone.start()
	c.run(2 * time.Second)
	require.Len(t, *late, 1)
	require.NoError(t, (*late)[0].Err)
	require.Empty(t, c.failures)
}

// A follower whose place in the log was deleted begins anew where the leader's log
// does, and has everything from there on.
func TestFollowerBehindTheStart(t *testing.T) {
	c, l := led(t, 3, 7)
	late := c.others(l)[0]
	late.crash(vfs.Loss{})
	for range 400 {
		l.produce(4)
		c.run(2 * time.Millisecond)
	}
	c.run(time.Second)
	start, err := l.home.SetStart(l.high - 200)
	require.NoError(t, err)
	l.core.Rebase(start)
	require.Positive(t, start.Offset)
	dropped := l.home.Load(replica.Load{Index: start.Index, MaxBytes: 1 << 10})
	require.Error(t, dropped.Err, "the batches behind it are not those")
	require.Empty(t, dropped.Batches)
	for range 10 { // behind the tail that the leader has in memory
		l.produce(4)
	}
	late.start()
	require.True(t, c.runUntil(10*time.Second, c.settled), c.failures)
	require.Equal(t, start.Offset, late.home.Log().StartOffset())
	require.Equal(t, 1, c.counts.snapshots)
	late.crash(vfs.Loss{})
	late.start()
	l.produce(1)
	require.True(t, c.runUntil(10*time.Second, c.settled), c.failures)
	c.check()
	require.Empty(t, c.failures)
}

// A replica is replaced by one of a new incarnation, under load: it learns first,
// then takes the other's place.
func TestReplicaIsReplaced(t *testing.T) {
	c, l := led(t, 3, 8)
	for range 50 {
		l.produce(2)
	}
	c.run(time.Second)
	lost := c.others(l)[0]
	lost.crash(vfs.Loss{})

	learner := c.add(replica.NewID(4, 1), replica.Membership{Voters: l.core.Status().Members.Voters, Learners: []replica.ID{replica.NewID(4, 1)}})
	change := func(changes ...replica.Change) error {
		var result *replica.Result
		l.core.ProposeMembers(changes, func(r replica.Result) { result = &r })
		l.pump()
		l.produce(1)
		require.True(t, c.runUntil(5*time.Second, func() bool { return result != nil }))
		return result.Err
	}
	require.NoError(t, change(replica.Change{ID: learner.id, Kind: replica.AddLearner}))
	require.True(t, c.runUntil(5*time.Second, func() bool { return learner.high == l.high && learner.high > 100 }))
	require.Equal(t, []replica.ID{learner.id}, l.core.Status().Members.Learners)

	require.NoError(t, change(replica.Change{ID: learner.id, Kind: replica.AddVoter}, replica.Change{ID: lost.id, Kind: replica.Remove}))
	require.True(t, c.runUntil(5*time.Second, func() bool { m := l.core.Status().Members; return len(m.Outgoing) == 0 && m.Has(learner.id) }))
	require.False(t, ptr(l.core.Status().Members).Has(lost.id))

	// The members are on record, too: all start again, and the new one's vote counts.
	c.nodes = []*node{c.nodes[0], c.nodes[1], c.nodes[2], c.nodes[3]}
	for _, d := range c.others(lost) {
		d.crash(vfs.Loss{})
		d.start()
	}
	l.crash(vfs.Loss{})
	require.True(t, c.runUntil(5*time.Second, func() bool { n := c.leader(); return n != nil && n != l }))
	c.leader().produce(1)
	c.run(time.Second)
	require.Equal(t, c.leader().high, learner.high)
	require.False(t, ptr(learner.core.Status().Members).Has(lost.id))
	require.Empty(t, c.failures)
}

// A replica that joins a group gets its log from where that begins, also where the group
// did not know of it yet.
func TestLearnerBehindTheStart(t *testing.T) {
	c, l := led(t, 3, 24)
	for range 200 {
		l.produce(4)
		c.run(2 * time.Millisecond)
	}
	c.run(time.Second)
	start, err := l.home.SetStart(l.high - 100)
	require.NoError(t, err)
	l.core.Rebase(start)
	id := replica.NewID(4, 0)
	learner := c.add(id, replica.Membership{Voters: l.core.Status().Members.Voters, Learners: []replica.ID{id}})
	l.core.ProposeMembers([]replica.Change{{ID: id, Kind: replica.AddLearner}}, func(r replica.Result) { require.NoError(t, r.Err) })
	l.pump()
	require.True(t, c.runUntil(5*time.Second, c.settled), c.failures)
	require.Equal(t, start.Offset, learner.home.Log().StartOffset())

	learner.crash(vfs.Loss{})
	learner.start()
	l.core.ProposeMembers([]replica.Change{{ID: id, Kind: replica.AddVoter}}, func(r replica.Result) { require.NoError(t, r.Err) })
	l.pump()
	require.True(t, c.runUntil(5*time.Second, c.settled), c.failures)
	c.check()
	require.Empty(t, c.failures)
	require.Contains(t, learner.core.Status().Members.Voters, id)
}

// A change of members that a replica refused has no part in the next one: followers have
// the leader's bytes, and its members.
func TestRefusedChangeOfMembers(t *testing.T) {
	c, l := led(t, 3, 23)
	for _, d := range c.others(l) {
		var refused error
		d.core.ProposeMembers([]replica.Change{{ID: replica.NewID(98, 0), Kind: replica.AddLearner}}, func(r replica.Result) { refused = r.Err })
		d.pump()
		require.ErrorIs(t, refused, fault.NotLeader)
	}
	c.run(time.Second) // so that a batch that a follower makes has another time
	l.core.ProposeMembers([]replica.Change{{ID: replica.NewID(99, 0), Kind: replica.AddLearner}}, func(r replica.Result) { require.NoError(t, r.Err) })
	l.pump()
	require.True(t, c.runUntil(5*time.Second, c.settled), c.failures)
	c.check()
	require.Empty(t, c.failures)
	for _, d := range c.nodes {
		require.Equal(t, []replica.ID{replica.NewID(99, 0)}, d.core.Status().Members.Learners)
	}
}

func ptr[T any](v T) *T { return &v }

// What a replica must know of itself to be trusted is there, or it does not start.
func TestReplicaThatLostSomethingDoesNotStart(t *testing.T) {
	c, l := led(t, 3, 9)
	for range 200 {
		l.produce(4)
		c.run(2 * time.Millisecond)
	}
	c.run(time.Second)
	for _, d := range c.nodes {
		d.crash(vfs.Loss{})
	}
	dir := l.config().Log.Dir
	damage := func(name string, at int) func(fs vfs.FS) {
		return func(fs vfs.FS) {
			b, err := vfs.ReadFile(fs, dir+"/"+name, 1<<20)
			require.NoError(t, err)
			for i := at; i < len(b); i += 64 {
				b[i] ^= 1
			}
			require.NoError(t, vfs.WriteFile(fs, dir+"/"+name, b))
		}
	}
	remove := func(name string) func(fs vfs.FS) {
		return func(fs vfs.FS) { require.NoError(t, fs.Remove(dir+"/"+name)) }
	}
	keep := func(names ...string) func(fs vfs.FS) {
		return func(fs vfs.FS) {
			entries, err := fs.ReadDir(dir)
			require.NoError(t, err)
			for _, e := range entries {
				if !slices.Contains(names, e.Name) {
					require.NoError(t, fs.Remove(dir+"/"+e.Name))
				}
			}
		}
	}
	for name, harm := range map[string]func(fs vfs.FS){
		"no vote":       remove("runnel-vote"),
		"damaged votes": damage("runnel-vote", 20),
		"no identity":   remove("runnel-replica"),
		"bad identity":  damage("runnel-replica", 20),
		"records alone": func(fs vfs.FS) {
			remove("runnel-vote")(fs)
			remove("runnel-replica")(fs)
		},
		"a vote alone": keep("runnel-vote"),
		"no records":   keep("runnel-vote", "runnel-replica"),
	} {
		t.Run(name, func(t *testing.T) {
			fs := l.disk.After(vfs.Loss{})
			cfg := l.config()
			cfg.Log.FS = fs
			disk, _, err := replica.OpenDisk(cfg)
			require.NoError(t, err)
			require.NoError(t, disk.Close()) // with which it is known what is durable
			harm(fs)
			_, _, err = replica.OpenDisk(cfg)
			if name == "no records" { // which others have
				require.ErrorIs(t, err, fault.CorruptMessage)
			} else {
				require.ErrorIs(t, err, replica.ErrLost)
			}
			require.False(t, fault.Retriable(err))
		})
	}
}

// Damage to any one slot takes no vote back.
func TestVoteOutlivesDamage(t *testing.T) {
	c, l := led(t, 3, 10)
	c.run(time.Second)
	for _, d := range c.nodes {
		d.crash(vfs.Loss{})
	}
	var intact replica.HardState
	for damaged := -1; damaged < 3; damaged++ { // of none at first
		fs := l.disk.After(vfs.Loss{})
		cfg := l.config()
		cfg.Log.FS = fs
		b, err := vfs.ReadFile(fs, cfg.Log.Dir+"/runnel-vote", 1<<20)
		require.NoError(t, err)
		if damaged >= 0 {
			b[damaged*64+20] ^= 1
		}
		require.NoError(t, vfs.WriteFile(fs, cfg.Log.Dir+"/runnel-vote", b))
		disk, state, err := replica.OpenDisk(cfg)
		require.NoError(t, err)
		if damaged < 0 {
			intact = state.State
			require.NotZero(t, intact.Term)
			require.NotZero(t, intact.Vote)
		}
		require.Equal(t, intact, state.State)
		require.NoError(t, disk.Close())
	}
}

// Without syncs, what the machine loses is lost; a killed program loses nothing.
func TestMachineStoppedWithoutSync(t *testing.T) {
	c := newCluster(1, 11)
	d := c.nodes[0]
	d.crash(vfs.Loss{Kept: vfs.KeepAll})
	cfg := d.config()
	cfg.Log.FS, cfg.Fsync, cfg.Boot = d.fs, false, 1
	_, _, err := replica.OpenDisk(cfg)
	require.ErrorIs(t, err, replica.ErrLost, "it was running when the machine stopped")
	cfg.Boot = 0
	disk, _, err := replica.OpenDisk(cfg)
	require.NoError(t, err, "only the program was killed")
	require.NoError(t, disk.Close())
	cfg.Boot = 2
	_, _, err = replica.OpenDisk(cfg)
	require.NoError(t, err, "it was closed before the machine stopped")
}

func TestDirectoryOfAnotherReplica(t *testing.T) {
	c := newCluster(3, 12)
	c.nodes[0].crash(vfs.Loss{})
	cfg := c.nodes[0].config()
	cfg.ID = c.nodes[1].id
	_, _, err := replica.OpenDisk(cfg)
	require.ErrorContains(t, err, "is replica 1's and not 2's")
	require.Error(t, replica.CreateDisk(c.nodes[0].config(), replica.Membership{Voters: []replica.ID{1}}), "it has one already")
}

// A leader that knows more of a follower than that has shows that it lost something.
// The library would panic.
func TestFollowerThatLostItsLog(t *testing.T) {
	c, l := led(t, 3, 13)
	follower := c.others(l)[0]
	old := follower.disk.After(vfs.Loss{})
	for range 50 {
		l.produce(2)
	}
	c.run(time.Second)
	follower.crash(vfs.Loss{})
	follower.disk = old // somebody put an older image of the disk in its place
	follower.fs = vfs.NewFaulty(old)
	follower.expectFailure = true
	follower.high = 0
	follower.start()
	c.run(time.Second)
	s := follower.core.Status()
	require.Equal(t, replica.Failed, s.Role)
	require.ErrorIs(t, s.Err, replica.ErrLost)
	l.produce(1)
	c.run(time.Second)
	require.Empty(t, c.failures)
	require.ErrorIs(t, follower.core.Step(replica.Message{}), replica.ErrLost)
	require.True(t, errors.Is((*follower.sends(1, replica.AcksAll))[0].Err, replica.ErrLost))
}

// Where the library panics, the replica fails, and not the program.
func TestPanicFailsTheReplica(t *testing.T) {
	c, l := led(t, 3, 14)
	follower := c.others(l)[0]
	follower.expectFailure = true
	follower.core.Panic("the log is not what it was")
	follower.pump()
	err := follower.core.Status().Err
	require.ErrorIs(t, err, fault.Storage)
	require.ErrorContains(t, err, "the consensus library gave up")
	require.Equal(t, replica.Failed, follower.core.Status().Role)
	require.ErrorIs(t, (*follower.sends(1, replica.AcksAll))[0].Err, fault.Storage)

	l.produce(1)
	c.run(time.Second)
	require.Len(t, c.acked, 1, "the others go on")
	require.Empty(t, c.failures)
}

func TestMessagesThatNoReplicaSends(t *testing.T) {
	c, l := led(t, 3, 15)
	l.produce(1)
	c.run(time.Second)
	f := c.others(l)[0]
	s := f.core.Status()
	stamped := func(change func(b []byte), offset int64, epoch int32) []byte {
		b := batchOf(1, 1)
		record.Stamp(b, offset, epoch)
		change(b)
		return b
	}
	same := func([]byte) {}
	good := replica.Message{
		Kind: replica.KindAppend, From: l.id, To: f.id, Term: uint64(s.Epoch), Index: s.LastIndex, LogTerm: uint64(s.Epoch),
	}
	for name, change := range map[string]func(m *replica.Message){
		"for another":      func(m *replica.Message) { m.To = l.id },
		"from nobody":      func(m *replica.Message) { m.From = 0 },
		"from itself":      func(m *replica.Message) { m.From = f.id },
		"a term too large": func(m *replica.Message) { m.Term = 1 << 31 },
		"a damaged batch": func(m *replica.Message) {
			m.Batches = [][]byte{stamped(func(b []byte) { b[70] ^= 1 }, f.high, s.Epoch)}
		},
		"a later epoch": func(m *replica.Message) { m.Batches = [][]byte{stamped(same, f.high, s.Epoch+1)} },
		"no epoch":      func(m *replica.Message) { m.Batches = [][]byte{stamped(same, f.high, 0)} },
		"a gap of offsets": func(m *replica.Message) {
			m.Batches = [][]byte{stamped(same, f.high, s.Epoch), stamped(same, f.high+2, s.Epoch)}
		},
		"two as one": func(m *replica.Message) { b := stamped(same, f.high, s.Epoch); m.Batches = [][]byte{append(b, b...)} },
		"a vote of batches": func(m *replica.Message) {
			m.Kind = replica.KindVote
			m.Batches = [][]byte{stamped(same, f.high, s.Epoch)}
		},
		"no snapshot": func(m *replica.Message) { m.Kind = replica.KindSnapshot },
	} {
		m := good
		change(&m)
		require.Error(t, f.core.Step(m), name)
	}
	f.pump()
	require.Equal(t, replica.Follower, f.core.Status().Role, "they do it no harm")

	// A batch that the log has no place for is a contradiction.
	f.expectFailure = true
	m := good
	m.Batches = [][]byte{stamped(same, f.high+7, s.Epoch)}
	require.NoError(t, f.core.Step(m))
	f.pump()
	require.ErrorIs(t, f.core.Status().Err, fault.Storage)
}

// Every replica has the same bytes, the leader's first batch included, which is
// Kafka's LEADER_CHANGE.
func TestLogsAreEqual(t *testing.T) {
	c, l := led(t, 3, 16)
	for range 30 {
		l.produce(3)
	}
	require.True(t, c.runUntil(5*time.Second, c.settled))
	var first []byte
	for _, d := range c.nodes {
		s, err := d.home.Log().ReadStored(0, d.high, 1<<20, nil)
		require.NoError(t, err)
		if first == nil {
			first = bytes.Clone(s.Bytes)
		}
		require.Equal(t, first, s.Bytes)
	}
	b, err := record.Parse(first)
	require.NoError(t, err)
	require.True(t, b.Control())
	require.Equal(t, l.core.Status().Epoch, b.LeaderEpoch)
	it, err := b.Records(nil)
	require.NoError(t, err)
	var r record.Record
	require.True(t, it.Next(&r))
	require.Equal(t, []byte{0, 0, 0, 2}, r.Key, "version 0, type 2")
	require.Equal(t, []byte{0, 0, 0, 0, 0, byte(l.id)}, r.Value[:6], "version 0, the leader")
	require.Equal(t, []byte{4, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3, 0}, r.Value[6:22], "three voters")
	require.Equal(t, byte(2+1), r.Value[22], "two of them voted for it")
}

// Nobody tells the leader that its snapshot was lost.
func TestLostSnapshotIsSentAgain(t *testing.T) {
	c, l := led(t, 3, 17)
	late := c.others(l)[0]
	late.crash(vfs.Loss{})
	for range 200 {
		l.produce(4)
		c.run(2 * time.Millisecond)
	}
	c.run(time.Second)
	start, err := l.home.SetStart(l.high - 100)
	require.NoError(t, err)
	l.core.Rebase(start)
	c.loseSnapshots = 1
	late.start()
	require.True(t, c.runUntil(10*time.Second, c.settled), c.failures)
	require.Equal(t, 2, c.counts.snapshots)
	require.Empty(t, c.failures)
}

// A new leader may know what is committed before its own disk has the batch that
// begins its epoch. The latest offset is one that can be read there.
func TestLatestOffsetOfALeaderWithASlowDisk(t *testing.T) {
	c, old := led(t, 5, 18)
	c.run(time.Second)
	next := c.others(old)[0]
	next.slow = 300 * time.Millisecond
	old.produce(3)
	require.True(t, c.runUntilStep(time.Second, 100*time.Microsecond, func() bool { return next.core.Status().EndOffset == old.core.Status().EndOffset }))
	c.cut[[2]int{old.number, next.number}] = time.Hour // so that it doesn't hear that the batch is committed
	require.True(t, c.runUntilStep(time.Second, time.Millisecond, func() bool { return len(c.acked) == 1 }))
	require.NoError(t, next.core.Step(replica.Message{
		Kind: replica.KindTimeoutNow, From: old.id, To: next.id, Term: uint64(old.core.Status().Epoch),
	}))
	next.pump()
	c.isolate(old)
	require.True(t, c.runUntilStep(time.Second, time.Millisecond, func() bool { return next.core.Status().Role == replica.Leader }))
	require.Less(t, next.high, c.latest, "it does not show yet what was acknowledged")
	before := c.counts.reads
	for range 100 {
		next.readLatest(func() {})
		c.run(5 * time.Millisecond)
	}
	require.Greater(t, c.counts.reads, before)
	require.Empty(t, c.failures)
}

// A leader whose disk is full hands over to one that has room, and comes back when
// there is room again, without being opened again.
func TestFullDisk(t *testing.T) {
	c, old := led(t, 3, 19)
	c.run(time.Second)
	old.fs.SetFree(0)
	old.slow = 30 * time.Millisecond // so that writes come while others are tried
	old.sends(300, replica.AcksAll)  // more than the segment has room for
	for range 5 {
		c.run(10 * time.Millisecond)
		old.sends(1, replica.AcksAll)
	}
	require.True(t, c.runUntil(2*time.Second, func() bool { l := c.leader(); return l != nil && l != old }))
	for range 10 {
		c.leader().produce(2)
		c.run(50 * time.Millisecond)
	}
	require.Len(t, c.acked, 10)
	old.fs.SetFree(-1)
	for range 100 {
		c.leader().produce(2)
		c.run(30 * time.Millisecond)
	}
	require.True(t, c.runUntil(5*time.Second, c.settled), c.failures)
	c.check()
	require.Empty(t, c.failures)
}

func TestFullDiskOfTheOnlyReplica(t *testing.T) {
	c, l := led(t, 1, 20)
	l.fs.SetFree(0)
	first := l.sends(300, replica.AcksAll)
	c.run(time.Second)
	require.Less(t, len(*first), 300, "some wait for room")
	second := l.sends(1, replica.AcksAll)
	require.ErrorIs(t, (*second)[0].Err, fault.DiskFull)
	l.fs.SetFree(-1)
	c.run(5 * time.Second)
	require.Len(t, *first, 300)
	for _, r := range *first {
		require.NoError(t, r.Err)
	}
	third := l.sends(1, replica.AcksAll)
	c.run(time.Second)
	require.NoError(t, (*third)[0].Err)
	require.Empty(t, c.failures)
}
