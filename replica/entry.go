package replica

import (
	"encoding/binary"
	"math"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// maxTerm is the last term: a batch has 32 bits for the leader epoch.
const maxTerm = math.MaxInt32

// Types of control records. The first ones are Kafka's.
const (
	controlLeaderChange int16 = 2
	controlMembers      int16 = 1000 // a change of the group's members, which only Runnel knows
	controlStart        int16 = 1001 // where the log of every replica begins once this is committed; only Runnel's, too
)

// entryOf returns a batch as the library's entry of an index. The entry's data is
// the batch, whatever its kind, so that every replica has the same bytes.
func entryOf(index uint64, batch []byte) (*pb.Entry, error) {
	b, err := record.Parse(batch)
	if err != nil {
		return nil, malformed("the batch of index %d", index).Because(err)
	}
	if b.LeaderEpoch <= 0 || b.Size() != len(batch) {
		return nil, malformed("the batch of index %d has leader epoch %d and %d bytes of %d", index, b.LeaderEpoch, b.Size(), len(batch))
	}
	kind := pb.EntryNormal
	if b.Control() {
		t, value, err := parseControl(b)
		if err != nil {
			return nil, err
		}
		switch t {
		case controlMembers:
			if _, err := parseChanges(value); err != nil {
				return nil, err
			}
			kind = pb.EntryConfChangeV2
		case controlStart:
			if start, err := parseLogStart(value); err != nil || start > b.NextOffset() {
				return nil, malformed("the batch of index %d has a log start at offset %d", index, start).Because(err)
			}
		}
	}
	return &pb.Entry{Type: &kind, Term: new(uint64(b.LeaderEpoch)), Index: &index, Data: batch}, nil
}

// ownBatch returns the batch for an entry that the library made on this replica,
// as the leader: the one that begins a term, or a change of members.
func (c *Core) ownBatch(e *pb.Entry, offset int64) []byte {
	if e.GetType() == pb.EntryNormal {
		return controlBatch(c.now, controlLeaderChange, c.leaderChange(), offset, e.GetTerm())
	}
	change := &pb.ConfChangeV2{} // without changes it ends one: the library proposes that by itself
	if len(e.GetData()) > 0 {
		change = c.proposals.change
	}
	return controlBatch(c.now, controlMembers, encodeChanges(change), offset, e.GetTerm())
}

// leaderChange encodes Kafka's LeaderChangeMessage, version 0.
func (c *Core) leaderChange() []byte {
	var w wire.Writer
	w.Int16(0)
	w.Int32(int32(c.cfg.ID.Node()))
	voters := func(list []ID) {
		w.CompactArrayLen(len(list))
		for _, id := range list {
			w.Int32(int32(id.Node()))
			w.NoTags()
		}
	}
	voters(c.members.Voters)
	voters(c.granted)
	w.NoTags()
	return w.B
}

// controlBatch encodes a batch with one control record, stamped.
func controlBatch(ms int64, kind int16, value []byte, offset int64, term uint64) []byte {
	var key [4]byte // version 0 and the type, as Kafka has them
	binary.BigEndian.PutUint16(key[2:], uint16(kind))
	size := record.Size(0, 0, key[:], value, nil)
	buf := make([]byte, record.HeaderLen+size)
	record.Put(buf[record.HeaderLen:], 0, 0, key[:], value, nil)
	b := record.Seal(buf, record.BatchHeader{
		Attributes: record.AttrControl, BaseTimestamp: ms, MaxTimestamp: ms, Count: 1,
		ProducerID: record.NoProducerID, ProducerEpoch: record.NoProducerEpoch, BaseSequence: record.NoSequence,
	})
	record.Stamp(b.Bytes, offset, int32(term))
	return b.Bytes
}

// parseControl returns the type and the value of a control batch's record.
func parseControl(b record.Batch) (kind int16, value []byte, err error) {
	it, err := b.Records(nil)
	if err != nil {
		return 0, nil, err
	}
	var r record.Record
	if !it.Next(&r) || len(r.Key) < 4 {
		return 0, nil, malformed("a control batch at offset %d without a type", b.BaseOffset)
	}
	return int16(binary.BigEndian.Uint16(r.Key[2:])), r.Value, nil
}

// A log start is the version 0 and the offset.

// startBatch returns the stamped batch that makes every replica's log begin at start.
func startBatch(start, base int64, epoch int32) []byte {
	return startBatchAt(time.Now().UnixMilli(), start, base, epoch)
}

func startBatchAt(ms, start, base int64, epoch int32) []byte {
	value := binary.BigEndian.AppendUint64([]byte{0}, uint64(start))
	return controlBatch(ms, controlStart, value, base, uint64(epoch))
}

// parseLogStart returns the offset of a log start, which is 1 or more.
func parseLogStart(value []byte) (int64, error) {
	if len(value) != 9 || value[0] != 0 {
		return 0, malformed("a log start of %d bytes", len(value))
	}
	start := int64(binary.BigEndian.Uint64(value[1:]))
	if start <= 0 {
		return 0, malformed("a log start at offset %d", start)
	}
	return start, nil
}

// isProposed reports whether a control batch is one that a leader's partition proposes as it
// does its producers' batches: the marker of a transaction, or a log start.
func isProposed(b record.Batch) bool {
	_, marks := log.MarkerOf(b)
	return marks || isLogStart(b)
}

func isLogStart(b record.Batch) bool {
	kind, value, err := parseControl(b)
	if err != nil || kind != controlStart {
		return false
	}
	_, err = parseLogStart(value)
	return err == nil
}

// control sets what a control batch says to its slot. A log start lies before the batch,
// or right behind it.
func (s *slot) control(b record.Batch) error {
	kind, value, err := parseControl(b)
	if err != nil {
		return err
	}
	switch kind {
	case controlMembers:
		s.members = true
	case controlStart:
		if s.start, err = parseLogStart(value); err == nil && s.start > s.next {
			err = malformed("a log start at offset %d in the batch before %d", s.start, s.next)
		}
	}
	return err
}

// A change of members is the version 0, how the change ends, and for each member
// what becomes of it, and its ID.

func encodeChanges(change *pb.ConfChangeV2) []byte {
	b := []byte{0, byte(change.GetTransition()), byte(len(change.GetChanges()))}
	for _, c := range change.GetChanges() {
		b = append(b, byte(c.GetType()))
		b = binary.BigEndian.AppendUint64(b, c.GetNodeId())
	}
	return b
}

func parseChanges(b []byte) (*pb.ConfChangeV2, error) {
	if len(b) < 3 || b[0] != 0 || b[1] > byte(pb.ConfChangeTransitionJointExplicit) || len(b) != 3+9*int(b[2]) {
		return nil, malformed("a change of members of %d bytes", len(b))
	}
	how := pb.ConfChangeTransition(b[1])
	change := &pb.ConfChangeV2{Transition: &how}
	for b = b[3:]; len(b) > 0; b = b[9:] {
		kind := pb.ConfChangeType(b[0])
		id := binary.BigEndian.Uint64(b[1:])
		if kind > pb.ConfChangeAddLearnerNode || id == 0 || id >= math.MaxUint64-1 {
			return nil, malformed("a change %d of member %d", kind, id)
		}
		change.Changes = append(change.Changes, &pb.ConfChangeSingle{Type: &kind, NodeId: &id})
	}
	return change, nil
}
