package coordinator

import (
	"bytes"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/coordinator/txn"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// request is what a node asks the one that coordinates a partition's groups. Which fields
// are sent depends on op.
type request struct {
	op     op
	number int32 // of the partition of __consumer_offsets
	ticket ticket
	group  string
	member string

	join       group.Member
	owned      []group.Partition
	baseline   *Baseline
	offsets    map[record.TopicPartition]consumer.Offset
	partitions []record.TopicPartition
	stable     bool
	roll       roll

	as          consumer.GroupMetadata // the member is its MemberID
	producer    txn.Identity
	commit      bool
	coordinator int32 // the epoch of the one that ends a transaction
}

// op is what a request asks for. The ops have these numbers between nodes.
type op int8

const (
	opJoin op = iota + 1
	opHeartbeat
	opLeave
	opIsMember
	opCommit
	opCommitted
	opWatch
	opList
	opDescribe
	opDelete
	opOffsets
	opDeleteOffsets
	opCommitPending
	opEndTransaction
)

// reads reports whether the op changes nothing.
func (o op) reads() bool {
	return o == opIsMember || o == opCommitted || o == opWatch || o == opList || o == opDescribe || o == opOffsets
}

// answer is the answer to a request.
type answer struct {
	assignment  Assignment
	baseline    *Baseline
	is          bool
	offsets     map[record.TopicPartition]consumer.Offset
	called      called
	groups      []consumer.GroupListing
	description consumer.GroupDescription
}

func (q *request) encode() ([]byte, error) {
	var w wire.Writer
	w.Int8(int8(q.op))
	w.Int32(q.number)
	w.Int32(q.ticket.node)
	w.Int32(q.ticket.epoch)
	w.Int64(q.ticket.number)
	w.CompactString(q.group)
	w.CompactString(q.member)
	switch q.op {
	case opJoin:
		writeMember(&w, &q.join)
		q.baseline.write(&w)
	case opHeartbeat:
		writeOwned(&w, q.owned)
		q.baseline.write(&w)
	case opCommit:
		attach.WriteOffsets(&w, q.offsets)
	case opCommitted, opDeleteOffsets:
		attach.WritePartitions(&w, q.partitions)
		w.Bool(q.stable)
	case opCommitPending:
		w.Int32(q.as.MemberEpoch)
		w.CompactString(q.as.InstanceID)
		writeIdentity(&w, q.producer)
		attach.WriteOffsets(&w, q.offsets)
	case opEndTransaction:
		writeIdentity(&w, q.producer)
		w.Bool(q.commit)
		w.Int32(q.coordinator)
	case opWatch:
		q.roll.write(&w)
	}
	return w.B, w.Err()
}

func decodeRequest(b []byte) (*request, error) {
	r := wire.NewReader(b)
	q := &request{op: op(r.Int8()), number: r.Int32()}
	q.ticket = ticket{node: r.Int32(), epoch: r.Int32(), number: r.Int64()}
	q.group, q.member = r.CompactString(), r.CompactString()
	switch q.op {
	case opJoin:
		q.join = readMember(&r)
		q.join.Group, q.join.ID = q.group, q.member
		q.baseline = readBaseline(&r)
	case opHeartbeat:
		q.owned = readOwned(&r)
		q.baseline = readBaseline(&r)
	case opCommit:
		q.offsets = attach.ReadOffsets(&r)
	case opCommitted, opDeleteOffsets:
		q.partitions = attach.ReadPartitions(&r)
		q.stable = r.Bool()
	case opCommitPending:
		q.as = consumer.GroupMetadata{Group: q.group, MemberID: q.member, MemberEpoch: r.Int32(), InstanceID: r.CompactString()}
		q.producer = readIdentity(&r)
		q.offsets = attach.ReadOffsets(&r)
	case opEndTransaction:
		q.producer = readIdentity(&r)
		q.commit, q.coordinator = r.Bool(), r.Int32()
	case opWatch:
		q.roll = readRoll(&r)
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	if q.op < opJoin || q.op > opEndTransaction || q.number < 0 {
		return nil, fault.Newf(fault.InvalidRequest, "a request of kind %d about groups in partition %d", q.op, q.number)
	}
	return q, nil
}

func (a *answer) encode(o op) ([]byte, error) {
	var w wire.Writer
	switch o {
	case opJoin:
		a.assignment.write(&w)
		a.baseline.write(&w)
	case opHeartbeat:
		a.assignment.write(&w)
	case opIsMember:
		w.Bool(a.is)
	case opCommitted, opOffsets:
		attach.WriteOffsets(&w, a.offsets)
	case opWatch:
		writeTexts(&w, a.called.woken)
		writeTexts(&w, a.called.gone)
	case opList:
		attach.WriteGroups(&w, a.groups)
	case opDescribe:
		attach.WriteGroup(&w, a.description)
	}
	return w.B, w.Err()
}

func decodeAnswer(o op, b []byte) (a answer, err error) {
	r := wire.NewReader(b)
	switch o {
	case opJoin:
		a.assignment = readAssignment(&r)
		a.baseline = readBaseline(&r)
	case opHeartbeat:
		a.assignment = readAssignment(&r)
	case opIsMember:
		a.is = r.Bool()
	case opCommitted, opOffsets:
		a.offsets = attach.ReadOffsets(&r)
	case opWatch:
		a.called = called{woken: readTexts(&r), gone: readTexts(&r)}
	case opList:
		a.groups = attach.ReadGroups(&r)
	case opDescribe:
		a.description = attach.ReadGroup(&r)
	}
	return a, r.End()
}

func writeMember(w *wire.Writer, m *group.Member) {
	w.CompactString(m.InstanceID)
	w.CompactString(m.ClientID)
	writeTexts(w, m.Topics)
	w.CompactString(m.Pattern)
	w.CompactString(m.Assignor)
	w.Bool(m.Metadata != nil)
	w.CompactBytes(m.Metadata)
	w.Int64(int64(m.RebalanceTimeout))
	w.Int64(int64(m.SessionTimeout))
}

func readMember(r *wire.Reader) group.Member {
	m := group.Member{
		InstanceID: r.CompactString(), ClientID: r.CompactString(), Topics: readTexts(r),
		Pattern: r.CompactString(), Assignor: r.CompactString(),
	}
	told := r.Bool()
	if b := r.CompactBytes(); told {
		m.Metadata = bytes.Clone(append([]byte{}, b...))
	}
	m.RebalanceTimeout, m.SessionTimeout = time.Duration(r.Int64()), time.Duration(r.Int64())
	return m
}

func writeIdentity(w *wire.Writer, who txn.Identity) {
	w.Int64(who.ProducerID)
	w.Int16(who.Epoch)
}

func readIdentity(r *wire.Reader) txn.Identity {
	return txn.Identity{ProducerID: r.Int64(), Epoch: r.Int16()}
}

func writeOwned(w *wire.Writer, all []group.Partition) {
	w.ArrayLen(len(all))
	for _, p := range all {
		w.UUID(p.ID)
		w.Int32(p.Number)
	}
}

func readOwned(r *wire.Reader) (all []group.Partition) {
	for n := r.ArrayLen(20); n > 0; n-- {
		all = append(all, group.Partition{ID: r.UUID(), Number: r.Int32()})
	}
	return all
}

func (a *Assignment) write(w *wire.Writer) {
	w.Int32(a.Epoch)
	w.ArrayLen(len(a.Partitions))
	for tp, id := range a.Partitions {
		w.CompactString(tp.Topic)
		w.Int32(tp.Partition)
		w.UUID(id)
	}
}

func readAssignment(r *wire.Reader) Assignment {
	a := Assignment{Epoch: r.Int32(), Partitions: map[record.TopicPartition]topic.ID{}}
	for n := r.ArrayLen(21); n > 0; n-- {
		tp := record.TopicPartition{Topic: r.CompactString(), Partition: r.Int32()}
		a.Partitions[tp] = r.UUID()
	}
	return a
}

func writeTexts(w *wire.Writer, all []string) {
	w.ArrayLen(len(all))
	for _, s := range all {
		w.CompactString(s)
	}
}

func readTexts(r *wire.Reader) (all []string) {
	for n := r.ArrayLen(1); n > 0; n-- {
		all = append(all, r.CompactString())
	}
	return all
}

// write appends a baseline, which may be nil.
func (b *Baseline) write(w *wire.Writer) {
	w.Bool(b != nil)
	if b == nil {
		return
	}
	writeTexts(w, b.topics)
	w.CompactString(b.text)
	w.ArrayLen(len(b.counts))
	for id, n := range b.counts {
		w.UUID(id)
		w.CompactString(b.names[id])
		w.Int32(n)
	}
}

func readBaseline(r *wire.Reader) *Baseline {
	if !r.Bool() {
		return nil
	}
	b := &Baseline{topics: readTexts(r), counts: map[topic.ID]int32{}, names: map[topic.ID]string{}}
	b.setPattern(r.CompactString())
	for n := r.ArrayLen(21); n > 0; n-- {
		id := topic.ID(r.UUID())
		b.names[id] = r.CompactString()
		b.counts[id] = r.Int32()
	}
	return b
}

// roll says how the members of a node are that are in one partition's groups.
type roll struct {
	lost    bool          // the last answer may have been lost
	wait    time.Duration // for the answer, while there is nothing to say
	members []attendance
}

// attendance is how one member is.
type attendance struct {
	group, member string
	away          time.Duration // since it was within Fetch last; -1 within
}

// called is what a roll is answered with.
type called struct {
	woken []string // members that should send a heartbeat
	gone  []string // members that the groups do not know
}

func (l *roll) write(w *wire.Writer) {
	w.Bool(l.lost)
	w.Int64(int64(l.wait))
	w.ArrayLen(len(l.members))
	for _, m := range l.members {
		w.CompactString(m.group)
		w.CompactString(m.member)
		w.Int64(int64(m.away))
	}
}

func readRoll(r *wire.Reader) roll {
	l := roll{lost: r.Bool(), wait: time.Duration(r.Int64())}
	for n := r.ArrayLen(10); n > 0; n-- {
		l.members = append(l.members, attendance{r.CompactString(), r.CompactString(), time.Duration(r.Int64())})
	}
	return l
}
