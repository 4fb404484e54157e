package runnel

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

var pipelineSeeds = flag.Int("exactly.seeds", 6, "on how many simulated disks a pipeline runs; make exactly has 300")

// pipeline is three stages that read, transform and write in transactions, from one topic to
// the next. Each input is a key with the key's next number, so that what is lost, twice or out
// of order shows at its end.
type pipeline struct {
	partitions    [3]int // of the topics that the stages read
	keys, records int
	batch         int           // the most records of one transaction
	life          time.Duration // the longest that a member stays
}

func stageTopic(n int) string { return fmt.Sprint("stage-", n) }

// create creates the topics, and sends the input.
func (l pipeline) create(ctx context.Context, b *Broker) error {
	for n, partitions := range append(l.partitions[:], l.partitions[0]) {
		if err := b.CreateTopics(ctx, topic.Spec{Name: stageTopic(n), Partitions: partitions}); err != nil {
			return err
		}
	}
	p, err := producer.New(b)
	if err != nil {
		return err
	}
	for i := range l.records {
		p.SendAsync(ctx, record.Record{Topic: stageTopic(0), Key: strconv.AppendInt(nil, int64(i%l.keys), 10), Value: strconv.AppendInt(nil, int64(i/l.keys), 10)}, nil)
	}
	return p.Close()
}

// run runs two members of each stage, which come and go, until ctx ends.
func (l pipeline) run(ctx context.Context, b *Broker, seed uint64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var members sync.WaitGroup
	for stage := range 3 {
		for n := range 2 {
			random := rand.New(rand.NewPCG(seed, uint64(2*stage+n)))
			members.Go(func() {
				for ctx.Err() == nil {
					life, end := context.WithTimeout(ctx, l.life/10+time.Duration(random.Int64N(int64(l.life))))
					err := l.member(life, b, stage, n, random.IntN(2) == 0)
					end()
					if err != nil && !errors.Is(err, fault.Closed) {
						cancel(fmt.Errorf("stage %d, member %d: %w", stage, n, err))
					}
				}
			})
		}
	}
	members.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return nil
}

// member is one life of a member. A sudden one leaves its transaction open.
func (l pipeline) member(ctx context.Context, b *Broker, stage, n int, sudden bool) error {
	p, err := producer.New(b, producer.TransactionalID(fmt.Sprintf("stage-%d-%d", stage, n)))
	if err != nil {
		return err
	}
	defer func() {
		if sudden {
			_ = p.CloseNow()
		} else {
			_ = p.Close()
		}
	}()
	c, err := consumer.New(b, consumer.Group(fmt.Sprint("group-", stage)), consumer.Topics(stageTopic(stage)),
		consumer.ReadCommitted(), consumer.ManualCommit(), consumer.MaxRecords(l.batch))
	if err != nil {
		return err
	}
	defer c.Close()
	return producer.Transform(ctx, p, c, func(tx *producer.Tx, records []record.Record) error {
		for _, r := range records {
			tx.SendAsync(ctx, record.Record{Topic: stageTopic(stage + 1), Key: r.Key, Value: r.Value}, nil)
		}
		return ctx.Err()
	})
}

// finish runs the pipeline until all of the input is at its end, once and in order.
func (l pipeline) finish(t *testing.T, b *Broker, seed uint64) {
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
	defer stop()
	ran := make(chan error, 1)
	go func() {
		ran <- l.run(ctx, b, seed)
		stop()
	}()
	defer func() {
		stop()
		<-ran
	}()
	var all []record.TopicPartition
	for n := range l.partitions[0] {
		all = append(all, record.TopicPartition{Topic: stageTopic(3), Partition: int32(n)})
	}
	c, err := consumer.New(b, consumer.Assign(all...), consumer.ReadCommitted())
	require.NoError(t, err)
	defer c.Close()
	next := map[string]int{}
	read := func(records []record.Record) {
		for _, r := range records {
			require.Equal(t, strconv.Itoa(next[string(r.Key)]), string(r.Value), "of key %s, at %v", r.Key, r.Position())
			next[string(r.Key)]++
		}
	}
	for n := 0; n < l.records; {
		records, err := c.Poll(ctx)
		if err != nil {
			stop()
			why := <-ran
			ran <- nil
			require.NoError(t, errors.Join(err, why), "%d of %d records are there", n, l.records)
		}
		read(records)
		n += len(records)
	}
	stop() // what is still written would be too much
	require.NoError(t, <-ran)
	ran <- nil
	for {
		records, err := c.Poll(ctx)
		read(records)
		if err != nil {
			break
		}
	}
	for key, n := range next {
		require.Equal(t, l.records/l.keys, n, "of key %s", key)
	}
	require.Len(t, next, l.keys)
}

// TestPipelineOnDisksThatLosePower runs a pipeline on disks that lose power several times,
// with any loss, from a seed.
func TestPipelineOnDisksThatLosePower(t *testing.T) {
	l := pipeline{partitions: [3]int{2, 3, 4}, keys: 5, records: 200, batch: 10, life: 100 * time.Millisecond}
	for seed := range uint64(*pipelineSeeds) {
		random := rand.New(rand.NewPCG(seed, 99))
		disk := vfs.NewCrashable()
		b, err := openFixture(disk)
		require.NoError(t, err)
		require.NoError(t, l.create(t.Context(), b))
		for crash := range 3 {
			require.NoError(t, b.Close())
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			fsys := vfs.NewFaulty(disk)
			var after *vfs.Crashable
			var once sync.Mutex
			left := 1 + random.IntN(400)
			loss := vfs.RandomLoss(random.Uint64())
			fsys.Add(vfs.Rule{On: vfs.OpChange, Do: func() {
				once.Lock()
				defer once.Unlock()
				if left--; left == 0 {
					after = disk.After(loss)
					stop()
				}
			}})
			b, err = openFixture(fsys)
			require.NoError(t, err)
			if after == nil {
				require.NoError(t, l.run(ctx, b, seed*10+uint64(crash)))
			}
			stop()
			_ = b.Close()
			once.Lock()
			if after != nil {
				disk = after
			}
			once.Unlock()
			b, err = openFixture(disk)
			require.NoError(t, err, "seed %d", seed)
		}
		if !t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { l.finish(t, b, seed) }) {
			return
		}
		require.NoError(t, b.Close())
	}
}
