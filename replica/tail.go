package replica

import (
	"fmt"
	"sort"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/runnel-go/runnel/record"
)

// slot is a batch of the tail.
type slot struct {
	term    uint64
	next    int64 // the offset after the batch
	members bool  // it changes the group's members
	start   int64 // where it makes the log begin, or 0
	data    []byte
}

// termStart is where a term begins in the log.
type termStart struct{ term, index uint64 }

// tail is what the core knows of its log: where it begins, which terms it has, and
// its last batches. It is what the library reads, and mirrors the library's log at
// all times, whatever of it is on disk yet: what is not is the library's to mask.
//
//	  base      first                 applied        last
//	───┼──────────┼──────────────────────┼─────────────┤
//	    on disk,    slots, dropped beyond  slots, kept
//	    terms only  the budget
type tail struct {
	base  Start  // the log begins behind it
	first uint64 // the index of slots[0]
	from  int64  // the offset at which slots[0] begins
	slots []slot
	terms []termStart // from base's on

	bytes, budget int // of the slots' data
	stable        uint64
	applied       uint64

	loaded []loadedRun // batches that lie before the slots, read for a peer that is behind
	missed uint64      // the index that the library asked for in vain, or 0
	light  bool        // the library reads what it applies, of which the core needs only the kind
}

// loadedRun is consecutive batches that were read from the log.
type loadedRun struct {
	first   uint64
	entries []*pb.Entry
}

// maxLoaded is how many runs are kept, one for each peer that is behind.
const maxLoaded = 4

func (t *tail) last() uint64 { return t.first + uint64(len(t.slots)) - 1 }

// end returns the offset after the last batch.
func (t *tail) end() int64 {
	if n := len(t.slots); n > 0 {
		return t.slots[n-1].next
	}
	return t.from
}

// slot returns the batch of an index, or nil if the tail doesn't have it.
func (t *tail) slot(index uint64) *slot {
	if index < t.first || index > t.last() {
		return nil
	}
	return &t.slots[index-t.first]
}

// begins returns the offset at which the batch of an index begins, which may be the
// one after the last.
func (t *tail) begins(index uint64) (offset int64, ok bool) {
	switch {
	case index == t.first:
		return t.from, true
	case index < t.first || index > t.last()+1:
		return 0, false
	}
	return t.slots[index-1-t.first].next, true
}

// cut drops the batches from an index on.
func (t *tail) cut(index uint64) {
	for _, s := range t.slots[index-t.first:] {
		t.bytes -= len(s.data)
	}
	clear(t.slots[index-t.first:])
	t.slots = t.slots[:index-t.first]
	for n := len(t.terms); n > 1 && t.terms[n-1].index >= index; n-- {
		t.terms = t.terms[:n-1]
	}
}

// add adds a batch behind the last one.
func (t *tail) add(s slot) {
	t.slots = append(t.slots, s)
	t.bytes += len(s.data)
	if last := &t.terms[len(t.terms)-1]; s.term != last.term {
		t.terms = append(t.terms, termStart{s.term, t.last()})
	}
}

// trim drops batches from the front that are on disk and applied, while the data
// takes more than the budget.
func (t *tail) trim() {
	n, limit := 0, min(t.stable, t.applied)
	for t.first+uint64(n) <= limit && (t.bytes > t.budget || t.slots[n].data == nil) {
		t.bytes -= len(t.slots[n].data)
		t.from = t.slots[n].next
		n++
	}
	if n == 0 {
		return
	}
	clear(t.slots[:n])
	t.slots = t.slots[n:]
	t.first += uint64(n)
}

// reset makes the log empty, to begin at s.
func (t *tail) reset(s Start) {
	t.base, t.first, t.from = s, s.Index+1, s.Offset
	t.slots, t.bytes, t.loaded = nil, 0, nil
	t.terms = []termStart{{s.Term, s.Index}}
	t.stable, t.applied = s.Index, s.Index
}

// rebase moves the log's beginning up: retention dropped what lies before.
func (t *tail) rebase(s Start) {
	i := sort.Search(len(t.terms), func(i int) bool { return t.terms[i].index > s.Index })
	t.terms = append([]termStart{{s.Term, s.Index}}, t.terms[i:]...)
	t.base = s
	t.loaded = nil
}

// load keeps batches that were read for a peer.
func (t *tail) load(r loadedRun) {
	if len(t.loaded) == maxLoaded {
		copy(t.loaded, t.loaded[1:])
		t.loaded = t.loaded[:maxLoaded-1]
	}
	t.loaded = append(t.loaded, r)
}

// The methods below are the library's raft.Storage.

func (t *tail) InitialState() (*pb.HardState, *pb.ConfState, error) {
	panic("the core passes it") // see storage
}

// FirstIndex returns the first index that Entries may be asked for.
func (t *tail) FirstIndex() (uint64, error) { return t.base.Index + 1, nil }

// LastIndex returns the last index of the log.
func (t *tail) LastIndex() (uint64, error) { return t.last(), nil }

// Term returns the term of an index.
func (t *tail) Term(index uint64) (uint64, error) {
	switch {
	case index < t.base.Index:
		return 0, raft.ErrCompacted
	case index > t.last():
		return 0, raft.ErrUnavailable
	}
	i := sort.Search(len(t.terms), func(i int) bool { return t.terms[i].index > index })
	return t.terms[i-1].term, nil
}

// Entries returns the batches from lo to before hi. What the tail doesn't have it
// claims to be compacted, which makes the library ask for a snapshot, which is not
// available: so it leaves the peer alone until it hears from it again. Meanwhile the
// batches are read.
func (t *tail) Entries(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	if lo <= t.base.Index {
		return nil, raft.ErrCompacted
	}
	if t.light {
		return t.headers(lo, hi), nil
	}
	var entries []*pb.Entry
	size := uint64(0)
	for i := lo; i < hi; i++ {
		e := t.entry(i)
		if e == nil {
			break
		}
		if size += uint64(len(e.GetData())); size > maxSize && len(entries) > 0 {
			break
		}
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		t.missed = lo
		return nil, raft.ErrCompacted
	}
	return entries, nil
}

// entry returns the entry of an index with its data, or nil.
func (t *tail) entry(index uint64) *pb.Entry {
	if s := t.slot(index); s != nil && s.data != nil {
		return s.entry(index)
	}
	for _, r := range t.loaded {
		if index >= r.first && index-r.first < uint64(len(r.entries)) {
			return r.entries[index-r.first]
		}
	}
	return nil
}

func (s *slot) entry(index uint64) *pb.Entry {
	kind := pb.EntryNormal
	if s.members {
		kind = pb.EntryConfChangeV2
	}
	return &pb.Entry{Type: &kind, Term: new(s.term), Index: &index, Data: s.data} // a copy of the term: slots move
}

// headers returns entries that the library takes for applied, of which the core
// needs no data but that of changes of members, which the slots have.
func (t *tail) headers(lo, hi uint64) []*pb.Entry {
	entries := make([]*pb.Entry, 0, min(hi-lo, 1024))
	for i := lo; i < hi && len(entries) < cap(entries); i++ {
		s := t.slot(i)
		if s == nil {
			panic(fmt.Sprintf("index %d is not applied and not in the tail, which begins at %d", i, t.first))
		}
		entries = append(entries, s.entry(i))
	}
	return entries
}

// Snapshot returns where the log begins, for a peer that is behind it.
func (t *tail) Snapshot() (*pb.Snapshot, error) {
	if t.missed != 0 || t.base.Index == 0 {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return t.base.toRaft(), nil
}

// storage adds to the tail what the library only reads when it starts.
type storage struct {
	*tail
	state HardState
	from  Membership
}

// InitialState returns the state as of the disk.
func (s storage) InitialState() (*pb.HardState, *pb.ConfState, error) {
	return &pb.HardState{Term: &s.state.Term, Vote: new(uint64(s.state.Vote)), Commit: &s.state.Commit}, s.from.toRaft(), nil
}

// slotOf returns the slot for a batch, which may keep its bytes.
func slotOf(b record.Batch) (slot, error) {
	s := slot{term: uint64(b.LeaderEpoch), next: b.NextOffset(), data: b.Bytes}
	if !b.Control() {
		return s, nil
	}
	return s, s.control(b)
}
