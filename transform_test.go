package runnel_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

func transformer(t *testing.T, b *runnel.Broker, group string, opts ...consumer.Option) *consumer.Consumer {
	t.Helper()
	c, err := consumer.New(b, append(opts, consumer.Group(group), consumer.ReadCommitted(), consumer.ManualCommit())...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func groupAt(t *testing.T, b *runnel.Broker, group, name string, partition int32) int64 {
	t.Helper()
	offsets, err := b.GroupOffsets(t.Context(), group)
	if errors.Is(err, fault.GroupNotFound) {
		return 0
	}
	require.NoError(t, err)
	return offsets[record.TopicPartition{Topic: name, Partition: partition}].Offset
}

func sendNumbers(t *testing.T, b *runnel.Broker, name string, n int) (values []string) {
	t.Helper()
	p, err := producer.New(b)
	require.NoError(t, err)
	for i := range n {
		values = append(values, fmt.Sprint(i))
		_, err := p.Send(t.Context(), record.Record{Topic: name, Value: []byte(values[i])})
		require.NoError(t, err)
	}
	require.NoError(t, p.Close())
	return values
}

// TestTransformCountsEachRecordOnce: whatever fails, each record of the input has one in the
// output, in order, and the group is as far as the output.
func TestTransformCountsEachRecordOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "in"}, topic.Spec{Name: "out"}))
		want := sendNumbers(t, b, "in", 100)
		c, p := transformer(t, b, "g", consumer.Topics("in"), consumer.MaxRecords(3)), transactional(t, b, "stage")
		for attempt := 0; groupAt(t, b, "g", "in", 0) < 100; attempt++ {
			require.Less(t, attempt, 100)
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			batches := 0
			run := func() (err error) {
				defer func() {
					if recover() != nil {
						err = errRefused
					}
				}()
				return producer.Transform(ctx, p, c, func(tx *producer.Tx, records []record.Record) error {
					for _, r := range records {
						tx.SendAsync(ctx, record.Record{Topic: "out", Value: r.Value}, nil)
					}
					if batches++; batches < 2 {
						return nil
					}
					switch attempt % 4 {
					case 0:
						return errRefused
					case 1:
						stop() // so the commit fails
					case 2:
						panic("of the program")
					}
					return nil
				})
			}
			if err := run(); attempt%4 == 0 || attempt%4 == 2 {
				require.Equal(t, errRefused, err)
			} else {
				require.NoError(t, err)
			}
			stop()
			require.EqualValues(t, len(committedValues(t, b, "out", 1)[0]), groupAt(t, b, "g", "in", 0))
		}
		require.Equal(t, want, committedValues(t, b, "out", 1)[0])
		require.NoError(t, c.Close())
		require.NoError(t, p.Close())
		require.NoError(t, b.Close())
	})
}

// TestZombieSendsNoOffsets: a member that has lost its place may not have it in its
// transaction, and the one that reads after it waits until it is decided.
func TestZombieSendsNoOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		ctx := t.Context()
		require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "in"}, topic.Spec{Name: "out"}))
		sendNumbers(t, b, "in", 10)
		in := record.TopicPartition{Topic: "in"}

		slow := transformer(t, b, "g", consumer.Topics("in"), consumer.MaxRecords(4), consumer.RebalanceTimeout(time.Minute))
		records, err := slow.Poll(ctx)
		require.NoError(t, err)
		require.Len(t, records, 4)
		member, err := slow.GroupMetadata(ctx)
		require.NoError(t, err)
		p := transactional(t, b, "slow", producer.TransactionTimeout(5*time.Minute))
		require.NoError(t, p.Begin(ctx))
		require.NoError(t, p.SendOffsets(ctx, member, map[record.TopicPartition]consumer.Offset{in: {Offset: 4}}))
		_, err = p.Send(ctx, at("out", 0, "by the slow one"))
		require.NoError(t, err)
		require.Zero(t, groupAt(t, b, "g", "in", 0), "pending")
		waiting, cancel := context.WithTimeout(ctx, time.Second)
		_, err = slow.Committed(waiting, in)
		cancel()
		require.ErrorIs(t, err, fault.UnstableOffsetCommit)

		time.Sleep(2 * time.Minute) // its place is another's
		next := transformer(t, b, "g", consumer.Topics("in"))
		waiting, cancel = context.WithTimeout(ctx, time.Minute)
		_, err = next.Poll(waiting)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded, "whether it begins at 0 or at 4 is not decided")
		require.NoError(t, p.Commit(ctx))
		records, err = next.Poll(ctx)
		require.NoError(t, err)
		require.Len(t, records, 6)

		require.ErrorIs(t, producer.Transact(ctx, p, func(tx *producer.Tx) error {
			_, err := tx.Send(ctx, at("out", 0, "of a zombie"))
			require.NoError(t, err)
			err = tx.SendOffsets(ctx, member, map[record.TopicPartition]consumer.Offset{in: {Offset: 8}})
			require.ErrorIs(t, err, fault.UnknownMember)
			require.ErrorIs(t, p.Commit(ctx), fault.InvalidTxnState, "never without its offsets")
			return err
		}), fault.UnknownMember)
		require.EqualValues(t, 4, groupAt(t, b, "g", "in", 0))
		require.Equal(t, [][]string{{"by the slow one"}}, committedValues(t, b, "out", 1))
		for _, c := range []*consumer.Consumer{slow, next} {
			_ = c.Close()
		}
		require.NoError(t, p.Close())
		require.NoError(t, b.Close())
	})
}

// TestOffsetsOfAnAbandonedTransaction: a program that died leaves its group's offsets
// pending; they go with its transaction, by its successor or at its timeout.
func TestOffsetsOfAnAbandonedTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		ctx := t.Context()
		require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "in"}))
		sendNumbers(t, b, "in", 10)
		in := record.TopicPartition{Topic: "in"}
		group := consumer.GroupMetadata{Group: "g", MemberEpoch: -1}
		begin := func(id string) *producer.Producer {
			p := transactional(t, b, id, producer.TransactionTimeout(time.Minute))
			require.NoError(t, p.Begin(ctx))
			require.NoError(t, p.SendOffsets(ctx, group, map[record.TopicPartition]consumer.Offset{in: {Offset: 4}}))
			return p
		}
		require.NoError(t, begin("one").CloseNow())
		p := transactional(t, b, "one")
		c := transformer(t, b, "g")
		began := time.Now()
		offsets, err := c.Committed(ctx, in)
		require.NoError(t, err)
		require.Empty(t, offsets)
		require.Zero(t, time.Since(began), "its successor has aborted it")

		require.NoError(t, begin("two").CloseNow())
		offsets, err = c.Committed(ctx, in)
		require.NoError(t, err)
		require.Empty(t, offsets)
		require.WithinDuration(t, began.Add(time.Minute), time.Now(), time.Second)
		require.NoError(t, c.Close())
		require.NoError(t, p.Close())
		require.NoError(t, b.Close())
	})
}

// TestConsumersThatDoNotGoWithTransactions are refused before they do harm.
func TestConsumersThatDoNotGoWithTransactions(t *testing.T) {
	b, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "in"}))
	p := transactional(t, b, "stage")
	for _, opts := range [][]consumer.Option{
		{consumer.Group("g"), consumer.Topics("in"), consumer.ReadCommitted()},
		{consumer.Group("g"), consumer.Topics("in"), consumer.ManualCommit()},
		{consumer.Assign(record.TopicPartition{Topic: "in"}), consumer.ReadCommitted()},
	} {
		c, err := consumer.New(b, opts...)
		require.NoError(t, err)
		err = producer.Transform(t.Context(), p, c, nil)
		require.True(t, errors.Is(err, fault.InvalidConfig) || errors.Is(err, fault.InvalidGroup), err)
		require.NoError(t, c.Close())
	}
}
