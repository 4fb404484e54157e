package consumer

import "github.com/runnel-go/runnel/record"

// frontier is how far a partition is handled when its records finish in any order.
// It has a slot for each record that was fetched, in the order of the fetches, up to
// the first one that is not finished; what may be committed ends there.
//
//	finished, no longer kept | unfinished | finished | unfinished | finished
//	                         ^ what is committed ends here; a restart begins here
//
// Slots are numbered. A number from before a reset means nothing afterwards.
type frontier struct {
	base  uint64 // the number of the first slot
	slots []slot
}

// slot is one record, or a gap without records.
type slot struct {
	offset, next int64 // of the record, and what to read after it
	epoch        int32 // the leader epoch that is committed with next
	done         bool
}

// gap is a slot without a record: the partition continues at next, because what is
// before it needs no handling. Like a record that finishes at once, it counts when all
// before it do.
func gap(next Offset) slot {
	return slot{offset: next.Offset, next: next.Offset, epoch: next.LeaderEpoch}
}

// add appends a slot and returns its number.
func (f *frontier) add(s slot) uint64 {
	f.slots = append(f.slots, s)
	return f.base + uint64(len(f.slots)) - 1
}

// finish notes that a slot's record is handled. If everything before it is, too, it
// returns how far the partition is handled now.
func (f *frontier) finish(number uint64) (upTo Offset, moved bool) {
	if f.isOver(number) {
		return Offset{}, false
	}
	f.slots[number-f.base].done = true
	for len(f.slots) > 0 && f.slots[0].done {
		upTo, moved = Offset{Offset: f.slots[0].next, LeaderEpoch: f.slots[0].epoch}, true
		f.slots = f.slots[1:]
		f.base++
	}
	return upTo, moved
}

// isOver reports whether a slot's record no longer counts.
func (f *frontier) isOver(number uint64) bool { return number < f.base }

// pending returns the number of slots from the first unfinished record on.
func (f *frontier) pending() int { return len(f.slots) }

// restart returns the offset of the first unfinished record, or false if there is none.
func (f *frontier) restart() (offset int64, ok bool) {
	if len(f.slots) == 0 {
		return 0, false
	}
	return f.slots[0].offset, true
}

// reset forgets all slots.
func (f *frontier) reset() {
	f.base += uint64(len(f.slots))
	f.slots = nil
}

// slotsOf returns a slot for each record of one Fetch.
func slotsOf(f *Fetched) func(i int) slot {
	return func(i int) slot {
		s := slot{offset: f.Records[i].Offset, next: f.Next, epoch: f.LeaderEpoch}
		if i+1 < len(f.Records) {
			s.next, s.epoch = f.Records[i+1].Offset, f.Records[i].LeaderEpoch
		}
		return s
	}
}

// weight is how many bytes of a record count as in flight.
func weight(r *record.Record) int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}
