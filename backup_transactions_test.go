package runnel_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// TestBackupWhileTransactionsRun takes backups while transactions write to topics that are cut before and
// behind the coordinators', and commit offsets. In what is restored each of them counts as a whole, or
// not at all, and none stays open.
func TestBackupWhileTransactionsRun(t *testing.T) {
	for _, durability := range []topic.Durability{topic.Memory, topic.Fsync} {
		t.Run(durability.String(), func(t *testing.T) {
			b := openDir(t, t.TempDir(), runnel.DefaultDurability(durability))
			backupWithTransactions(t, b)
		})
	}
}

func backupWithTransactions(t *testing.T, b *runnel.Broker) {
	const workers = 3
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "Before", Partitions: workers}, topic.Spec{Name: "Between", Partitions: 100}, topic.Spec{Name: "behind", Partitions: workers}))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var work sync.WaitGroup
	begun := make(chan struct{}, workers)
	for n := range int32(workers) {
		p := transactional(t, b, fmt.Sprint("worker-", n))
		group := consumer.GroupMetadata{Group: fmt.Sprint("group-", n), MemberEpoch: -1}
		work.Go(func() {
			for i := int64(0); ctx.Err() == nil; i++ {
				err := producer.Transact(context.Background(), p, func(tx *producer.Tx) error {
					tx.SendAsync(context.Background(), at("Before", n, fmt.Sprint(i)), nil)
					tx.SendAsync(context.Background(), at("behind", n, fmt.Sprint(i)), nil)
					return tx.SendOffsets(context.Background(), group, map[record.TopicPartition]consumer.Offset{{Topic: "Between", Partition: n}: {Offset: i + 1}})
				})
				if err != nil {
					t.Errorf("transaction %d: %v", i, err)
					return
				}
				if i == 10 {
					begun <- struct{}{}
				}
			}
		})
	}
	for range workers {
		<-begun
	}
	var backups [][]byte
	for range 6 {
		backups = append(backups, backupOf(t, b))
	}
	stop()
	work.Wait()
	for _, backup := range backups {
		r := restored(t, backup)
		for n := range int32(workers) {
			require.NoError(t, transactional(t, r, fmt.Sprint("worker-", n)).Close()) // what was open is aborted
		}
		before, behind := committedValues(t, r, "Before", workers), committedValues(t, r, "behind", workers)
		require.Equal(t, before, behind)
		for n := range int32(workers) {
			require.Greater(t, len(before[n]), 10)
			offsets, err := r.GroupOffsets(t.Context(), fmt.Sprint("group-", n))
			require.NoError(t, err)
			require.EqualValues(t, len(before[n]), offsets[record.TopicPartition{Topic: "Between", Partition: n}].Offset)
		}
		require.NoError(t, r.Close())
	}
}
