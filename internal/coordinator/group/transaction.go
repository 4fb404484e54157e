package group

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Transaction is a producer's transaction, as the batches of a log say whose they are.
type Transaction struct {
	ProducerID int64
	Epoch      int16

	Sequence int32   // of the first record
	Marker   *Marker // nil for a batch of records
}

// Marker ends a transaction.
type Marker struct {
	Commit           bool
	CoordinatorEpoch int32
	Time             int64 // milliseconds
}

// transaction is what an open transaction has written.
type transaction struct {
	epoch   int16
	count   int32 // how many records it has written: the sequence of the next one
	offsets map[place]offset
}

// place is a partition that a group reads.
type place struct {
	group string
	at    record.TopicPartition
}

// ended is the last marker of a producer's: what is of an earlier epoch comes too late.
type ended struct {
	epoch int16
	at    int64 // milliseconds
}

// A producer of which no marker came for endedFor is forgotten, once there are endedCrowd
// and twice as many as the last time. The partition's log still knows it.
const (
	endedFor   = 24 * time.Hour
	endedCrowd = 1024
)

// ApplyPending adds one record of the log that is part of a transaction. It is as Apply.
func (c *Coordinator) ApplyPending(producerID int64, epoch int16, keyBytes, value []byte) error {
	k, known, err := decodeKey(keyBytes)
	if err != nil {
		return err
	}
	c.applied++
	t := c.pending[producerID]
	if t == nil || t.epoch != epoch {
		t = &transaction{epoch: epoch, offsets: map[place]offset{}}
		c.pending[producerID] = t
	}
	t.count++
	if !known || k.kind != keyOffset || value == nil {
		return nil
	}
	o, err := decodeOffset(value)
	if err != nil {
		return fault.Newf(fault.CorruptMessage, "group %q", k.group).Because(err)
	}
	o.order = c.applied
	t.offsets[k.place()] = o
	return nil
}

// ApplyMarker ends a producer's transaction: its offsets are committed, or forgotten.
func (c *Coordinator) ApplyMarker(producerID int64, epoch int16, m Marker) {
	c.ended[producerID] = ended{epoch, m.Time}
	c.forgetEnded(m.Time)
	t := c.pending[producerID]
	delete(c.pending, producerID)
	if t == nil || !m.Commit {
		return
	}
	for p, o := range t.offsets {
		g := c.groups[p.group]
		if g == nil {
			g = newGroup(p.group)
			c.groups[p.group] = g
		}
		if later, ok := g.offsets[p.at]; !ok || later.order < o.order {
			g.offsets[p.at] = o
		}
	}
}

// forgetEnded drops producers without a marker for long.
func (c *Coordinator) forgetEnded(now int64) {
	if len(c.ended) <= c.crowded {
		return
	}
	maps.DeleteFunc(c.ended, func(_ int64, e ended) bool { return e.at < now-endedFor.Milliseconds() })
	c.crowded = max(endedCrowd, 2*len(c.ended))
}

func (k key) place() place {
	return place{k.group, record.TopicPartition{Topic: k.topic, Partition: k.partition}}
}

// dropPending removes an offset from the transactions, because a tombstone follows it.
func (c *Coordinator) dropPending(k key) {
	for _, t := range c.pending {
		delete(t.offsets, k.place())
	}
}

// pendingOf returns the partitions of which open transactions have offsets of a group,
// sorted.
func (c *Coordinator) pendingOf(groupName string) (all []record.TopicPartition) {
	for _, t := range c.pending {
		for p := range t.offsets {
			if p.group == groupName {
				all = append(all, p.at)
			}
		}
	}
	slices.SortFunc(all, record.TopicPartition.Compare)
	return slices.Compact(all)
}

// Stable returns fault.UnstableOffsetCommit if an open transaction has an offset of one of
// these partitions: what is committed of it may change without a further commit (KIP-447).
func (c *Coordinator) Stable(groupName string, partitions ...record.TopicPartition) error {
	for _, tp := range partitions {
		for id, t := range c.pending {
			if _, ok := t.offsets[place{groupName, tp}]; ok {
				return fault.At(fault.UnstableOffsetCommit, tp.Topic, tp.Partition, -1).
					Detailf("producer %d has offsets of group %q in its transaction", id, groupName)
			}
		}
	}
	return nil
}

// CommitPending adds offsets to the transaction of a producer. They count once it is
// committed. Its errors are those of Commit, and fault.IllegalGeneration, which Kafka has
// here, in place of fault.StaleMemberEpoch: for a member of another epoch than m says, or
// one that does not own a partition. fault.InvalidProducerEpoch means that the transaction
// has ended.
func (c *Coordinator) CommitPending(m consumer.GroupMetadata, producerID int64, epoch int16, offsets map[record.TopicPartition]consumer.Offset, now time.Time) (Result, error) {
	c.begin()
	if err := c.mayWrite(producerID, epoch); err != nil {
		return Result{}, err
	}
	if err := c.mayCommitAs(m, offsets); err != nil {
		return Result{}, err
	}
	of := &Transaction{ProducerID: producerID, Epoch: epoch}
	if t := c.pending[producerID]; t != nil {
		of.Sequence = t.count
	}
	for _, tp := range slices.SortedFunc(maps.Keys(offsets), record.TopicPartition.Compare) {
		r, err := encodeRecord(key{kind: keyOffset, group: m.Group, topic: tp.Topic, partition: tp.Partition}, c.offsetOf(tp, offsets[tp], now).encode)
		if err == nil {
			err = c.ApplyPending(producerID, epoch, r.Key, r.Value)
		}
		if err != nil {
			return Result{}, err
		}
		c.records = append(c.records, r)
	}
	result, err := c.end(m.MemberID)
	result.Of = of
	return result, err
}

// mayWrite returns why a producer's transaction takes nothing more, or nil.
func (c *Coordinator) mayWrite(producerID int64, epoch int16) error {
	newest, known := int16(-1), false
	if e, ok := c.ended[producerID]; ok {
		newest, known = e.epoch, true
	}
	if t := c.pending[producerID]; t != nil {
		newest, known = max(newest, t.epoch), true
	}
	if known && epoch < newest {
		return fault.Newf(fault.InvalidProducerEpoch, "producer %d has epoch %d, and epoch %d has written since", producerID, epoch, newest)
	}
	return nil
}

// mayCommitAs is mayCommit for the member that m describes.
func (c *Coordinator) mayCommitAs(m consumer.GroupMetadata, offsets map[record.TopicPartition]consumer.Offset) error {
	if m.MemberID != "" {
		_, joined, err := c.find(m.Group, m.MemberID)
		if err != nil {
			return err
		}
		if joined.epoch != m.MemberEpoch {
			return fault.Newf(fault.IllegalGeneration, "member %q of group %q commits for epoch %d, and it is %d", m.MemberID, m.Group, m.MemberEpoch, joined.epoch)
		}
	}
	err := c.mayCommit(m.Group, m.MemberID, offsets)
	if fault.CodeOf(err) == fault.StaleMemberEpoch {
		return fault.Newf(fault.IllegalGeneration, "member %q of group %q", m.MemberID, m.Group).Because(err)
	}
	return err
}

// EndTransaction ends a producer's transaction by a marker. epoch is the marker's, which is
// later than the transaction's. One that is there already is not made again.
func (c *Coordinator) EndTransaction(producerID int64, epoch int16, m Marker) (Result, error) {
	c.begin()
	if e, ok := c.ended[producerID]; ok && e.epoch >= epoch {
		return Result{}, nil
	}
	c.ApplyMarker(producerID, epoch, m)
	return Result{Of: &Transaction{ProducerID: producerID, Epoch: epoch, Marker: &m}}, nil
}

// Pending describes an offset of an open transaction.
type Pending struct {
	ProducerID int64
	Group      string
	At         record.TopicPartition
	Offset     consumer.Offset
}

// Pending returns the offsets of open transactions, by producer, group and partition.
func (c *Coordinator) Pending() (all []Pending) {
	for id, t := range c.pending {
		for p, o := range t.offsets {
			all = append(all, Pending{id, p.group, p.at, consumer.Offset{Offset: o.offset, LeaderEpoch: o.leaderEpoch, Metadata: o.metadata}})
		}
	}
	slices.SortFunc(all, func(a, b Pending) int {
		return cmp.Or(cmp.Compare(a.ProducerID, b.ProducerID), cmp.Compare(a.Group, b.Group), a.At.Compare(b.At))
	})
	return all
}
