package streams

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
)

// stamped is a source of which only timestamps matter.
type stamped struct{}

func (stamped) process(*record.Record) error { return nil }

func (stamped) peek(r *record.Record) int64 { return r.Timestamp.UnixMilli() }

func (stamped) time() int64 { return -1 }

func (stamped) resume(int64) {}

// fakePartition is a queue, and what is fetched from its partition, piece by piece.
type fakePartition struct {
	*queue
	written []record.Record
	fetched int
}

// fetch passes up to n records on to the queue.
func (p *fakePartition) fetch(n int) {
	n = min(n, len(p.written)-p.fetched)
	p.push(consumer.Fetched{
		TopicPartition: p.tp, Records: slices.Clone(p.written[p.fetched : p.fetched+n]),
		Next: int64(p.fetched + n), HighWatermark: int64(len(p.written)), LeaderEpoch: 7,
	})
	p.fetched += n
}

// Whatever is fetched when, the order is the one of a merge of the whole partitions
// by the timestamps of their heads, and the offsets to commit are behind what was
// processed.
func TestInputsChooseTheSmallestTimestamp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in inputs
		var partitions []*fakePartition
		places := rapid.Permutation([]int{0, 1, 2, 3}).Draw(t, "places")[:rapid.IntRange(2, 4).Draw(t, "partitions")]
		for _, place := range places {
			p := &fakePartition{queue: &queue{tp: record.TopicPartition{Topic: "t", Partition: int32(place)}, source: stamped{}, place: place}}
			for offset := range rapid.IntRange(0, 20).Draw(t, "records") {
				p.written = append(p.written, record.Record{
					Topic: "t", Partition: p.tp.Partition, Offset: int64(offset), Timestamp: time.UnixMilli(rapid.Int64Range(0, 30).Draw(t, "ms")),
				})
			}
			in.add(p.queue)
			partitions = append(partitions, p)
		}
		slices.SortFunc(partitions, func(a, b *fakePartition) int { return a.place - b.place })
		want := merged(partitions)

		var got []record.Position
		for len(got) < len(want) {
			for in.ready() {
				q, records := in.next()
				require.NotEmpty(t, records)
				for _, r := range records {
					got = append(got, r.Position())
				}
				last := records[len(records)-1].Offset
				next, done := q.pop(len(records))
				require.Equal(t, last+1, next.Offset)
				require.Equal(t, done != nil, next.LeaderEpoch == 7, "the epoch of the last record read is known at the end of what was fetched")
			}
			p := rapid.SampledFrom(partitions).Draw(t, "fetched")
			p.fetch(rapid.IntRange(0, 7).Draw(t, "n"))
		}
		require.Equal(t, want, got)
		require.False(t, in.holds())
	})
}

// merged returns all records in the order in which a task that has all of them
// processes them.
func merged(partitions []*fakePartition) (order []record.Position) {
	at := make([]int, len(partitions))
	for {
		least := -1
		for i, p := range partitions {
			if at[i] < len(p.written) && (least < 0 || p.written[at[i]].Timestamp.Before(partitions[least].written[at[least]].Timestamp)) {
				least = i
			}
		}
		if least < 0 {
			return order
		}
		order = append(order, partitions[least].written[at[least]].Position())
		at[least]++
	}
}

func TestInputsWaitForWhatMayCome(t *testing.T) {
	held := func(wait time.Duration) (*inputs, *queue) {
		in := &inputs{wait: wait}
		full := &fakePartition{queue: &queue{source: stamped{}}, written: make([]record.Record, 1)}
		empty := &queue{source: stamped{}, place: 1}
		in.add(full.queue)
		in.add(empty)
		require.False(t, in.ready(), "nothing to process")
		full.fetch(1)
		return in, empty
	}
	synctest.Test(t, func(t *testing.T) {
		in, empty := held(0)
		require.False(t, in.ready(), "the other partition may have earlier records")
		require.Equal(t, consumer.UntilDone, in.patience())
		empty.atEnd = true
		require.True(t, in.ready())

		in, _ = held(-1)
		require.True(t, in.ready())

		in, empty = held(time.Second)
		require.False(t, in.ready())
		empty.atEnd = true
		require.False(t, in.ready())
		require.Equal(t, time.Second, in.patience())
		time.Sleep(time.Second)
		require.Zero(t, in.patience())
		require.True(t, in.ready())
		empty.push(consumer.Fetched{Records: make([]record.Record, 1), Next: 1, HighWatermark: 1})
		require.True(t, in.ready())
		q, records := in.next()
		q.pop(len(records))
		require.False(t, in.ready(), "the waiting starts over")
	})
}
