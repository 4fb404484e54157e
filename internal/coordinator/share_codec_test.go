package coordinator

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/share"
	"github.com/runnel-go/runnel/topic"
)

var someShareKey = share.Key{Group: "workers", Topic: topic.ID{1, 2}, Partition: 3}

// shareRequests returns a request of every kind, with all that it can have.
func shareRequests() (all []*shareRequest) {
	for o := shareInitialize; o <= shareWatch; o++ {
		q := &shareRequest{op: o, number: 2, ticket: ticket{node: 3, epoch: 7, number: 1 << 40}, process: -5, again: true, key: someShareKey, member: "ann"}
		switch o {
		case shareInitialize, shareReset:
			q.start = 12
		case shareAcquire:
			q.demand = share.Demand{Acquisition: 4, Max: 9, Lock: time.Minute, Attempts: 5, DeadLetters: true, Window: 100, From: 3, To: 40, High: -1}
		case shareSettle:
			q.all = []share.Settlement{{First: 1, Last: 2, Acquisition: 4, Kind: share.Accept}, {First: 3, Last: 3, Kind: share.Return, At: time.UnixMilli(1000)}}
		case sharePromote:
			q.search = share.Search{First: 1, Last: 9, Passed: time.UnixMilli(5), Now: time.UnixMilli(7)}
			q.found, q.rest, q.to = []int64{2, 3}, share.Rest{First: 4, Last: 6, Next: time.UnixMilli(8), Count: 2}, 7
		case shareWatch:
			q.wait, q.waits = time.Second, []shareWait{{someShareKey, 11, true}}
		}
		all = append(all, q)
	}
	return all
}

// shareAnswers are answers to requests of these kinds.
var shareAnswers = map[shareOp]shareAnswer{
	shareAcquire: {seen: 6, acquired: share.Acquired{
		Ranges: []share.Range{{First: 1, Last: 2, Attempt: 3, Spent: true}}, Until: time.UnixMilli(1), Next: time.UnixMilli(2), End: 9, Full: true, Now: time.UnixMilli(3),
		Search: &share.Search{First: 1, Last: 9, Passed: time.UnixMilli(5), Now: time.UnixMilli(7), Most: 4},
	}},
	shareList:     {groups: []string{"a", "b"}},
	shareDescribe: {all: []share.Description{{Topic: topic.ID{1}, Partition: 2, Start: 3, End: 4, Acquired: 5, Delayed: 6, Available: 7, Members: []string{"ann"}}}},
	shareWatch:    {everyone: true, freed: []share.Key{someShareKey}},
	shareLeave:    {},
}

func TestAShareRequestArrivesAsItWasSent(t *testing.T) {
	for _, q := range shareRequests() {
		b, err := q.encode()
		require.NoError(t, err)
		got, err := decodeShareRequest(b)
		require.NoError(t, err)
		require.Equal(t, q, got)
	}
	for op, a := range shareAnswers {
		b, err := a.encode(op)
		require.NoError(t, err)
		got, err := decodeShareAnswer(op, b)
		require.NoError(t, err)
		require.Equal(t, a, got)
	}
	a := shareAnswer{errs: []error{nil, fault.InvalidRecordState}}
	b, err := a.encode(shareSettle)
	require.NoError(t, err)
	got, err := decodeShareAnswer(shareSettle, b)
	require.NoError(t, err)
	require.NoError(t, got.errs[0])
	require.ErrorIs(t, got.errs[1], fault.InvalidRecordState)
}

// What a coordinator could not write, or read again, is refused.
func TestAShareRequestThatMakesNoSenseIsRefused(t *testing.T) {
	for _, change := range []func(*shareRequest){
		func(q *shareRequest) { q.op = shareWatch + 1 },
		func(q *shareRequest) { q.number = -1 },
		func(q *shareRequest) { q.op, q.start = shareReset, -1 },
		func(q *shareRequest) { q.member = "" },
		func(q *shareRequest) { q.demand.Acquisition = 0 },
		func(q *shareRequest) { q.demand.Max = 0 },
		func(q *shareRequest) { q.demand.From = -1 },
		func(q *shareRequest) { q.op, q.wait = shareWatch, time.Hour },
		func(q *shareRequest) { q.op, q.found = sharePromote, []int64{7} },
	} {
		q := shareRequests()[shareAcquire-1]
		change(q)
		b, err := q.encode()
		require.NoError(t, err)
		_, err = decodeShareRequest(b)
		require.ErrorIs(t, err, fault.InvalidRequest, "%+v", q)
	}
}

// FuzzDecodeShareRequest: what another node asks never panics, and is refused or can be sent
// again.
func FuzzDecodeShareRequest(f *testing.F) {
	for _, q := range shareRequests() {
		b, err := q.encode()
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := decodeShareRequest(b)
		if err != nil {
			return
		}
		again, err := q.encode()
		require.NoError(t, err)
		back, err := decodeShareRequest(again)
		require.NoError(t, err)
		require.Equal(t, q, back)
	})
}

// FuzzDecodeShareAnswer: what another node answers never panics.
func FuzzDecodeShareAnswer(f *testing.F) {
	for op, a := range shareAnswers {
		b, err := a.encode(op)
		require.NoError(f, err)
		f.Add(int8(op), b)
	}
	f.Fuzz(func(t *testing.T, op int8, b []byte) {
		a, err := decodeShareAnswer(shareOp(op), b)
		if err != nil {
			return
		}
		again, err := a.encode(shareOp(op))
		require.NoError(t, err)
		back, err := decodeShareAnswer(shareOp(op), again)
		require.NoError(t, err)
		require.Equal(t, len(a.acquired.Ranges), len(back.acquired.Ranges))
		require.Equal(t, a.groups, back.groups)
		require.Equal(t, a.freed, back.freed)
	})
}
