package runnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// syncs counts how often the logs of partitions are synced.
type syncs struct {
	mu sync.Mutex
	of map[string]int // by partition
}

func countSyncs(fsys *vfs.Faulty) *syncs {
	s := &syncs{of: map[string]int{}}
	fsys.Add(vfs.Rule{On: vfs.OpSync, Match: func(path string) bool {
		if strings.HasSuffix(path, ".log") {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.of[filepath.Base(filepath.Dir(path))]++
		}
		return false
	}})
	return s
}

func (s *syncs) take() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.of
	s.of = map[string]int{}
	return was
}

// TestATransactionCostsOneRoundOfSyncs: each partition that it touches is synced once, its
// group's offsets too, and so is the decision; before that, nothing is.
func TestATransactionCostsOneRoundOfSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := vfs.NewFaulty(vfs.NewCrashable())
		b, err := openFixture(fsys)
		require.NoError(t, err)
		ctx := t.Context()
		require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: crashPartitions}))
		require.NoError(t, b.SetGroupOffsets(ctx, "g", map[record.TopicPartition]consumer.Offset{{Topic: "orders"}: {Offset: 0}}))
		p, err := producer.New(b, producer.TransactionalID("shop"), producer.Partitioner(topic.ManualPartitioner))
		require.NoError(t, err)
		counted, committed := countSyncs(fsys), 0
		for round, refused := range []error{nil, nil, errors.New("aborted by the program"), nil} {
			require.Equal(t, refused, producer.Transact(ctx, p, func(tx *producer.Tx) error {
				for i := range 5 {
					for n := range int32(crashPartitions) {
						if _, err := tx.Send(ctx, record.Record{Topic: "orders", Partition: n, Value: fmt.Append(nil, i)}); err != nil {
							return err
						}
					}
				}
				offsets := map[record.TopicPartition]consumer.Offset{{Topic: "orders"}: {Offset: int64(round)}}
				require.NoError(t, tx.SendOffsets(ctx, consumer.GroupMetadata{Group: "g", MemberEpoch: -1}, offsets))
				if round > 0 {
					require.Empty(t, counted.take())
				}
				counted.take() // a segment that begins is synced once
				return refused
			}))
			if refused == nil {
				committed += 5
			}
			require.Len(t, committedOf(t, b, record.TopicPartition{Topic: "orders"}), committed, "at once")
			did := counted.take()
			require.Len(t, did, crashPartitions+2, "%v", did)
			for name, n := range did {
				require.Equal(t, 1, n, "of %s in round %d: %v", name, round, did)
			}
		}
		require.NoError(t, p.Close())
		require.NoError(t, b.Close())
	})
}

// TestACommitWithoutAllItsRecordsIsNone: where the records of one partition cannot be made
// durable, none of the others' count, whatever became of the decision.
func TestACommitWithoutAllItsRecordsIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewCrashable()
		fsys := vfs.NewFaulty(disk)
		b, err := openFixture(fsys)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: crashPartitions}))
		p, err := producer.New(b, producer.TransactionalID("shop"), producer.Partitioner(topic.ManualPartitioner))
		require.NoError(t, err)
		require.NoError(t, p.Begin(ctx))
		for n := range int32(crashPartitions) {
			_, err := p.Send(ctx, record.Record{Topic: "orders", Partition: n, Value: []byte("half")})
			require.NoError(t, err)
		}
		fsys.Add(vfs.Rule{On: vfs.OpSync, Match: func(path string) bool { return strings.Contains(path, "orders-1") }, Err: errors.New("the disk fails")})
		require.ErrorIs(t, p.Commit(ctx), fault.UnknownOutcome)
		require.Empty(t, committedOf(t, b, record.TopicPartition{Topic: "orders"}))
		require.NoError(t, p.CloseNow())
		after := disk.After(vfs.Loss{Kept: vfs.KeepAll}) // although what could not be synced is there
		_ = b.Close()

		b, err = openFixture(after)
		require.NoError(t, err)
		p, err = producer.New(b, producer.TransactionalID("shop"))
		require.NoError(t, err)
		require.Equal(t, [crashPartitions][]string{}, committedIn(t, b))
		require.NoError(t, p.Close())
		require.NoError(t, b.Close())
	})
}

// TestAnOpenTransactionIsKnown although what it has added is not written by itself: behind a
// full disk, in a backup, and after a process was killed that has not written it.
func TestAnOpenTransactionIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewCrashable()
		fsys := vfs.NewFaulty(disk)
		b, err := openFixture(fsys)
		require.NoError(t, err)
		ctx := t.Context()
		require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: crashPartitions, Config: topic.Config{Durability: topic.OS}}))
		begin := func(b *Broker) *producer.Producer {
			p, err := producer.New(b, producer.TransactionalID("shop"), producer.Partitioner(topic.ManualPartitioner))
			require.NoError(t, err)
			require.NoError(t, p.Begin(ctx))
			for n := range int32(crashPartitions) {
				_, err := p.Send(ctx, record.Record{Topic: "orders", Partition: n, Value: []byte("v")})
				require.NoError(t, err)
			}
			return p
		}
		p := begin(b)
		full := fsys.Add(vfs.Rule{On: vfs.OpWrite, Match: func(path string) bool { return strings.Contains(path, topic.TransactionState) }, Err: syscall.ENOSPC})
		require.ErrorIs(t, p.Commit(ctx), fault.DiskFull)
		full()
		var backup bytes.Buffer
		require.NoError(t, b.Backup(ctx, &backup))
		require.NoError(t, p.Commit(ctx))
		committed := [crashPartitions][]string{{"v"}, {"v"}, {"v"}}
		require.Equal(t, committed, committedIn(t, b))
		require.NoError(t, p.Close())

		p = begin(b)
		killed := disk.After(vfs.Loss{Kept: vfs.KeepAll})
		require.NoError(t, p.Abort(ctx))
		require.NoError(t, p.Close())
		require.NoError(t, b.Close())

		again, err := openFixture(killed)
		require.NoError(t, err)
		p = begin(again)
		require.NoError(t, p.Abort(ctx))
		require.Equal(t, committed, committedIn(t, again))
		require.NoError(t, p.Close())
		require.NoError(t, again.Close())

		dir := filepath.Join(t.TempDir(), "restored")
		require.NoError(t, datadir.Restore(ctx, dir, &backup))
		copied, err := Open(dir, NoSocket())
		require.NoError(t, err)
		listed, err := copied.ListTransactions(ctx)
		require.NoError(t, err)
		require.Len(t, listed, 1)
		require.Equal(t, "Ongoing", listed[0].State)
		p = begin(copied)
		require.NoError(t, p.Abort(ctx))
		require.Equal(t, [crashPartitions][]string{}, committedIn(t, copied))
		require.NoError(t, p.Close())
		require.NoError(t, copied.Close())
	})
}
