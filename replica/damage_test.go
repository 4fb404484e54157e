package replica_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
)

// damageEvery makes TestDamage damage every byte of every file, and cut at every byte.
var damageEvery = flag.Bool("damage.every", false, "damage a replica's files at every byte, instead of at a sample")

// damageSeed is what the sample is drawn from.
var damageSeed = flag.Uint64("damage.seed", 1, "the seed of the damage that is tried")

const damageDir = "/data/orders-0"

// ward is three nodes with a replica each, one of which is harmed.
type ward struct {
	t       *testing.T
	network *memory.Network
	group   replica.GroupID
	disks   [3]*vfs.Crashable
	nodes   [3]*replica.Node
	acked   []string
}

// start starts a node with what is on its disk.
func (w *ward) start(i int) error {
	w.t.Helper()
	n, err := replica.StartNode(replica.NodeConfig{
		ID: replica.NodeID(i + 1), Transport: w.network.Node(fmt.Sprint("node-", i+1)), Steppers: 1,
		Peers: map[replica.NodeID]string{1: "node-1", 2: "node-2", 3: "node-3"},
	})
	require.NoError(w.t, err)
	w.nodes[i] = n
	members := replica.Membership{Voters: []replica.ID{1, 2, 3}}
	_, err = n.Add(replica.GroupConfig{
		Group: w.group, Members: members,
		Disk: replica.DiskConfig{
			Log: log.Config{FS: w.disks[i], Dir: damageDir, Topic: "orders", SegmentBytes: 1500, TailBytes: -1},
			ID:  members.Voters[i], Fsync: true,
		},
	})
	return err
}

func (w *ward) stop() {
	for i, n := range w.nodes {
		if n != nil {
			require.NoError(w.t, n.Close())
			w.nodes[i] = nil
		}
	}
}

// kill ends a node as SIGKILL does.
func (w *ward) kill(i int) {
	disk := w.disks[i].After(vfs.Loss{Kept: vfs.KeepAll})
	_ = w.nodes[i].Close()
	w.nodes[i], w.disks[i] = nil, disk
}

func (w *ward) replica(i int) *replica.Replica {
	if w.nodes[i] == nil {
		return nil
	}
	r, _ := w.nodes[i].Replica(w.group)
	return r
}

// send has a record acknowledged.
func (w *ward) send(value string) {
	w.t.Helper()
	for i := range slices.Backward(w.nodes[:]) {
		if r := w.replica(i); r != nil && r.AppendAwait(one(w.t, value)) == nil {
			w.acked = append(w.acked, value)
			return
		}
	}
	require.Fail(w.t, "no node took the record")
}

// lead has a node lead.
func (w *ward) lead(to int) {
	w.t.Helper()
	for range 200 {
		for i := range w.nodes {
			r := w.replica(i)
			if r == nil || !r.Copy().Leads() {
				continue
			}
			if i == to {
				return
			}
			_ = r.Transfer(replica.NewID(replica.NodeID(to+1), 0))
		}
		time.Sleep(50 * time.Millisecond)
	}
	require.Fail(w.t, "it does not lead")
}

// settle waits until all replicas that run have the same.
func (w *ward) settle() {
	w.t.Helper()
	for range 200 {
		highs := map[int64]bool{}
		for i := range w.nodes {
			if r := w.replica(i); r != nil && r.Status().Err == nil {
				highs[r.HighWatermark()] = true
			}
		}
		if len(highs) == 1 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	require.Fail(w.t, "they do not agree on a high watermark")
}

// batchesOf returns every batch that a replica shows, by its offset.
func batchesOf(p partition.Handle) (all map[int64][]byte, err error) {
	all = map[int64][]byte{}
	for from := p.StartOffset(); from < p.HighWatermark(); {
		s, err := p.Read(from, 1<<20, nil)
		if err != nil {
			return all, err
		}
		for b := s.Bytes; len(b) > 0; {
			h, err := record.ParseHeader(b)
			if err != nil {
				return all, err
			}
			all[h.BaseOffset] = b[:h.Size()]
			from, b = h.NextOffset(), b[h.Size():]
		}
	}
	return all, nil
}

// image is the disks of a group whose processes were killed, and what it had acknowledged.
type image struct {
	group replica.GroupID
	disks [3]*vfs.Crashable
	older *vfs.Crashable // node 1's, as it was some time before
	acked []string
}

// imageOf returns what is left of a group that some records were sent to, in several
// epochs.
func imageOf(t *testing.T, group replica.GroupID, name string, after time.Duration) (made image) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(after) // clusters are not founded at one moment
		w := &ward{t: t, network: memory.New(), group: group}
		for i := range w.disks {
			w.disks[i] = vfs.NewCrashable()
			require.NoError(t, w.start(i))
		}
		for n := range 30 {
			if n%8 == 0 {
				w.lead(n / 8 % 3)
			}
			w.send(strings.Repeat(fmt.Sprint(name, "-", n, " "), 1+n%5))
			if n == 17 {
				w.settle()
				made.older = w.disks[0].After(vfs.Loss{Kept: vfs.KeepAll})
			}
		}
		w.settle()
		for i := range w.disks {
			w.kill(i)
		}
		made.group, made.disks, made.acked = group, w.disks, w.acked
	})
	return made
}

// harm is what happens to a replica's directory.
type harm struct {
	name string
	do   func(fs vfs.FS) error
}

// harms lists what may happen to the files of the first replica: all of it, or a sample.
func harms(t *testing.T, of image, others map[string]*vfs.Crashable) (all []harm) {
	rng := rand.New(rand.NewPCG(*damageSeed, 7))
	disk := of.disks[0]
	entries, err := disk.ReadDir(damageDir)
	require.NoError(t, err)
	add := func(name string, do func(fs vfs.FS) error) { all = append(all, harm{name, do}) }
	change := func(path string, with func(b []byte) []byte) func(fs vfs.FS) error {
		return func(fs vfs.FS) error {
			b, err := vfs.ReadFile(fs, path, 1<<20)
			if err != nil {
				return err
			}
			return vfs.WriteFile(fs, path, with(b))
		}
	}
	for _, e := range entries {
		path := damageDir + "/" + e.Name
		positions := rng.Perm(int(e.Size))
		if n := 12; !*damageEvery && len(positions) > n {
			positions = positions[:n]
		}
		for _, at := range positions {
			bit := byte(1) << rng.IntN(8)
			add(fmt.Sprintf("bit %02x of byte %d of %s is flipped", bit, at, e.Name), change(path, func(b []byte) []byte { b[at] ^= bit; return b }))
			add(fmt.Sprintf("%s is cut at %d", e.Name, at), change(path, func(b []byte) []byte { return b[:at] }))
		}
		add(e.Name+" is emptied", change(path, func([]byte) []byte { return nil }))
		add(e.Name+" is gone", func(fs vfs.FS) error { return fs.Remove(path) })
		if strings.HasSuffix(e.Name, ".log") {
			add(e.Name+" is a twin's", change(path, twin))
		}
	}
	if b, err := vfs.ReadFile(disk, damageDir+"/runnel-vote", 1<<10); err == nil {
		for slot := range 3 {
			add(fmt.Sprintf("slot %d of the votes is zero", slot), change(damageDir+"/runnel-vote", func(b []byte) []byte {
				clear(b[slot*len(b)/3 : (slot+1)*len(b)/3])
				return b
			}))
		}
		require.Len(t, b, 3*92)
	}
	for name, other := range others {
		entries, err := other.ReadDir(damageDir)
		require.NoError(t, err)
		add("all files are "+name, func(fs vfs.FS) error { return copyAll(fs, other, func(string) bool { return true }) })
		add("all segments are "+name, func(fs vfs.FS) error {
			return copyAll(fs, other, func(file string) bool { return !strings.HasPrefix(file, "runnel-") })
		})
		add("all but the votes are "+name, func(fs vfs.FS) error {
			return copyAll(fs, other, func(file string) bool { return file != "runnel-vote" })
		})
		for _, e := range entries {
			add(e.Name+" is "+name, func(fs vfs.FS) error { return copyOne(fs, other, e.Name) })
		}
	}
	return all
}

// twin returns a segment of another log in which every batch has the same offsets and the same size, and was
// written at another time.
func twin(segment []byte) (other []byte) {
	for b := bytes.Clone(segment); len(b) > 0; {
		h, err := record.ParseHeader(b)
		if err != nil || h.Size() > len(b) { // zeros, written ahead, or damage
			return append(other, b...)
		}
		batch := b[:h.Size()]
		b = b[h.Size():]
		h.BaseTimestamp, h.MaxTimestamp = h.BaseTimestamp+1, h.MaxTimestamp+1
		other = append(other, record.Seal(batch, h).Bytes...)
	}
	return other
}

// copyAll replaces files by those of another directory: what that lacks goes.
func copyAll(to, from vfs.FS, which func(string) bool) error {
	entries, err := to.ReadDir(damageDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if which(e.Name) {
			if err := to.Remove(damageDir + "/" + e.Name); err != nil {
				return err
			}
		}
	}
	if entries, err = from.ReadDir(damageDir); err != nil {
		return err
	}
	for _, e := range entries {
		if which(e.Name) {
			if err := copyOne(to, from, e.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func copyOne(to, from vfs.FS, name string) error {
	b, err := vfs.ReadFile(from, damageDir+"/"+name, 1<<20)
	if err != nil {
		return err
	}
	return vfs.WriteFile(to, damageDir+"/"+name, b)
}

// One replica's files are damaged, cut, emptied or exchanged, in any way. What was
// acknowledged is there nevertheless, no two nodes show different batches at an offset,
// the group goes on, and the replica is whole again, or refuses and says what to do.
func TestDamage(t *testing.T) {
	of := imageOf(t, orders, "a", 0)
	another := imageOf(t, replica.GroupID{Topic: orders.Topic, Partition: 1}, "sibling", 0)
	foreign := imageOf(t, orders, "other", 1234*time.Millisecond)
	outcomes := map[string]int{}
	for _, h := range harms(t, of, map[string]*vfs.Crashable{
		"an older copy": of.older, "another partition's": another.disks[0], "another cluster's": foreign.disks[0], "another node's": of.disks[1],
	}) {
		t.Run(strings.ReplaceAll(h.name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { outcomes[survives(t, of, h)]++ })
		})
	}
	t.Logf("%v", outcomes)
}

// survives tries one harm, and returns what became of the replica.
func survives(t *testing.T, of image, h harm) (outcome string) {
	w := &ward{t: t, network: memory.New(), group: of.group, acked: append([]string(nil), of.acked...)}
	defer w.stop()
	for i, d := range of.disks {
		w.disks[i] = d.After(vfs.Loss{Kept: vfs.KeepAll})
	}
	require.NoError(t, h.do(w.disks[0]))
	require.NoError(t, w.start(1))
	require.NoError(t, w.start(2))
	w.send("while it is away")
	err := w.start(0)
	w.send("when it is back")
	time.Sleep(3 * time.Second)
	r := w.replica(0)
	if r != nil && r.Status().Err != nil {
		err = r.Status().Err
	}
	if err != nil {
		requireRefusal(t, err)
		outcome = "refused"
	} else {
		w.settle()
		outcome = "whole"
	}
	w.send("and later")
	w.compare()
	return outcome
}

// requireRefusal checks that an error is typed and says what to do.
func requireRefusal(t *testing.T, err error) {
	t.Helper()
	require.NotEqual(t, fault.Unknown, fault.CodeOf(err), "%v", err)
	require.False(t, fault.Retriable(err), "%v", err)
	c, damage := errors.AsType[*fault.Corruption](err)
	require.True(t, damage && c.Hint != "" || errors.Is(err, replica.ErrLost) || errors.Is(err, replica.ErrForeign), "%v", err)
}

// compare checks that the nodes show the same, and all that was acknowledged.
func (w *ward) compare() {
	t := w.t
	shown := map[int64][]byte{}
	for i := range w.nodes {
		r := w.replica(i)
		if r == nil {
			continue
		}
		failed := r.Status().Err != nil
		if !failed {
			w.settle()
		}
		batches, err := batchesOf(r)
		if !failed {
			require.NoError(t, err, "node %d", i+1)
		}
		for offset, b := range batches {
			if other, ok := shown[offset]; ok && !bytes.Equal(other, b) {
				require.Failf(t, "two truths", "node %d has another batch at offset %d", i+1, offset)
			}
			shown[offset] = b
		}
		if !failed {
			left := w.acked
			for _, v := range values(t, r.Copy()) { // one of unknown outcome may be there twice
				if len(left) > 0 && v == left[0] {
					left = left[1:]
				}
			}
			require.Empty(t, left, "node %d", i+1)
		}
	}
}

// Batches are given to no one whose log ended with another batch than this one has.
func TestBatchesAreOfOneLog(t *testing.T) {
	of := imageOf(t, orders, "a", 0)
	synctest.Test(t, func(t *testing.T) {
		w := &ward{t: t, network: memory.New(), group: of.group}
		for i, d := range of.disks {
			w.disks[i] = d.After(vfs.Loss{Kept: vfs.KeepAll})
		}
		defer w.stop()
		require.NoError(t, w.start(1))
		require.NoError(t, w.start(2))
		w.send("more")
		end := w.replica(1).EndOf(t)
		got, err := replica.FetchBatches(w.nodes[2], 2, orders, 0, end)
		require.NoError(t, err)
		require.NotEmpty(t, got)
		for _, wrong := range end.Wrong() {
			got, err := replica.FetchBatches(w.nodes[2], 2, orders, 0, wrong)
			require.Error(t, err, "%+v", wrong)
			require.Empty(t, got)
		}
	})
}

// What is damaged while a replica runs is repaired by the reader that finds it, on a
// leader as on a follower, in a segment of which records were deleted, and in the last one.
func TestDamageOfARunningReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &ward{t: t, network: memory.New(), group: orders}
		for i := range w.disks {
			w.disks[i] = vfs.NewCrashable()
			require.NoError(t, w.start(i))
		}
		defer w.stop()
		w.lead(0)
		for n := range 50 {
			require.NoError(t, w.replica(0).AppendAwait(severalIn(t, fmt.Sprint("a", n), fmt.Sprint("b", n), fmt.Sprint("c", n))))
			w.settle() // batches that a follower gets together make one long segment
		}
		_, err := w.replica(0).DeleteRecords(5) // within a batch
		require.NoError(t, err)
		w.settle()
		time.Sleep(time.Second)
		want, err := batchesOf(w.replica(2))
		require.NoError(t, err)
		for i := range 2 {
			r := w.replica(i)
			require.Equal(t, i == 0, r.Copy().Leads())
			entries, err := w.disks[i].ReadDir(damageDir)
			require.NoError(t, err)
			segments := 0
			entries = slices.DeleteFunc(entries, func(e vfs.Entry) bool { return !strings.HasSuffix(e.Name, ".log") })
			for n, e := range entries {
				segments++
				at := int64(700) // in the middle, behind what was deleted
				if n == len(entries)-1 {
					at = record.HeaderLen + 5 // the last segment may have one alone
				}
				file, err := w.disks[i].OpenFile(damageDir+"/"+e.Name, os.O_RDWR)
				require.NoError(t, err)
				_, err = file.WriteAt([]byte("damage"), at)
				require.NoError(t, err)
				require.NoError(t, file.Close())
				_, err = batchesOf(r.Copy())
				require.ErrorIs(t, err, fault.CorruptMessage, "%s of node %d", e.Name, i+1)
				got, err := batchesOf(r)
				require.NoError(t, err, "%s of node %d", e.Name, i+1)
				require.Equal(t, want, got)
			}
			require.Greater(t, segments, 2)
		}
		w.send("later")
		w.compare()
		for i := range w.disks {
			w.kill(i)
			require.NoError(t, w.start(i), "what was repaired stays")
		}
		w.send("again")
		w.compare()
	})
}

// Without another copy, the damage is the reader's.
func TestDamageThatNoOneRepairs(t *testing.T) {
	of := imageOf(t, orders, "a", 0)
	synctest.Test(t, func(t *testing.T) {
		w := &ward{t: t, network: memory.New(), group: of.group}
		defer w.stop()
		w.disks[0] = of.disks[0].After(vfs.Loss{Kept: vfs.KeepAll})
		path := damageDir + "/00000000000000000000.log"
		b, err := vfs.ReadFile(w.disks[0], path, 1<<20)
		require.NoError(t, err)
		b[300] ^= 1
		require.NoError(t, vfs.WriteFile(w.disks[0], path, b))
		require.NoError(t, w.start(0))
		_, err = batchesOf(w.replica(0))
		require.ErrorIs(t, err, fault.CorruptMessage)
		w.kill(0)

		require.NoError(t, vfs.WriteFile(w.disks[0], path, b[:250]))
		began := time.Now()
		err = w.start(0)
		requireRefusal(t, err)
		require.ErrorContains(t, err, "node 2")
		require.Less(t, time.Since(began), time.Minute)
		left, err := vfs.ReadFile(w.disks[0], path, 1<<20)
		require.NoError(t, err)
		require.Equal(t, b[:250], left, "nothing is cut off")
	})
}
