package runnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// transactionMoment is a disk as a power loss leaves it while transactions run, with what
// was acknowledged before: by number, whether a transaction was committed or aborted.
type transactionMoment struct {
	name  string
	open  func(vfs.FS) (*Broker, error)
	disk  *vfs.Crashable
	acked map[int]bool
	seen  [crashPartitions]int64 // the offsets that readers have reached
}

const (
	crashTransactions = 6
	crashPartitions   = 3
)

// line is a group whose offset the transactions send: how many have run.
var line = consumer.GroupMetadata{Group: "line", MemberEpoch: -1}

var errAborted = errors.New("aborted by the program")

// placesOf returns the partitions that a transaction of the scenario writes to, two records
// to each.
func placesOf(number int) []int32 {
	return []int32{int32(number % crashPartitions), int32((number + 1) % crashPartitions)}
}

// TestPowerLossWithinTransactions loses power at every change that transactions make on
// the disk: the records of each are there in all of its partitions, or in none; all of one
// that was committed, and none of one that was aborted.
func TestPowerLossWithinTransactions(t *testing.T) {
	endWithinTransactions(t, topic.Fsync, func(seed uint64) []vfs.Loss {
		return []vfs.Loss{{Kept: vfs.KeepNone}, {Kept: vfs.KeepAll}, vfs.RandomLoss(seed), vfs.RandomLoss(seed + 1)}
	})
}

// TestKillWithinTransactions is the same for topics whose records count when the operating
// system has them, where the program ends: what it has written is there.
func TestKillWithinTransactions(t *testing.T) {
	for _, d := range []topic.Durability{topic.OS, topic.Memory} {
		t.Run(d.String(), func(t *testing.T) {
			endWithinTransactions(t, d, func(uint64) []vfs.Loss { return []vfs.Loss{{Kept: vfs.KeepAll}} })
		})
	}
}

// endWithinTransactions runs transactions at a durability, and checks what each of the losses
// leaves at every change of the disk.
func endWithinTransactions(t *testing.T, d topic.Durability, losses func(seed uint64) []vfs.Loss) {
	disk := vfs.NewCrashable()
	fsys := vfs.NewFaulty(disk)
	open := func(fsys vfs.FS) (*Broker, error) { return openFixtureAt(fsys, d) }
	b, err := open(fsys)
	require.NoError(t, err)
	ctx := t.Context()
	require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: crashPartitions}))
	var mu sync.Mutex
	acked := map[int]bool{}
	var moments []transactionMoment
	seed := 0
	remove := fsys.Add(vfs.Rule{On: vfs.OpChange, Do: func() {
		mu.Lock()
		defer mu.Unlock()
		now := map[int]bool{} // first: what is acknowledged meanwhile may be lost here
		for number, committed := range acked {
			now[number] = committed
		}
		var seen [crashPartitions]int64
		orders, _ := b.host.Lookup("orders")
		for n, p := range orders.Partitions() {
			seen[n] = p.HighWatermark()
		}
		for _, loss := range losses(uint64(seed)) {
			moments = append(moments, transactionMoment{fmt.Sprintf("change %d, %+v", seed/2, loss), open, disk.After(loss), now, seen})
		}
		seed += 2
	}})
	p, err := producer.New(b, producer.TransactionalID("shop"), producer.Partitioner(topic.ManualPartitioner))
	require.NoError(t, err)
	for number := range crashTransactions {
		err := producer.Transact(ctx, p, func(tx *producer.Tx) error {
			for i := range 2 {
				for _, n := range placesOf(number) {
					tx.SendAsync(ctx, record.Record{Topic: "orders", Partition: n, Value: fmt.Appendf(nil, "%d.%d", number, i)}, nil)
				}
			}
			if number%3 == 2 {
				err := tx.SendOffsets(ctx, line, map[record.TopicPartition]consumer.Offset{{Topic: "orders"}: {Offset: 1000}})
				return cmp.Or(err, errAborted)
			}
			return tx.SendOffsets(ctx, line, map[record.TopicPartition]consumer.Offset{{Topic: "orders"}: {Offset: int64(number + 1)}})
		})
		if err != nil {
			require.Equal(t, errAborted, err)
		}
		mu.Lock()
		acked[number] = err == nil
		mu.Unlock()
	}
	remove()
	require.NoError(t, p.Close())
	require.NoError(t, b.Close())
	require.Greater(t, seed, 100, "too few changes")
	for _, m := range moments {
		m.check(t)
	}
}

// withoutMarkers returns a producer that has sent a record to each partition of orders in
// a transaction. When it is committed, its markers cannot be written to paths with that
// text; then refused is called.
func withoutMarkers(ctx context.Context, t *testing.T, b *Broker, fsys *vfs.Faulty, path string, refused func()) *producer.Producer {
	require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: crashPartitions}))
	p, err := producer.New(b, producer.TransactionalID("shop"), producer.Partitioner(topic.ManualPartitioner))
	require.NoError(t, err)
	require.NoError(t, p.Begin(ctx))
	for n := range int32(crashPartitions) {
		_, err := p.Send(ctx, record.Record{Topic: "orders", Partition: n, Value: []byte("decided")})
		require.NoError(t, err)
	}
	var synced atomic.Int32 // how many partitions: what is written to them after that is markers
	fsys.Add(vfs.Rule{On: vfs.OpSync, Match: func(path string) bool { return strings.Contains(path, "orders-") }, Do: func() { synced.Add(1) }})
	fsys.Add(vfs.Rule{
		On: vfs.OpWrite, Match: func(at string) bool { return strings.Contains(at, path) && synced.Load() >= crashPartitions },
		Do: refused, Err: errors.New("no marker is written"),
	})
	return p
}

// TestDecidedTransactionIsCompletedByItself loses power when a transaction is decided and
// none of its markers is written. The broker that opens then writes them, without a
// producer.
func TestDecidedTransactionIsCompletedByItself(t *testing.T) {
	disk := vfs.NewCrashable()
	fsys := vfs.NewFaulty(disk)
	b, err := openFixture(fsys)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := withoutMarkers(ctx, t, b, fsys, "orders-", cancel)
	require.ErrorIs(t, p.Commit(ctx), fault.UnknownOutcome)
	after := disk.After(vfs.Loss{Kept: vfs.KeepNone})
	require.NoError(t, p.CloseNow())
	_ = b.Close()

	b, err = openFixture(after)
	require.NoError(t, err)
	c, err := consumer.New(b, consumer.Assign(record.TopicPartition{Topic: "orders"}), consumer.ReadCommitted())
	require.NoError(t, err)
	records, err := c.Poll(t.Context())
	require.NoError(t, err)
	require.Len(t, records, 1)
	require.Equal(t, "decided", string(records[0].Value))
	require.NoError(t, c.Close())
	require.NoError(t, b.Close())
}

func (m *transactionMoment) check(t *testing.T) {
	b, err := m.open(m.disk)
	require.NoError(t, err, m.name)
	p, err := producer.New(b, producer.TransactionalID("shop")) // after it, nothing is undecided
	require.NoError(t, err, m.name)
	orders, _ := b.host.Lookup("orders")
	for n, p := range orders.Partitions() {
		require.GreaterOrEqual(t, p.HighWatermark(), m.seen[n], "%s: a consumer's offset is outside", m.name)
	}
	seen := committedIn(t, b)
	last := 0
	for number := range crashTransactions {
		places := map[string]int{}
		for _, values := range seen {
			for _, value := range values {
				if strings.HasPrefix(value, fmt.Sprint(number, ".")) {
					places[value]++
				}
			}
		}
		if len(places) > 0 {
			require.Equal(t, map[string]int{fmt.Sprint(number, ".0"): 2, fmt.Sprint(number, ".1"): 2}, places, "%s: a part of transaction %d: %v", m.name, number, seen)
			require.NotEqual(t, 2, number%3, "%s: it was never to be committed", m.name)
			last = number + 1
		}
		if committed, known := m.acked[number]; known {
			require.Equal(t, committed, len(places) > 0, "%s: transaction %d: %v", m.name, number, seen)
		}
	}
	offsets, err := b.GroupOffsets(t.Context(), line.Group)
	if last > 0 || err == nil {
		require.NoError(t, err, m.name)
		require.EqualValues(t, last, offsets[record.TopicPartition{Topic: "orders"}].Offset, "%s: the group's offset", m.name)
	}
	require.NoError(t, p.Close(), m.name)
	require.NoError(t, b.Close(), m.name)
}

// committedIn returns the committed values of each partition.
func committedIn(t *testing.T, b *Broker) (values [crashPartitions][]string) {
	for n := range int32(crashPartitions) {
		values[n] = committedOf(t, b, record.TopicPartition{Topic: "orders", Partition: n})
	}
	return values
}

// committedOf returns the committed values of a partition, in which no transaction is open.
func committedOf(t *testing.T, b *Broker, tp record.TopicPartition) (values []string) {
	ctx := t.Context()
	c, err := consumer.New(b, consumer.Assign(tp), consumer.ReadCommitted())
	require.NoError(t, err)
	ends, err := b.ListOffsets(ctx, topic.Latest(), tp)
	require.NoError(t, err)
	lag, err := c.Lag(ctx)
	require.NoError(t, err)
	require.Equal(t, ends[tp].Offset, lag[tp], "an open transaction")
	for lag[tp] > 0 {
		records, err := c.Poll(ctx)
		require.NoError(t, err)
		for _, r := range records {
			values = append(values, string(r.Value))
		}
		lag, err = c.Lag(ctx)
		require.NoError(t, err)
	}
	require.NoError(t, c.Close())
	return values
}
