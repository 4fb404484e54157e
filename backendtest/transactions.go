package backendtest

import (
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

var transactionTests = []test{
	{"count as a whole once they are committed, in all partitions and topics", func(s *suite) {
		one, other := s.topic(3, topic.Config{}), s.topic(2, topic.Config{})
		tx := s.transactor(s.name())
		for round := range 3 {
			value := fmt.Sprint("round ", round)
			require.NoError(s, tx.BeginTransaction(s.ctx))
			for n := range int32(3) {
				s.sendIn(tx, one, n, value)
			}
			s.sendIn(tx, other, 1, value)
			for n := range int32(3) {
				require.LessOrEqual(s, len(s.read(tp(one, n), uncommitted)), round+1, "with what is open, where that is durable")
				require.Len(s, s.read(tp(one, n), committed), round)
			}
			require.NoError(s, tx.EndTransaction(s.ctx, true))
			for n := range int32(3) {
				require.Len(s, s.read(tp(one, n), committed), round+1)
				require.Len(s, s.read(tp(one, n), uncommitted), round+1)
			}
			require.Len(s, s.read(tp(other, 1), committed), round+1)
			require.Empty(s, s.read(tp(other, 0), committed))
		}
	}},
	{"are passed over by readers of committed records where they were aborted", func(s *suite) {
		name := s.topic(2, topic.Config{})
		tx := s.transactor(s.name())
		var all, counted []string
		for round := range 6 {
			value, commits := fmt.Sprint("round ", round), round%3 == 1
			require.NoError(s, tx.BeginTransaction(s.ctx))
			for n := range int32(2) {
				s.sendIn(tx, name, n, value+" a", value+" b")
			}
			require.NoError(s, tx.EndTransaction(s.ctx, commits))
			if all = append(all, value+" a", value+" b"); commits {
				counted = append(counted, value+" a", value+" b")
			}
		}
		for n := range int32(2) {
			require.Equal(s, all, s.read(tp(name, n), uncommitted))
			require.Equal(s, counted, s.read(tp(name, n), committed))
		}
	}},
	{"keep their place among other records", func(s *suite) {
		name := s.topic(1, topic.Config{})
		tx, slow := s.transactor(s.name()), s.transactor(s.name())
		s.send(name, 0, "before")
		require.NoError(s, slow.BeginTransaction(s.ctx))
		s.sendIn(slow, name, 0, "slow 1")
		s.send(name, 0, "between")
		require.NoError(s, tx.BeginTransaction(s.ctx))
		s.sendIn(tx, name, 0, "quick")
		require.NoError(s, tx.EndTransaction(s.ctx, true))
		s.sendIn(slow, name, 0, "slow 2")
		require.Equal(s, []string{"before"}, s.read(tp(name, 0), committed), "none of what is behind the first open transaction")
		require.NoError(s, slow.EndTransaction(s.ctx, true))
		s.send(name, 0, "behind")
		want := []string{"before", "slow 1", "between", "quick", "slow 2", "behind"}
		require.Equal(s, want, s.read(tp(name, 0), committed))
		require.Equal(s, want, s.read(tp(name, 0), uncommitted))
	}},
	{"wake readers of committed records when they end", func(s *suite) {
		name := s.topic(1, topic.Config{})
		tx := s.transactor(s.name())
		for _, commits := range []bool{true, false} {
			require.NoError(s, tx.BeginTransaction(s.ctx))
			s.sendIn(tx, name, 0, "in it")
			c := s.consumer(readCommitted)
			require.NoError(s, c.Assign(s.ctx, tps(name, 0)))
			require.NoError(s, c.Seek(s.ctx, tp(name, 0), topic.Latest()))
			s.send(name, 0, "behind")
			early, err := c.Fetch(s.ctx, time.Millisecond, nil)
			require.NoError(s, err)
			require.Empty(s, early.Records)
			want := []string{"behind"}
			if commits {
				want = []string{"in it", "behind"}
			}
			ended := make(chan error, 1)
			go func() { ended <- tx.EndTransaction(s.ctx, commits) }()
			require.Equal(s, want, values(s.fetch(c, len(want))))
			require.NoError(s, <-ended)
			require.NoError(s, c.Close())
		}
	}},
	{"are refused to the older of two producers with one ID, and its open one is aborted", func(s *suite) {
		name, id := s.topic(2, topic.Config{}), s.name()
		zombie := s.transactor(id)
		require.NoError(s, zombie.BeginTransaction(s.ctx))
		s.sendIn(zombie, name, 0, "of the zombie")
		s.sendIn(zombie, name, 1, "of the zombie")

		tx := s.transactor(id)
		_, err := s.sendOne(zombie, name, 0, "late")
		s.requireFenced(err)
		require.Error(s, zombie.EndTransaction(s.ctx, true))
		s.requireFenced(zombie.EndTransaction(s.ctx, false))
		s.requireFenced(zombie.BeginTransaction(s.ctx))
		require.NoError(s, tx.BeginTransaction(s.ctx))
		s.sendIn(tx, name, 0, "of the new one")
		require.NoError(s, tx.EndTransaction(s.ctx, true))
		require.Equal(s, []string{"of the new one"}, s.read(tp(name, 0), committed))
		require.Empty(s, s.read(tp(name, 1), committed))
	}},
	{"are fenced between two of them, too", func(s *suite) {
		name, id := s.topic(1, topic.Config{}), s.name()
		zombie := s.transactor(id)
		require.NoError(s, zombie.BeginTransaction(s.ctx))
		s.sendIn(zombie, name, 0, "first")
		require.NoError(s, zombie.EndTransaction(s.ctx, true))
		tx := s.transactor(id)
		if err := zombie.BeginTransaction(s.ctx); err != nil {
			s.requireFenced(err)
		} else { // it may hear of it only from the cluster
			_, err := s.sendOne(zombie, name, 0, "late")
			s.requireFenced(err)
		}
		require.NoError(s, tx.BeginTransaction(s.ctx))
		s.sendIn(tx, name, 0, "second")
		require.NoError(s, tx.EndTransaction(s.ctx, true))
		require.Equal(s, []string{"first", "second"}, s.read(tp(name, 0), committed))
	}},
	{"are aborted when their time is over, and hold up no reader any longer", func(s *suite) {
		name := s.topic(1, topic.Config{})
		tx := s.transactor(s.name(), func(cfg *producer.Config) { cfg.TransactionTimeout = 300 * time.Millisecond })
		require.NoError(s, tx.BeginTransaction(s.ctx))
		_, _ = s.sendOne(tx, name, 0, "slow") // which fails if that took as long
		s.send(name, 0, "behind")
		c := s.consumer(readCommitted)
		require.NoError(s, c.Assign(s.ctx, tps(name, 0)))
		require.Equal(s, []string{"behind"}, values(s.fetch(c, 1)))
		require.Error(s, tx.EndTransaction(s.ctx, true), "it has been aborted")
		_ = tx.EndTransaction(s.ctx, false) // another producer may have to take over on some backends
		require.Equal(s, []string{"behind"}, s.read(tp(name, 0), committed))
	}},
	{"are aborted when their producer closes, by the next one with their ID", func(s *suite) {
		name, id := s.topic(1, topic.Config{}), s.name()
		tx := s.transactor(id)
		require.NoError(s, tx.BeginTransaction(s.ctx))
		s.sendIn(tx, name, 0, "left open")
		require.NoError(s, tx.Close())
		s.send(name, 0, "behind")
		require.NoError(s, s.transactor(id).Close())
		require.Equal(s, []string{"behind"}, s.read(tp(name, 0), committed))
	}},
	{"may be empty", func(s *suite) {
		name := s.topic(1, topic.Config{})
		tx := s.transactor(s.name())
		for _, commits := range []bool{true, false, true} {
			require.NoError(s, tx.BeginTransaction(s.ctx))
			require.NoError(s, tx.EndTransaction(s.ctx, commits))
		}
		require.NoError(s, tx.BeginTransaction(s.ctx))
		s.sendIn(tx, name, 0, "one")
		require.NoError(s, tx.EndTransaction(s.ctx, true))
		require.Equal(s, []string{"one"}, s.read(tp(name, 0), committed))
	}},
	{"must be begun before records are sent, and ended before the next one", func(s *suite) {
		name := s.topic(1, topic.Config{})
		tx := s.transactor(s.name())
		_, err := s.sendOne(tx, name, 0, "outside")
		require.ErrorIs(s, err, fault.InvalidTxnState)
		require.ErrorIs(s, tx.EndTransaction(s.ctx, true), fault.InvalidTxnState)
		require.ErrorIs(s, tx.EndTransaction(s.ctx, false), fault.InvalidTxnState)
		require.NoError(s, tx.BeginTransaction(s.ctx))
		require.ErrorIs(s, tx.BeginTransaction(s.ctx), fault.InvalidTxnState)
		s.sendIn(tx, name, 0, "within")
		require.NoError(s, tx.EndTransaction(s.ctx, true))
		_, err = s.sendOne(tx, name, 0, "outside")
		require.ErrorIs(s, err, fault.InvalidTxnState)
		require.Equal(s, []string{"within"}, s.read(tp(name, 0), uncommitted))
	}},
	{"cannot be committed without one of their records", func(s *suite) {
		name := s.topic(1, topic.Config{MaxMessageBytes: 2000})
		tx := s.transactor(s.name())
		w, err := tx.Topic(s.ctx, name)
		require.NoError(s, err)
		for _, fn := range []producer.Callback{nil, func(record.Position, error) {}} {
			require.NoError(s, tx.BeginTransaction(s.ctx))
			w.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte("small")}, fn)
			w.SendAsync(s.ctx, record.Record{Topic: name, Value: make([]byte, 5000)}, fn)
			err = tx.EndTransaction(s.ctx, true)
			require.ErrorIs(s, err, fault.InvalidTxnState)
			require.ErrorIs(s, err, fault.RecordTooLarge)
			require.NoError(s, tx.EndTransaction(s.ctx, false))
		}
		require.NoError(s, tx.BeginTransaction(s.ctx))
		s.sendIn(tx, name, 0, "another")
		require.NoError(s, tx.EndTransaction(s.ctx, true))
		require.Equal(s, []string{"another"}, s.read(tp(name, 0), committed))
	}},
	{"cannot be committed without a record that no session got", func(s *suite) {
		name := s.topic(1, topic.Config{})
		p, err := producer.New(s.Backend, producer.TransactionalID(s.name()), producer.Partitioner(topic.ManualPartitioner))
		require.NoError(s, err)
		defer p.Close()
		for _, wrong := range []record.Record{{Topic: s.name()}, {Topic: name, Partition: 1}} {
			err := producer.Transact(s.ctx, p, func(tx *producer.Tx) error {
				tx.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte("right")}, nil)
				tx.SendAsync(s.ctx, wrong, nil)
				return nil
			})
			require.ErrorIs(s, err, fault.InvalidTxnState)
			require.ErrorIs(s, err, fault.UnknownTopic)
		}
		require.NoError(s, producer.Transact(s.ctx, p, func(tx *producer.Tx) error {
			_, err := tx.Send(s.ctx, record.Record{Topic: name, Value: []byte("next")})
			return err
		}))
		require.Equal(s, []string{"next"}, s.read(tp(name, 0), committed))
	}},
	{"have everything that was sent before their end", func(s *suite) {
		const n, partitions = 3000, 3
		name := s.topic(partitions, topic.Config{})
		tx := s.transactor(s.name(), forever, func(cfg *producer.Config) { cfg.BatchBytes = 8 << 10 })
		w, err := tx.Topic(s.ctx, name)
		require.NoError(s, err)
		require.NoError(s, tx.BeginTransaction(s.ctx))
		var told outcomes
		for i := range n {
			w.SendAsync(s.ctx, record.Record{Topic: name, Partition: int32(i % partitions), Value: []byte(fmt.Sprint(i))}, told.callback)
		}
		require.NoError(s, tx.EndTransaction(s.ctx, true))
		require.Len(s, told.take(), n, "their callbacks have run")
		for partition := range partitions {
			got := s.read(tp(name, int32(partition)), committed)
			require.Len(s, got, n/partitions)
			for i, v := range got {
				require.Equal(s, fmt.Sprint(i*partitions+partition), v)
			}
		}
	}},
	{"take whole batches", func(s *suite) {
		name := s.topic(1, topic.Config{})
		tx := s.transactor(s.name())
		w, err := tx.Topic(s.ctx, name)
		require.NoError(s, err)
		for round, commits := range []bool{false, true} {
			require.NoError(s, tx.BeginTransaction(s.ctx))
			b := record.NewBuilder(1 << 10)
			for i := range 3 {
				require.True(s, b.Add(1000, nil, []byte(fmt.Sprint(round, ".", i)), nil))
			}
			batch, err := b.Batch(record.NewCodec(0), record.None, 0)
			require.NoError(s, err)
			w.Append(s.ctx, 0, &batch, nil)
			s.sendIn(tx, name, 0, fmt.Sprint(round, ".3"))
			require.NoError(s, tx.EndTransaction(s.ctx, commits))
		}
		require.Equal(s, []string{"1.0", "1.1", "1.2", "1.3"}, s.read(tp(name, 0), committed))
	}},
	{"of many producers run side by side", func(s *suite) {
		const producers, rounds = 4, 8
		name := s.topic(2, topic.Config{})
		var wg sync.WaitGroup
		for i := range producers {
			tx := s.transactor(s.name())
			wg.Go(func() {
				for round := range rounds {
					err := tx.BeginTransaction(s.ctx)
					for n := range int32(2) {
						if err == nil {
							_, err = s.sendOne(tx, name, n, fmt.Sprint(i, ".", round))
						}
					}
					if err == nil {
						err = tx.EndTransaction(s.ctx, round%2 == 0)
					}
					if err != nil {
						s.Errorf("producer %d, round %d: %v", i, round, err)
						return
					}
				}
			})
		}
		wg.Wait()
		for n := range int32(2) {
			var next [producers]int
			got := s.read(tp(name, n), committed)
			require.Len(s, got, producers*rounds/2)
			for _, v := range got {
				var i, round int
				_, err := fmt.Sscanf(v, "%d.%d", &i, &round)
				require.NoError(s, err)
				require.Equal(s, next[i], round, "%v", got)
				next[i] += 2
			}
		}
	}},
	{"are read by groups, which have no lag at their end", func(s *suite) {
		name, group := s.topic(1, topic.Config{}), s.name()
		tx := s.transactor(s.name())
		for _, commits := range []bool{true, false} {
			require.NoError(s, tx.BeginTransaction(s.ctx))
			s.sendIn(tx, name, 0, fmt.Sprint(commits, " 1"), fmt.Sprint(commits, " 2"))
			require.NoError(s, tx.EndTransaction(s.ctx, commits))
		}
		c := s.newConsumer(consumer.Group(group), consumer.Topics(name), consumer.ReadCommitted())
		require.Equal(s, []string{"true 1", "true 2"}, s.poll(c, 2))
		for {
			lag, err := c.Lag(s.ctx)
			require.NoError(s, err)
			if lag[tp(name, 0)] == 0 {
				break
			}
			batch, err := c.Poll(s.ctx) // returns without records
			require.NoError(s, err)
			require.Empty(s, batch)
		}
		require.NoError(s, c.Commit(s.ctx))
		done, err := s.GroupOffsets(s.ctx, group)
		require.NoError(s, err)
		end, err := s.ListOffsets(s.ctx, topic.Latest(), tp(name, 0))
		require.NoError(s, err)
		require.Equal(s, end[tp(name, 0)].Offset, done[tp(name, 0)].Offset)
	}},
	{"run by a producer count or do not", func(s *suite) {
		name := s.topic(1, topic.Config{})
		p, err := producer.New(s.Backend, producer.TransactionalID(s.name()))
		require.NoError(s, err)
		defer p.Close()
		require.NoError(s, producer.Transact(s.ctx, p, func(tx *producer.Tx) error {
			_, err := tx.Send(s.ctx, record.Record{Topic: name, Value: []byte("counts")})
			return err
		}))
		require.ErrorIs(s, producer.Transact(s.ctx, p, func(tx *producer.Tx) error {
			tx.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte("does not")}, nil)
			return fault.InvalidRecord
		}), fault.InvalidRecord)
		require.NoError(s, p.Begin(s.ctx))
		_, err = p.Send(s.ctx, record.Record{Topic: name, Value: []byte("left open")})
		require.NoError(s, err)
		require.NoError(s, p.Close(), "which aborts it")
		require.Equal(s, []string{"counts"}, s.read(tp(name, 0), committed))
	}},
	{"need a transactional ID", func(s *suite) {
		p, err := producer.New(s.Backend)
		require.NoError(s, err)
		defer p.Close()
		require.ErrorIs(s, p.Begin(s.ctx), fault.InvalidTxnState)
	}},
}

// transactor opens a session with a transactional ID, and closes it at the end of the test.
func (s *suite) transactor(id string, change ...func(*producer.Config)) producer.Transactor {
	s.Helper()
	p := s.producer(append([]func(*producer.Config){func(cfg *producer.Config) {
		cfg.TransactionalID, cfg.TransactionTimeout = id, patience
	}}, change...)...)
	tx, ok := p.(producer.Transactor)
	require.True(s, ok, "%T is no Transactor", p)
	return tx
}

// sendOne sends a value in the open transaction, and waits for it.
func (s *suite) sendOne(tx producer.Transactor, name string, partition int32, value string) (record.Position, error) {
	w, err := tx.Topic(s.ctx, name)
	if err != nil {
		return record.Position{}, err
	}
	return w.Send(s.ctx, record.Record{Topic: name, Partition: partition, Value: []byte(value)})
}

// sendIn sends values in the open transaction, waiting for each.
func (s *suite) sendIn(tx producer.Transactor, name string, partition int32, values ...string) {
	s.Helper()
	for _, v := range values {
		_, err := s.sendOne(tx, name, partition, v)
		require.NoError(s, err)
	}
}

// requireFenced requires the error of a producer whose transactional ID another one has.
func (s *suite) requireFenced(err error) {
	s.Helper()
	if code := fault.CodeOf(err); code != fault.ProducerFenced && code != fault.InvalidProducerEpoch {
		require.ErrorIs(s, err, fault.ProducerFenced)
	}
}

// The levels of isolation, for read.
const (
	uncommitted = false
	committed   = true
)

func readCommitted(cfg *consumer.Config) { cfg.ReadCommitted = true }

// read reads what a level of isolation shows of a partition, up to its end at that level.
func (s *suite) read(tp record.TopicPartition, level bool) (all []string) {
	s.Helper()
	s.shows(tp.Topic)
	c := s.consumer(func(cfg *consumer.Config) { cfg.ReadCommitted = level })
	require.NoError(s, c.Assign(s.ctx, []record.TopicPartition{tp}))
	ends, err := c.Offsets(s.ctx, topic.Latest(), tp)
	require.NoError(s, err)
	for {
		at, err := c.Position(s.ctx, tp)
		require.NoError(s, err)
		if at >= ends[tp] {
			require.NoError(s, c.Close())
			return all
		}
		got, err := c.Fetch(s.ctx, consumer.UntilDone, nil)
		require.NoError(s, err, "at %d of %d", at, ends[tp])
		all = append(all, values(got.Records)...)
	}
}
