package runnel

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/callback"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

var (
	chaosRounds = flag.Int("chaos.rounds", 8, "how many rounds of chaos producers go through")
	chaosSeed   = flag.Uint64("chaos.seed", 0, "the seed of the first round")
)

// TestProducersInChaos has several goroutines share a producer, here or through
// the socket, while its disk fills up, contexts end, callbacks panic and end their
// goroutine, and everything is closed at some moment. Every record completes once,
// nothing hangs, nothing is held in the end, and the log has what was acknowledged
// and nothing that was refused.
func TestProducersInChaos(t *testing.T) {
	for round := range uint64(*chaosRounds) {
		seed := *chaosSeed + round
		hangs := time.AfterFunc(5*time.Minute, func() { panic(fmt.Sprintf("chaos hangs: -chaos.rounds=1 -chaos.seed=%d", seed)) })
		t.Run(fmt.Sprint(seed), func(t *testing.T) { newChaos(t, seed).run() })
		if hangs.Stop(); t.Failed() {
			t.Fatalf("again: -chaos.rounds=1 -chaos.seed=%d", seed)
		}
	}
}

const chaosRecords = 400 // of each sender

type chaos struct {
	t        *testing.T
	seed     uint64
	rng      *rand.Rand
	disk     *vfs.Faulty
	broker   *Broker
	attached bool
	backend  producer.Backend
	p        *producer.Producer
	senders  []*chaosSender
}

// chaosSender sends records with numbers of its own.
type chaosSender struct {
	*chaos
	number int
	rng    *rand.Rand
	sent   int
	told   [chaosRecords]atomic.Int32
	at     [chaosRecords]record.Position
	errs   [chaosRecords]error
	over   chan struct{}
}

func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

func newChaos(t *testing.T, seed uint64) *chaos {
	c := &chaos{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 2)), disk: vfs.NewFaulty(vfs.NewMemory())}
	c.broker = openOn(t, c.disk)
	c.backend = c.broker
	if c.attached = c.rng.IntN(2) == 0; c.attached {
		c.backend = attachedTo(t, c.broker)
	}
	require.NoError(t, c.broker.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2, Config: topic.Config{
		Durability: pick(c.rng, topic.Memory, topic.OS, topic.Fsync), SegmentBytes: 20_000,
	}}))
	batch := pick(c.rng, 200, 1000, 5000)
	p, err := producer.New(c.backend,
		producer.Linger(pick(c.rng, 0, 0, time.Millisecond, time.Hour)),
		producer.BatchBytes(batch), producer.BufferBytes(pick(c.rng, batch+500, 5*batch, 100_000)),
		producer.Compression(pick(c.rng, record.None, record.None, record.LZ4)),
		producer.Idempotence(c.rng.IntN(4) > 0), producer.Partitioner(topic.ManualPartitioner),
		producer.CloseTimeout(pick(c.rng, 0, time.Millisecond, 10*time.Second)))
	require.NoError(t, err)
	c.p = p
	for n := range 3 {
		c.senders = append(c.senders, &chaosSender{chaos: c, number: n, rng: rand.New(rand.NewPCG(seed, uint64(3+n))), over: make(chan struct{})})
	}
	return c
}

func (c *chaos) run() {
	for _, s := range c.senders {
		callback.Go(s.step)
	}
	closed := c.disturb()
	for _, s := range c.senders {
		<-s.over
	}
	c.disk.SetFree(-1)
	if !closed {
		_ = c.p.Flush(context.Background())
		c.nothingIsHeld()
	}
	_ = c.p.Close()
	for _, s := range c.senders {
		for n := range s.sent {
			if told := s.told[n].Load(); told != 1 {
				c.t.Errorf("record %d of sender %d was told %d times", n, s.number, told)
			}
		}
	}
	c.compare()
	require.NoError(c.t, c.broker.Close())
}

func (c *chaos) nothingIsHeld() {
	if !c.attached {
		NothingIsHeld(c.t, c.broker)
	}
}

// disturb does what must not matter, and perhaps closes something, which it
// reports.
func (c *chaos) disturb() (closed bool) {
	ending := c.rng.IntN(6)
	for range c.rng.IntN(60) {
		switch c.rng.IntN(5) {
		case 0:
			c.disk.SetFree(c.rng.Int64N(3000))
		case 1, 2:
			c.disk.SetFree(-1)
		case 3:
			ctx, cancel := context.WithTimeout(context.Background(), pick(c.rng, 0, time.Microsecond, 100*time.Microsecond))
			_ = c.p.Flush(ctx)
			cancel()
		case 4:
			for range c.rng.IntN(200) {
				runtime.Gosched()
			}
		}
	}
	switch ending {
	case 0:
		c.disk.SetFree(-1)
		_ = c.p.Close()
	case 1:
		_ = c.p.CloseNow()
	case 2:
		var both sync.WaitGroup
		both.Go(func() { _ = c.p.Close() })
		both.Go(func() { _ = c.p.CloseNow() })
		both.Wait()
	case 3:
		if client, ok := c.backend.(io.Closer); ok && c.attached {
			_ = client.Close()
			return true
		}
		return false
	default:
		for { // somebody must make room for those who wait
			select {
			case <-c.senders[0].over:
				return false
			default:
				c.disk.SetFree(-1)
				ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
				_ = c.p.Flush(ctx)
				cancel()
			}
		}
	}
	return true
}

// step sends one record.
func (s *chaosSender) step() (more bool) {
	if s.sent == chaosRecords {
		close(s.over)
		return false
	}
	defer func() {
		if recover() != nil {
			more = true
		}
	}()
	n := s.sent
	s.sent++
	value := binary.BigEndian.AppendUint32(nil, uint32(s.number<<16|n))
	value = append(value, make([]byte, pick(s.rng, 0, 10, 150))...)
	if s.rng.IntN(40) == 0 {
		value = append(value, make([]byte, 1500)...)
	}
	r := record.Record{Topic: "orders", Partition: int32(s.rng.IntN(2)), Value: value}
	ctx, cancel := context.Background(), func() {}
	if s.rng.IntN(3) == 0 {
		ctx, cancel = context.WithTimeout(ctx, pick(s.rng, 0, 10*time.Microsecond, time.Millisecond))
	}
	defer cancel()
	if s.rng.IntN(20) == 0 && ctx.Done() != nil {
		at, err := s.p.Send(ctx, r)
		s.note(n, at, err)
		return true
	}
	what := s.rng.IntN(10)
	s.p.SendAsync(ctx, r, func(at record.Position, err error) {
		s.note(n, at, err)
		switch what {
		case 0:
			panic("in chaos")
		case 1:
			runtime.Goexit()
		case 2:
			runtime.Gosched()
		}
	})
	return true
}

func (s *chaosSender) note(n int, at record.Position, err error) {
	s.at[n], s.errs[n] = at, err
	s.told[n].Add(1)
}

// compare holds the log against what was told.
func (c *chaos) compare() {
	var where [3][chaosRecords]int64
	for i := range where {
		for n := range where[i] {
			where[i][n] = -1
		}
	}
	for partition := range int32(2) {
		for _, batch := range batchesOf(c.t, c.broker, record.TopicPartition{Topic: "orders", Partition: partition}) {
			it, err := batch.Records(c.broker.host.Codec())
			require.NoError(c.t, err)
			last := [3]int{-1, -1, -1}
			for r := (record.Record{}); it.Next(&r); {
				id := binary.BigEndian.Uint32(r.Value)
				i, n := id>>16, int(id&0xffff)
				require.EqualValues(c.t, -1, where[i][n], "written twice")
				require.Greater(c.t, n, last[i], "out of order")
				where[i][n], last[i] = r.Offset, n
			}
		}
	}
	for i, s := range c.senders {
		for n := range s.sent {
			switch err := s.errs[n]; {
			case err == nil:
				require.Equal(c.t, s.at[n].Offset, where[i][n], "seed %d, sender %d, record %d", c.seed, i, n)
			case errors.Is(err, fault.UnknownOutcome), errors.Is(err, fault.Closed):
			default:
				require.EqualValues(c.t, -1, where[i][n], "seed %d, sender %d, record %d was refused with %v", c.seed, i, n, err)
			}
		}
	}
}
