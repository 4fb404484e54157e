package coordinator

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/coordinator/txn"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

var someBaseline = func() *Baseline {
	b := &Baseline{topics: []string{"orders"}, counts: map[topic.ID]int32{{1}: 3, {2}: 1}, names: map[topic.ID]string{{1}: "orders", {2}: "visits"}}
	b.setPattern("vis.*")
	return b
}()

// requests returns a request of every kind, with all that it can have.
func requests() []*request {
	at := request{number: 3, ticket: ticket{node: 2, epoch: 7, number: 1 << 40}}
	var all []*request
	for o := opJoin; o <= opEndTransaction; o++ {
		q := at
		q.op = o
		switch o {
		case opJoin:
			q.group, q.member = "printer", "one"
			q.join = group.Member{
				Group: "printer", ID: "one", InstanceID: "static", ClientID: "c", Topics: []string{"a", "b"}, Pattern: "p.*", Assignor: "range",
				Metadata: []byte{}, RebalanceTimeout: 1<<63 - 1, SessionTimeout: time.Second,
			}
			q.baseline = someBaseline
		case opHeartbeat:
			q.group, q.member, q.baseline = "printer", "one", someBaseline
			q.owned = []group.Partition{{ID: topic.ID{9}, Number: 4}}
		case opLeave, opIsMember:
			q.group, q.member = "printer", "one"
		case opCommit:
			q.group, q.member = "printer", ""
			q.offsets = map[record.TopicPartition]consumer.Offset{orders: {Offset: 7, LeaderEpoch: 2, Metadata: "m"}}
		case opCommitted:
			q.group, q.partitions, q.stable = "printer", []record.TopicPartition{orders}, true
		case opCommitPending:
			q.group, q.member, q.producer = "printer", "one", txn.Identity{ProducerID: 9, Epoch: 3}
			q.as = consumer.GroupMetadata{Group: "printer", MemberID: "one", MemberEpoch: 4, InstanceID: "static"}
			q.offsets = map[record.TopicPartition]consumer.Offset{orders: {Offset: 7, LeaderEpoch: 2, Metadata: "m"}}
		case opEndTransaction:
			q.producer, q.commit, q.coordinator = txn.Identity{ProducerID: 9, Epoch: 4}, true, 2
		case opWatch:
			q.roll = roll{lost: true, wait: time.Second, members: []attendance{{"printer", "one", -1}, {"printer", "two", time.Minute}}}
		case opDescribe, opDelete, opOffsets:
			q.group = "printer"
		}
		all = append(all, &q)
	}
	return all
}

func answers() map[op]answer {
	a := Assignment{Epoch: 5, Partitions: map[record.TopicPartition]topic.ID{orders: {1}}}
	offsets := map[record.TopicPartition]consumer.Offset{orders: {Offset: 7, LeaderEpoch: 2, Metadata: "m"}}
	return map[op]answer{
		opJoin: {assignment: a, baseline: someBaseline}, opHeartbeat: {assignment: a}, opLeave: {}, opIsMember: {is: true}, opCommit: {},
		opCommitted: {offsets: offsets}, opOffsets: {offsets: offsets}, opWatch: {called: called{woken: []string{"one"}, gone: []string{"two"}}},
		opList:     {groups: []consumer.GroupListing{{Name: "printer", State: consumer.GroupStable, Members: 2}}},
		opDescribe: {description: consumer.GroupDescription{Name: "printer", State: consumer.GroupEmpty, Epoch: 3, Members: []consumer.Member{{ID: "one", Assigned: []record.TopicPartition{orders}}}}},
		opDelete:   {}, opDeleteOffsets: {}, opCommitPending: {}, opEndTransaction: {},
	}
}

func TestARequestArrivesAsItWasSent(t *testing.T) {
	for _, q := range requests() {
		b, err := q.encode()
		require.NoError(t, err)
		got, err := decodeRequest(b)
		require.NoError(t, err)
		require.Equal(t, q, got)
		a, ok := answers()[q.op]
		require.True(t, ok)
		b, err = a.encode(q.op)
		require.NoError(t, err)
		back, err := decodeAnswer(q.op, b)
		require.NoError(t, err)
		require.Equal(t, a, back)
	}
}

// FuzzDecodeRequest: what another node asks never panics, and is refused or can be sent
// again.
func FuzzDecodeRequest(f *testing.F) {
	for _, q := range requests() {
		b, err := q.encode()
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := decodeRequest(b)
		if err != nil {
			return
		}
		again, err := q.encode()
		require.NoError(t, err)
		back, err := decodeRequest(again)
		require.NoError(t, err)
		require.Equal(t, q, back)
	})
}

// FuzzDecodeGroupAnswer: what another node answers never panics.
func FuzzDecodeGroupAnswer(f *testing.F) {
	for o, a := range answers() {
		b, err := a.encode(o)
		require.NoError(f, err)
		f.Add(int8(o), b)
	}
	f.Fuzz(func(t *testing.T, o int8, b []byte) {
		a, err := decodeAnswer(op(o), b)
		if err != nil {
			return
		}
		again, err := a.encode(op(o))
		require.NoError(t, err)
		back, err := decodeAnswer(op(o), again)
		require.NoError(t, err)
		require.Equal(t, a, back)
	})
}
