package replicatest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/memory"
	"github.com/runnel-go/runnel/replica/replicatest"
	"github.com/runnel-go/runnel/topic"
)

const transferred = "transfers"

// transfers is the topic of transactions, of so many partitions.
func transfers(t *testing.T, c *replicatest.Brokers, partitions int, replicas int) (all []record.TopicPartition) {
	t.Helper()
	require.NoError(t, c.Broker(1).CreateTopics(t.Context(), topic.Spec{Name: transferred, Partitions: partitions, Replicas: replicas}))
	for n := range partitions {
		all = append(all, record.TopicPartition{Topic: transferred, Partition: int32(n)})
	}
	awaitTopic(t, c, transferred)
	return all
}

// awaitTopic waits until all running nodes know a topic.
func awaitTopic(t *testing.T, c *replicatest.Brokers, name string) {
	t.Helper()
	for _, id := range c.Running() {
		require.Eventually(t, func() bool {
			_, err := c.Broker(id).DescribeTopics(t.Context(), name)
			return err == nil
		}, time.Minute, 10*time.Millisecond)
	}
}

// stateOf are the partitions of __transaction_state, once they are there.
func stateOf(t *testing.T, c *replicatest.Brokers) (all []record.TopicPartition) {
	t.Helper()
	awaitTopic(t, c, topic.TransactionState)
	d, err := c.Broker(c.Running()[0]).DescribeTopics(t.Context(), topic.TransactionState)
	require.NoError(t, err)
	for n := range d[0].Partitions {
		all = append(all, record.TopicPartition{Topic: topic.TransactionState, Partition: int32(n)})
	}
	return all
}

// coordinateTransactions makes a node the coordinator of all transactional IDs.
func coordinateTransactions(t *testing.T, c *replicatest.Brokers, id int) {
	t.Helper()
	for _, tp := range stateOf(t, c) {
		c.MoveLeader(tp, id)
	}
}

func ofTransactions(t *testing.T, b *runnel.Broker, opts ...producer.Option) *producer.Producer {
	t.Helper()
	p, err := producer.New(b, append(opts, producer.TransactionalID("shop"), producer.Partitioner(topic.ManualPartitioner))...)
	require.NoError(t, err)
	return p
}

// transfer writes a value to partitions, in one transaction.
func transfer(ctx context.Context, p *producer.Producer, value string, to ...record.TopicPartition) error {
	return producer.Transact(ctx, p, func(tx *producer.Tx) error {
		for _, tp := range to {
			tx.SendAsync(ctx, record.Record{Topic: tp.Topic, Partition: tp.Partition, Value: []byte(value)}, nil)
		}
		if strings.HasPrefix(value, "refused") {
			return errRefused
		}
		return nil
	})
}

var errRefused = errors.New("refused by the program")

// committedOn reads on a node what is committed of partitions, up to their ends. It waits
// until no transaction is open.
func committedOn(t *testing.T, b *runnel.Broker, partitions ...record.TopicPartition) [][]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	ends, err := b.ListOffsets(ctx, topic.Latest(), partitions...)
	require.NoError(t, err)
	values := make([][]string, len(partitions))
	for i, tp := range partitions {
		c, err := consumer.New(b, consumer.Assign(tp), consumer.ReadCommitted())
		require.NoError(t, err)
		for {
			at, err := c.Position(ctx, tp)
			require.NoError(t, err)
			if at >= ends[tp].Offset {
				break
			}
			records, err := c.Poll(ctx)
			require.NoError(t, err, "%v at %d of %d", tp, at, ends[tp].Offset)
			for _, r := range records {
				values[i] = append(values[i], string(r.Value))
			}
		}
		require.NoError(t, c.Close())
	}
	return values
}

// Transactions are written on every node, whichever coordinates them and whichever lead
// their partitions, and read on every node; the older of two producers is fenced, wherever
// the two are.
func TestTransactionsOnAnyNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		tps := transfers(t, c, 3, 3)
		p := ofTransactions(t, c.Broker(2))
		var want []string
		for round, id := range []int{1, 2, 3, 1} {
			coordinateTransactions(t, c, id)
			for i, tp := range tps {
				c.MoveLeader(tp, (id+i+round)%3+1)
			}
			value := fmt.Sprint("coordinated by node ", id)
			require.NoError(t, transfer(t.Context(), p, value, tps...))
			require.Equal(t, errRefused, transfer(t.Context(), p, "refused", tps...))
			want = append(want, value)
			for _, at := range c.Running() {
				require.Equal(t, [][]string{want, want, want}, committedOn(t, c.Broker(at), tps...), "on node %d", at)
			}
		}

		require.NoError(t, p.Begin(t.Context()))
		_, err := p.Send(t.Context(), record.Record{Topic: transferred, Value: []byte("of the zombie")})
		require.NoError(t, err)
		next := ofTransactions(t, c.Broker(3))
		_, err = p.Send(t.Context(), record.Record{Topic: transferred, Value: []byte("late")})
		require.ErrorIs(t, err, fault.InvalidProducerEpoch)
		_, err = p.Send(t.Context(), record.Record{Topic: transferred, Partition: 1, Value: []byte("late")})
		require.ErrorIs(t, err, fault.InvalidTxnState)
		require.ErrorIs(t, p.Abort(t.Context()), fault.ProducerFenced)
		require.ErrorIs(t, p.Begin(t.Context()), fault.ProducerFenced)
		require.NoError(t, transfer(t.Context(), next, "last", tps[0]))
		require.Equal(t, append(want, "last"), committedOn(t, c.Broker(1), tps[0])[0])
		require.NoError(t, p.Close())
		require.NoError(t, next.Close())
	})
}

// Transactions are listed, described and aborted from every node, whichever knows of them.
func TestTransactionsAreAdministeredFromAnyNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 5)
		tps := transfers(t, c, 2, 3)
		p := ofTransactions(t, c.Broker(2))
		for _, id := range c.Running() {
			awaitTopic(t, c, topic.TransactionState)
			require.NoError(t, p.Begin(t.Context()))
			for _, tp := range tps {
				_, err := p.Send(t.Context(), record.Record{Topic: tp.Topic, Partition: tp.Partition, Value: []byte("open")})
				require.NoError(t, err)
			}
			b := c.Broker(id)
			listed, err := b.ListTransactions(t.Context())
			require.NoError(t, err)
			require.Len(t, listed, 1)
			described, err := b.DescribeTransactions(t.Context(), "shop")
			require.NoError(t, err)
			d := described[0]
			require.Equal(t, listed[0], d.TransactionListing)
			require.Equal(t, producer.TransactionOngoing, d.State)
			require.Equal(t, tps, d.Partitions)
			known, err := b.DescribeProducers(t.Context(), tps...)
			require.NoError(t, err)
			for _, tp := range tps {
				require.Len(t, known[tp], 1, "on node %d", id)
				require.Equal(t, d.ProducerID, known[tp][0].ProducerID)
				require.Equal(t, d.Epoch, known[tp][0].Epoch)
				require.Positive(t, known[tp][0].TransactionStart)
			}
			require.ErrorIs(t, producer.AbortHanging(t.Context(), b, tps[0], known[tps[0]][0].TransactionStart), fault.InvalidTxnState)
			require.NoError(t, b.ForceTerminateTransaction(t.Context(), "shop"))
			require.ErrorIs(t, p.Commit(t.Context()), fault.InvalidTxnState)
			require.NoError(t, p.Abort(t.Context()))
		}
		require.Equal(t, [][]string{nil, nil}, committedOn(t, c.Broker(1), tps...))
		require.NoError(t, p.Close())
	})
}

// Nodes that have no copy of a topic, or of the coordinators' own, write to it and read it
// in transactions as the others do.
func TestTransactionsOnNodesWithoutACopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 5)
		tps := transfers(t, c, 4, 3)
		var want []string
		for _, id := range c.Running() {
			p := ofTransactions(t, c.Broker(id))
			value := fmt.Sprint("by node ", id)
			require.Equal(t, errRefused, transfer(t.Context(), p, "refused", tps...))
			require.NoError(t, transfer(t.Context(), p, value, tps...))
			require.NoError(t, p.Close())
			want = append(want, value)
		}
		for _, id := range c.Running() {
			require.Equal(t, [][]string{want, want, want, want}, committedOn(t, c.Broker(id), tps...), "on node %d", id)
		}
	})
}

// A transaction whose producer died together with its coordinator is aborted by the next
// coordinator when its time is over, and readers go on.
func TestTransactionOfADeadNodeIsAborted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		tps := transfers(t, c, 2, 3)
		p := ofTransactions(t, c.Broker(2), producer.TransactionTimeout(40*time.Second))
		coordinateTransactions(t, c, 2)
		require.NoError(t, p.Begin(t.Context()))
		for _, tp := range tps {
			_, err := p.Send(t.Context(), record.Record{Topic: tp.Topic, Partition: tp.Partition, Value: []byte("open")})
			require.NoError(t, err)
		}
		began := time.Now()
		c.Crash(2)
		for _, tp := range tps {
			c.AwaitLeader(tp)
		}
		free, err := producer.New(c.Broker(1), producer.Partitioner(topic.ManualPartitioner))
		require.NoError(t, err)
		for _, tp := range tps {
			_, err = free.Send(t.Context(), record.Record{Topic: tp.Topic, Partition: tp.Partition, Value: []byte("behind")})
			require.NoError(t, err)
		}
		require.NoError(t, free.Close())
		require.Equal(t, [][]string{{"behind"}, {"behind"}}, committedOn(t, c.Broker(3), tps...))
		require.InDelta(t, 40, time.Since(began).Seconds(), 2)
		c.Restart(2)
		awaitTopic(t, c, transferred)
		require.NoError(t, p.Close())
		require.Equal(t, [][]string{{"behind"}, {"behind"}}, committedOn(t, c.Broker(2), tps...))
	})
}

// A coordinator that is cut off decides nothing any more. The next one aborts what is open,
// or ends what was decided, and when the first one is back, that is what it finds.
func TestCoordinatorThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		tps := transfers(t, c, 2, 3)
		p := ofTransactions(t, c.Broker(1)) // beside its coordinator
		coordinateTransactions(t, c, 1)
		for _, tp := range tps {
			c.MoveLeader(tp, 2)
		}
		require.NoError(t, transfer(t.Context(), p, "first", tps...))
		require.NoError(t, p.Begin(t.Context()))
		for _, tp := range tps {
			_, err := p.Send(t.Context(), record.Record{Topic: tp.Topic, Partition: tp.Partition, Value: []byte("open")})
			require.NoError(t, err)
		}
		c.Partition([]int{1}, []int{2, 3})
		told := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			told <- p.Commit(ctx)
		}()
		next := ofTransactions(t, c.Broker(3)) // which waits until the open one is aborted
		require.NoError(t, transfer(t.Context(), next, "second", tps...))
		require.Error(t, <-told)
		c.Heal()
		require.Error(t, p.Commit(t.Context()))
		for _, at := range c.Running() {
			require.Equal(t, [][]string{{"first", "second"}, {"first", "second"}}, committedOn(t, c.Broker(at), tps...), "on node %d", at)
		}
		require.NoError(t, p.Close())
		require.NoError(t, next.Close())
	})
}

// shopping is a program with one transactional ID, which goes on on another node when its
// own has died.
type shopping struct {
	t       *testing.T
	c       *replicatest.Brokers
	at      int
	p       *producer.Producer
	counts  []string // what was acknowledged
	unclear []string // commits with an unknown outcome
	zombies []*producer.Producer
}

// open opens the program's producer, if it has none.
func (s *shopping) open(b *runnel.Broker) {
	if s.p != nil {
		return
	}
	if p, err := producer.New(b, producer.TransactionalID("shop"), producer.Partitioner(topic.ManualPartitioner)); err == nil {
		s.p = p
	}
}

// leave has the program go on on another node than this one. What it leaves is a zombie.
func (s *shopping) leave(node int) {
	if s.at != node {
		return
	}
	if s.at = s.at%3 + 1; s.p != nil {
		s.zombies = append(s.zombies, s.p)
	}
	s.p = nil
}

// run runs a transaction on the node where the program is.
func (s *shopping) run(b *runnel.Broker, value string, to []record.TopicPartition) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
	defer cancel()
	if s.open(b); s.p == nil {
		return
	}
	err := transfer(ctx, s.p, value, to...)
	unclear := fault.CodeOf(err) == fault.UnknownOutcome
	for fault.CodeOf(err) == fault.UnknownOutcome && ctx.Err() == nil && !errors.Is(err, fault.Closed) {
		err = s.p.Commit(ctx)
	}
	switch {
	case err == nil:
		s.counts = append(s.counts, value)
	case unclear:
		s.unclear = append(s.unclear, value)
	}
	if err != nil && !errors.Is(err, errRefused) {
		_ = s.p.Close()
		s.p = nil
	}
}

// Nodes lose their power at random moments within transactions: the one that coordinates
// them, those that lead their partitions, and the one where the program is. Each time the
// others go on. Of every transaction all counts, or nothing; what was acknowledged does, and
// what the program refused does not, on every node in the same order.
func TestNodesDieWithinTransactions(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { nodesDie(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func nodesDie(t *testing.T, draw *rand.Rand) {
	const rounds, partitions = 12, 4
	c := replicatest.Cluster(t, 3)
	tps := transfers(t, c, partitions, 3)
	require.NoError(t, ofTransactions(t, c.Broker(1)).Close())
	state := stateOf(t, c)
	s := &shopping{t: t, c: c, at: 1}
	places := map[string][]record.TopicPartition{}
	c.Network().SetLinks(memory.Link{Delay: time.Millisecond, Jitter: time.Millisecond})
	for round := range rounds {
		value := fmt.Sprint("transfer ", round)
		if draw.IntN(5) == 0 {
			value = fmt.Sprint("refused ", round)
		}
		to := slices.Clone(tps)
		draw.Shuffle(len(to), func(i, j int) { to[i], to[j] = to[j], to[i] })
		places[value] = to[:2+draw.IntN(partitions-1)]
		victim := s.at
		if kind := draw.IntN(5); kind > 0 { // a coordinator's node, or that of a partition's leader, and not the program's
			victim = c.AwaitLeader([]record.TopicPartition{state[draw.IntN(len(state))], places[value][0]}[kind%2])
			s.leave(victim)
		}
		broker, ended := c.Broker(s.at), make(chan struct{})
		if draw.IntN(4) > 0 { // else the producer opens while nodes die
			s.open(broker)
		}
		go func() {
			defer close(ended)
			s.run(broker, value, places[value])
		}()
		time.Sleep(time.Duration(draw.IntN(30_000)) * time.Microsecond)
		c.Crash(victim)
		<-ended
		time.Sleep(time.Duration(draw.IntN(2000)) * time.Millisecond)
		c.Restart(victim)
		if victim == s.at || draw.IntN(4) == 0 {
			s.leave(s.at)
		}
	}
	c.Network().SetLinks(memory.Link{})
	last := ofTransactions(t, c.Broker(s.at)) // behind it, nothing is undecided
	require.NoError(t, transfer(t.Context(), last, "last", tps...))
	awaitTopic(t, c, transferred)
	first := committedOn(t, c.Broker(1), tps...)
	seen := map[string]int{}
	for _, values := range first {
		for _, v := range values {
			seen[v]++
		}
	}
	for value, n := range seen {
		if value != "last" {
			require.Equal(t, len(places[value]), n, "a part of %q: %v", value, first)
			require.NotContains(t, value, "refused")
		}
	}
	for _, value := range s.counts {
		require.NotZero(t, seen[value], "%q was acknowledged: %v", value, first)
	}
	for value := range maps.Keys(seen) {
		if value != "last" && !slices.Contains(s.unclear, value) {
			require.Contains(t, s.counts, value, "it was never committed")
		}
	}
	require.NotEmpty(t, s.counts)
	for _, id := range c.Running() {
		require.Equal(t, first, committedOn(t, c.Broker(id), tps...), "on node %d", id)
	}
	require.NoError(t, last.Close())
	for _, z := range s.zombies {
		_ = z.Close()
	}
}
