package group

import (
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// entry is a record of the log, or a marker.
type entry struct {
	Record
	of *Transaction // nil for a record of no transaction
}

// add adds a result to the log.
func (w *world) add(result Result) {
	if of := result.Of; of != nil && of.Marker != nil {
		w.log = append(w.log, entry{of: of})
	}
	for i, r := range result.Records {
		e := entry{Record: r}
		if result.Of != nil {
			of := *result.Of
			of.Sequence += int32(i)
			e.of = &of
		}
		w.log = append(w.log, e)
	}
}

// replay returns a coordinator that has read a log.
func (w *world) replay(log []entry) *Coordinator {
	c := New(Limits{})
	w.read(c, log)
	return c
}

func (w *world) read(c *Coordinator, log []entry) {
	for _, e := range log {
		switch {
		case e.of == nil:
			require.NoError(w.t, c.Apply(e.Key, e.Value))
		case e.of.Marker != nil:
			c.ApplyMarker(e.of.ProducerID, e.of.Epoch, *e.of.Marker)
		default:
			require.NoError(w.t, c.ApplyPending(e.of.ProducerID, e.of.Epoch, e.Key, e.Value))
		}
	}
}

// lastOfEachKey is what compaction leaves of a log once tombstones are gone, too, and what
// was aborted. From the first open transaction on, it leaves everything.
func lastOfEachKey(log []entry) (left []entry) {
	outcome := make([]*Marker, len(log)) // of the transaction that a record is part of
	open := map[int64][]int{}
	for i, e := range log {
		switch {
		case e.of == nil:
		case e.of.Marker == nil:
			open[e.of.ProducerID] = append(open[e.of.ProducerID], i)
		default:
			for _, j := range open[e.of.ProducerID] {
				outcome[j] = e.of.Marker
			}
			delete(open, e.of.ProducerID)
		}
	}
	stable := len(log)
	for _, records := range open {
		stable = min(stable, records[0])
	}
	counts := func(i int) bool {
		e := log[i]
		return e.of == nil || e.of.Marker == nil && outcome[i].Commit
	}
	last := map[string]int{}
	for i := range stable {
		if counts(i) {
			last[string(log[i].Key)] = i
		}
	}
	for i, e := range log {
		isMarker := e.of != nil && e.of.Marker != nil
		if i >= stable || isMarker || counts(i) && last[string(e.Key)] == i && e.Value != nil {
			left = append(left, e)
		}
	}
	return left
}

// unordered returns groups without the order of their offsets, which compaction changes.
func unordered(groups map[string]*group) map[string]*group {
	same := maps.Clone(groups)
	for name, g := range same {
		g := *g
		g.offsets = maps.Clone(g.offsets)
		for tp, o := range g.offsets {
			o.order = 0
			g.offsets[tp] = o
		}
		same[name] = &g
	}
	return same
}

// epochOf returns the epoch of a producer's next batch.
func (w *world) epochOf(producer int64) int16 {
	if t := w.c.pending[producer]; t != nil {
		return t.epoch
	}
	return w.c.ended[producer].epoch
}

func (w *world) sendOffsets(producer int64, cl *client, tp record.TopicPartition, offset int64) {
	as := consumer.GroupMetadata{Group: cl.Group, MemberID: cl.ID, MemberEpoch: w.c.groups[cl.Group].members[cl.ID].epoch}
	before := w.c.Offsets(cl.Group)
	result, err := w.c.CommitPending(as, producer, w.epochOf(producer), map[record.TopicPartition]consumer.Offset{tp: {Offset: offset, Metadata: "of a transaction"}}, w.now)
	w.took(result, err)
	require.Equal(w.t, before, w.c.Offsets(cl.Group), "pending offsets count already")
	require.ErrorIs(w.t, w.c.Stable(cl.Group, tp), fault.UnstableOffsetCommit)
}

func (w *world) end(producer int64, commit bool) {
	before := unordered(w.c.groups)
	result, err := w.c.EndTransaction(producer, w.epochOf(producer)+1, Marker{Commit: commit, CoordinatorEpoch: 1, Time: w.now.UnixMilli()})
	w.took(result, err)
	require.Nil(w.t, w.c.pending[producer])
	if !commit {
		require.Equal(w.t, before, unordered(w.c.groups), "an aborted transaction changes something")
	}
}

// TestPendingOffsets: offsets of a transaction count from its marker on, if that commits.
func TestPendingOffsets(t *testing.T) {
	w := newWorld(t)
	w.setTopics(w.topicNamed("a", 2))
	one := w.join("g", "", "", "a")
	w.settle()
	zero, first := record.TopicPartition{Topic: "a"}, record.TopicPartition{Topic: "a", Partition: 1}
	offset := func(tp record.TopicPartition) int64 { return w.c.Offsets("g")[tp].Offset }

	w.sendOffsets(7, one, zero, 10)
	w.sendOffsets(7, one, first, 11)
	w.sendOffsets(7, one, zero, 12)
	require.Equal(t, []Pending{
		{7, "g", zero, consumer.Offset{Offset: 12, Metadata: "of a transaction"}},
		{7, "g", first, consumer.Offset{Offset: 11, Metadata: "of a transaction"}},
	}, w.c.Pending())
	require.NoError(t, w.c.Stable("other", zero))
	w.check()
	w.end(7, true)
	require.EqualValues(t, 12, offset(zero))
	require.EqualValues(t, 11, offset(first))
	require.NoError(t, w.c.Stable("g", zero, first))
	w.check()

	w.sendOffsets(7, one, zero, 20)
	w.end(7, false)
	require.EqualValues(t, 12, offset(zero))
	w.check()

	// What was committed after the transaction's offset is newer.
	w.sendOffsets(7, one, zero, 30)
	result, err := w.c.Commit("g", one.ID, map[record.TopicPartition]consumer.Offset{zero: {Offset: 31}}, w.now)
	w.took(result, err)
	require.EqualValues(t, 31, offset(zero), "at once")
	w.end(7, true)
	require.EqualValues(t, 31, offset(zero))
	w.check()

	// A group that is deleted takes what is pending with it.
	w.sendOffsets(7, one, first, 40)
	w.leave(one)
	result, err = w.c.Delete("g")
	w.took(result, err)
	w.end(7, true)
	require.False(t, w.c.Has("g"))
	w.check()
}

// TestWhoMaySendOffsets: neither a member of another epoch, nor a transaction that has ended.
func TestWhoMaySendOffsets(t *testing.T) {
	w := newWorld(t)
	w.setTopics(w.topicNamed("a", 2))
	one, two := w.join("g", "", "", "a"), w.join("g", "", "", "a")
	w.settle()
	mine, others := record.TopicPartition{Topic: "a", Partition: one.owned[0].Number}, record.TopicPartition{Topic: "a", Partition: two.owned[0].Number}
	as := consumer.GroupMetadata{Group: "g", MemberID: one.ID, MemberEpoch: one.epoch}
	send := func(as consumer.GroupMetadata, producer int64, epoch int16, tp record.TopicPartition) error {
		result, err := w.c.CommitPending(as, producer, epoch, map[record.TopicPartition]consumer.Offset{tp: {Offset: 1}}, w.now)
		w.add(result)
		if err != nil {
			require.Empty(t, result.Records)
		}
		return err
	}
	require.NoError(t, send(as, 7, 3, mine))
	require.ErrorIs(t, send(as, 7, 3, others), fault.IllegalGeneration, "not its own")
	require.ErrorIs(t, send(as, 7, 2, mine), fault.InvalidProducerEpoch)
	late := as
	late.MemberEpoch--
	require.ErrorIs(t, send(late, 7, 3, mine), fault.IllegalGeneration)
	require.ErrorIs(t, send(consumer.GroupMetadata{Group: "g", MemberID: "x"}, 7, 3, mine), fault.UnknownMember)
	require.ErrorIs(t, send(consumer.GroupMetadata{Group: "g", MemberEpoch: -1}, 7, 3, mine), fault.NonEmptyGroup)
	result, err := w.c.EndTransaction(7, 4, Marker{Commit: true})
	w.took(result, err)
	require.NotNil(t, result.Of)
	require.ErrorIs(t, send(as, 7, 3, mine), fault.InvalidProducerEpoch, "it comes too late")
	require.NoError(t, send(as, 7, 4, mine), "the next transaction")
	result, err = w.c.EndTransaction(7, 4, Marker{Commit: true})
	require.NoError(t, err)
	require.Nil(t, result.Of, "the marker of the last one, again")
	require.NotEmpty(t, w.c.Pending())
	w.check()
}

// TestPendingOffsetsKeepTheirGroup: what is pending may be all that a group has, and that is
// not older than the group's last member.
func TestPendingOffsetsKeepTheirGroup(t *testing.T) {
	w := newWorld(t)
	w.c = New(Limits{Retention: time.Hour})
	w.setTopics(w.topicNamed("a", 1))
	zero := record.TopicPartition{Topic: "a"}
	one := w.join("g", "", "", "a")
	result, err := w.c.Commit("g", one.ID, map[record.TopicPartition]consumer.Offset{zero: {Offset: 5}}, w.now)
	w.took(result, err)
	w.now = w.now.Add(30 * time.Minute)
	w.sendOffsets(7, one, zero, 10)
	w.leave(one)
	expire := func() {
		result, _, err := w.c.Expire(w.now, func(string) Heard { return Heard{Fetch: w.now} })
		w.took(result, err)
	}
	w.now = w.now.Add(2 * time.Hour)
	expire()
	require.True(t, w.c.Has("g"))
	w.end(7, true)
	require.EqualValues(t, 10, w.c.Offsets("g")[zero].Offset, "and not what its last member left behind")
	expire()
	require.False(t, w.c.Has("g"))
}
