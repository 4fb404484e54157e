package replicatest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/memory"
	"github.com/runnel-go/runnel/replica/replicatest"
	"github.com/runnel-go/runnel/runneltest"
	"github.com/runnel-go/runnel/topic"
)

const (
	shoppers    = 8 // clients
	shopperIDs  = 6 // transactional IDs: some clients share one, and fence each other
	shopperRuns = 8 // what each does
	shopLine    = "line"
)

// mall is where clients append, read and run transactions, while brokers die.
type mall struct {
	t       *testing.T
	history *transactionHistory
	tps     []record.TopicPartition

	mu      sync.Mutex
	brokers []*runnel.Broker // that run
}

func newMall(t *testing.T, tps []record.TopicPartition, brokers ...*runnel.Broker) *mall {
	return &mall{t: t, history: &transactionHistory{unclear: map[string]porcupine.Operation{}}, tps: tps, brokers: brokers}
}

// broker returns a client's broker.
func (m *mall) broker(client int) *runnel.Broker {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.brokers[client%len(m.brokers)]
}

// use sets which brokers run.
func (m *mall) use(brokers ...*runnel.Broker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.brokers = brokers
}

// run lets all clients do what they do, while disturb disturbs them.
func (m *mall) run(draw *rand.Rand, disturb func(ended <-chan struct{})) {
	ended := make(chan struct{})
	var clients sync.WaitGroup
	for n := range shoppers {
		s := &shopper{mall: m, client: n, id: fmt.Sprint("shopper ", n%shopperIDs), draw: rand.New(rand.NewPCG(draw.Uint64(), 0))}
		clients.Go(s.run)
	}
	go func() {
		clients.Wait()
		close(ended)
	}()
	disturb(ended)
	<-ended
}

// check settles what is open, reads all that is committed, and checks the history.
func (m *mall) check() {
	t, b := m.t, m.broker(0)
	for n := range shopperIDs {
		m.fence(b, fmt.Sprint("shopper ", n))
	}
	there := map[string]map[string]int64{}
	for _, tp := range m.tps {
		there[tp.String()] = map[string]int64{}
		ends, err := b.ListOffsets(t.Context(), topic.Latest(), tp)
		require.NoError(t, err)
		c, err := consumer.New(b, consumer.Assign(tp), consumer.ReadCommitted())
		require.NoError(t, err)
		for at := int64(0); at < ends[tp].Offset; {
			records, err := c.Poll(t.Context())
			require.NoError(t, err)
			for _, r := range records {
				require.NotContains(t, there[tp.String()], string(r.Value), "twice")
				there[tp.String()][string(r.Value)] = r.Offset
			}
			at, err = c.Position(t.Context(), tp)
			require.NoError(t, err)
		}
		require.NoError(t, c.Close())
	}
	m.history.check(t, there)
}

// fence opens a producer, so that nothing of its transactional ID is open any more.
func (m *mall) fence(b *runnel.Broker, id string) {
	asked := m.history.tick()
	p, err := producer.New(b, producer.TransactionalID(id))
	require.NoError(m.t, err)
	m.history.fenced(id, asked)
	require.NoError(m.t, p.Close())
}

// shopper is one client.
type shopper struct {
	*mall
	client int
	id     string
	draw   *rand.Rand
	p      *producer.Producer // of transactions, or nil
}

func (s *shopper) run() {
	for range shopperRuns {
		time.Sleep(time.Duration(s.draw.IntN(20_000)) * time.Microsecond)
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
		switch s.draw.IntN(5) {
		case 0:
			s.read(ctx)
		case 1:
			s.readOffset(ctx)
		case 2:
			s.append(ctx)
		default:
			s.transact(ctx)
		}
		cancel()
	}
	s.close()
}

// close closes the producer of transactions. One that is open stays so until its timeout.
func (s *shopper) close() {
	if s.p != nil {
		_ = s.p.CloseNow()
		s.p = nil
	}
}

func (s *shopper) place() record.TopicPartition { return s.tps[s.draw.IntN(len(s.tps))] }

// append appends a record outside of transactions.
func (s *shopper) append(ctx context.Context) {
	p, err := producer.New(s.broker(s.client), producer.Partitioner(topic.ManualPartitioner))
	if err != nil {
		return
	}
	defer p.CloseNow()
	tp, value, call := s.place(), s.history.value(), s.history.tick()
	at, err := p.Send(ctx, record.Record{Topic: tp.Topic, Partition: tp.Partition, Value: []byte(value)})
	if err != nil {
		s.history.lost(s.client, call, tp.String(), value)
		return
	}
	s.history.add(s.client, call, writtenAt{tp.String(), nil}, at.Offset)
}

// read reads what is committed, from anywhere to the end that there is.
func (s *shopper) read(ctx context.Context) {
	b, tp := s.broker(s.client), s.place()
	call := s.history.tick()
	ends, err := b.ListOffsets(ctx, topic.Latest(), tp)
	if err != nil {
		return
	}
	end := ends[tp].Offset
	s.history.add(s.client, call, endOf{tp.String()}, end)
	c, err := consumer.New(b, consumer.Assign(tp), consumer.ReadCommitted())
	if err != nil {
		return
	}
	defer c.Close()
	from := s.draw.Int64N(end + 1)
	if c.Seek(ctx, tp, from) != nil {
		return
	}
	call = s.history.tick()
	read := readTo{to: from}
	for read.to < end {
		records, err := c.Poll(ctx)
		if err != nil {
			break
		}
		for _, r := range records {
			read.told = append(read.told, r.Offset)
		}
		if read.to, err = c.Position(ctx, tp); err != nil {
			return
		}
	}
	s.history.add(s.client, call, readFrom{tp.String(), from}, read)
}

// readOffset asks what a group has committed.
func (s *shopper) readOffset(ctx context.Context) {
	tp, call := s.place(), s.history.tick()
	offsets, err := s.broker(s.client).GroupOffsets(ctx, shopLine)
	if err != nil && !errors.Is(err, fault.GroupNotFound) {
		return
	}
	at := int64(-1)
	if o, ok := offsets[tp]; ok {
		at = o.Offset
	}
	s.history.add(s.client, call, committedAt{offsetOf(tp)}, at)
}

// offsetOf is the place of a partition's offset.
func offsetOf(tp record.TopicPartition) string { return "offset of " + tp.String() }

// transact runs a transaction, which may be left open.
func (s *shopper) transact(ctx context.Context) {
	if s.p == nil {
		asked := s.history.tick()
		p, err := producer.New(s.broker(s.client), producer.TransactionalID(s.id), producer.Partitioner(topic.ManualPartitioner), producer.TransactionTimeout(20*time.Second))
		if err != nil {
			return
		}
		s.history.fenced(s.id, asked)
		s.p = p
	}
	x := s.history.begin(s.id)
	if s.p.Begin(ctx) != nil {
		s.close()
		return
	}
	whole := true
	for i := range 1 + s.draw.IntN(4) {
		if i > 0 && s.draw.IntN(4) == 0 {
			whole = s.sendOffset(ctx, x) && whole
		} else {
			whole = s.send(ctx, x) && whole
		}
	}
	switch s.draw.IntN(6) {
	case 0: // leaves it open
		s.close()
	case 1:
		if s.p.Abort(ctx) == nil {
			x.outcome = aborted
			s.ended(x)
			return
		}
		s.close()
	default:
		s.commit(ctx, x, whole)
	}
}

// send sends a record of a transaction.
func (s *shopper) send(ctx context.Context, x *transacted) bool {
	tp, value := s.place(), s.history.value()
	x.places[tp.String()] = true
	call := s.history.tick()
	at, err := s.p.Send(ctx, record.Record{Topic: tp.Topic, Partition: tp.Partition, Value: []byte(value)})
	if err != nil {
		return false
	}
	x.values[value] = tp.String()
	s.history.add(s.client, call, writtenAt{tp.String(), x}, at.Offset)
	return true
}

// sendOffset makes a group's offset part of a transaction.
func (s *shopper) sendOffset(ctx context.Context, x *transacted) bool {
	tp, value := s.place(), s.draw.Int64N(1000)
	x.places[offsetOf(tp)] = true
	call := s.history.tick()
	if s.p.SendOffsets(ctx, consumer.GroupMetadata{Group: shopLine, MemberEpoch: -1}, map[record.TopicPartition]consumer.Offset{tp: {Offset: value}}) != nil {
		return false
	}
	s.history.add(s.client, call, offeredAt{offsetOf(tp), x, value}, nil)
	return true
}

// commit commits a transaction, and asks again while its outcome is unknown.
func (s *shopper) commit(ctx context.Context, x *transacted, whole bool) {
	asked := s.history.tick()
	err := s.p.Commit(ctx)
	for errors.Is(err, fault.UnknownOutcome) && s.draw.IntN(3) > 0 && ctx.Err() == nil {
		x.asked = asked
		err = s.p.Commit(ctx)
	}
	x.told = err
	switch {
	case err == nil:
		assert.True(s.t, whole, "committed without a record")
		x.asked, x.outcome = asked, committed
		s.ended(x)
	case errors.Is(err, fault.UnknownOutcome):
		x.asked = asked
		s.close()
	default:
		if x.asked == 0 { // or the outcome of an earlier call is still unknown
			x.outcome = aborted
		}
		if s.p.Abort(ctx) != nil {
			s.close()
		}
	}
}

// ended notes that a transaction has ended.
func (s *shopper) ended(x *transacted) {
	now := s.history.tick()
	s.history.mu.Lock()
	defer s.history.mu.Unlock()
	x.over = min(x.over, now)
}

// Eight clients append, read, and run transactions that reach several partitions and a
// group's offsets, are left open, time out and fence each other, while the nodes of a cluster
// die and leaders move. What they are told fits one order of their calls in each partition, and
// every transaction counts everywhere or nowhere.
func TestTransactionsOnAClusterAreLinearizable(t *testing.T) {
	for seed := range seeds(100) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { onACluster(t, seed, (*replicatest.Brokers).Crash) })
		})
	}
}

// The same where records count that the operating systems of a majority have, and nodes are
// killed.
func TestTransactionsInMemoryAreLinearizable(t *testing.T) {
	for _, d := range []topic.Durability{topic.OS, topic.Memory} {
		for seed := range seeds(15) {
			t.Run(fmt.Sprint(d, " seed ", seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					onACluster(t, seed, (*replicatest.Brokers).Kill, runnel.DefaultDurability(d))
				})
			})
		}
	}
}

// seeds returns how many seeds to run of so many.
func seeds(all uint64) uint64 {
	if underRace {
		return all / 5
	}
	return all
}

func onACluster(t *testing.T, seed uint64, end func(*replicatest.Brokers, int), opts ...runnel.Option) {
	c := replicatest.Cluster(t, 3, opts...)
	m := newMall(t, transfers(t, c, 3, 3), c.Broker(1), c.Broker(2), c.Broker(3))
	m.fence(c.Broker(1), "shopper 0") // so that the coordinators' topic is there
	awaitTopic(t, c, topic.TransactionState)
	c.Network().SetLinks(memory.Link{Delay: time.Millisecond, Jitter: time.Millisecond})
	draw := rand.New(rand.NewPCG(seed, 1))
	m.run(draw, func(ended <-chan struct{}) { m.disturb(c, draw, end, ended) })
	c.Network().SetLinks(memory.Link{})
	m.check()
}

// disturb lets leaders move and nodes die, until ended is closed.
func (m *mall) disturb(c *replicatest.Brokers, draw *rand.Rand, end func(*replicatest.Brokers, int), ended <-chan struct{}) {
	for whole := 100; ; whole = 3000 {
		stop := c.MoveLeaders(time.Duration(20+draw.IntN(500))*time.Millisecond, nil)
		select {
		case <-ended:
			stop()
			return
		case <-time.After(time.Duration(draw.IntN(whole)) * time.Millisecond):
			stop()
		}
		victim := 1 + draw.IntN(3)
		var others []*runnel.Broker
		for id := 1; id <= 3; id++ {
			if id != victim {
				others = append(others, c.Broker(id))
			}
		}
		m.use(others...)
		end(c, victim)
		time.Sleep(time.Duration(draw.IntN(3000)) * time.Millisecond)
		c.Restart(victim)
		awaitTopic(m.t, c, transferred)
		m.use(c.Broker(1), c.Broker(2), c.Broker(3))
	}
}

// The same on one broker, whose disk loses power.
func TestTransactionsOnOneBrokerAreLinearizable(t *testing.T) {
	for seed := range seeds(100) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := runneltest.New(t)
				require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: transferred, Partitions: 3}))
				var tps []record.TopicPartition
				for n := range int32(3) {
					tps = append(tps, record.TopicPartition{Topic: transferred, Partition: n})
				}
				m := newMall(t, tps, b.Broker)
				m.history.lossy = true
				draw := rand.New(rand.NewPCG(seed, 2))
				m.run(draw, func(ended <-chan struct{}) {
					for range draw.IntN(4) {
						select {
						case <-ended:
							return
						case <-time.After(time.Duration(draw.IntN(60)) * time.Millisecond):
						}
						b = b.Crash(runneltest.LoseAny)
						m.use(b.Broker)
					}
				})
				m.check()
			})
		})
	}
}
