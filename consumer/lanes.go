package consumer

import (
	"context"
	"time"

	"github.com/runnel-go/runnel/record"
)

// part is what Run knows of a partition. It stays when the partition goes: a handler
// may still run then, and the partition may come back. Guarded by runner.mu.
type part struct {
	tp       record.TopicPartition
	owned    bool // its records are handled, and what is finished counts
	paused   bool // by Run
	far      bool // too many records after the first unfinished one
	frontier frontier
	lanes    map[laneKey]*lane // those with records
	running  int               // handlers whose results count

	ctx    context.Context // of the handlers
	cancel context.CancelFunc
}

// laneKey is a record's key, or, for a record without one, its number, which no other
// record has: such records have no order.
type laneKey struct {
	key    string
	number uint64 // from 1; 0 for a record with a key
}

// lane is the records of one key, in order. A worker has at most one of them.
//
//	      more records, ready           a worker
//	idle ──────────────────────> queued ────────> running
//	  ^                            ^  ^             │ │ │
//	  │                  its timer │  └── more ─────┘ │ │
//	  │                         waiting <── failed ───┘ │
//	  └──────────────────── no records ─────────────────┘
type lane struct {
	part  *part
	key   laneKey
	state laneState
	tasks []*task     // the first one runs or waits
	timer *time.Timer // while waiting
}

type laneState int8

const (
	laneIdle    laneState = iota // new, or dropped
	laneQueued                   // in the line for workers
	laneRunning                  // a worker has its first task
	laneWaiting                  // until the next attempt
)

// task is one record that is to be handled. Only the worker that has it, or a
// goroutine that holds runner.mu while none has, touches it.
type task struct {
	lane     *lane
	number   uint64 // of its slot
	record   record.Record
	ctx      context.Context
	attempts int           // failed ones
	dead     *HandlerError // the record was given up, and is to be written as a dead letter
	sends    int           // failed ones
}

// load is a number of records, with their bytes.
type load struct{ records, bytes int }

func (l *load) add(r *record.Record) {
	l.records++
	l.bytes += weight(r)
}

func (l *load) remove(r *record.Record) {
	l.records--
	l.bytes -= weight(r)
}

// reaches reports whether l is at limit in one respect.
func (l load) reaches(limit load) bool { return l.records >= limit.records || l.bytes >= limit.bytes }

// half is where a paused consumer goes on.
func (l load) half() load { return load{l.records/2 + 1, l.bytes/2 + 1} }

// lane returns the lane for a record with that slot, a new one where there is none.
func (p *part) lane(r *record.Record, number uint64) *lane {
	key := laneKey{number: number + 1}
	if r.Key != nil {
		if l := p.lanes[laneKey{key: string(r.Key)}]; l != nil { // without a copy of the key
			return l
		}
		key = laneKey{key: string(r.Key)}
	}
	l := &lane{part: p, key: key}
	p.lanes[key] = l
	return l
}

// next removes the first task, which is over, and reports whether there are more.
func (l *lane) next() bool {
	l.tasks[0] = nil
	l.tasks = l.tasks[1:]
	if len(l.tasks) > 0 {
		return true
	}
	l.state = laneIdle
	delete(l.part.lanes, l.key)
	return false
}
