package produce

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/txn"
	"github.com/runnel-go/runnel/internal/host/hosttest"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// slowCoordinator answers what is added to a transaction once answer is closed, or sent to.
type slowCoordinator struct {
	Transactions
	answer chan error
	added  [][]record.TopicPartition // the requests
}

func (*slowCoordinator) Init(context.Context, string, time.Duration) (txn.Identity, error) {
	return txn.Identity{ProducerID: 7}, nil
}

func (c *slowCoordinator) Add(ctx context.Context, _ string, _ txn.Identity, partitions ...record.TopicPartition) error {
	c.added = append(c.added, partitions)
	select {
	case err := <-c.answer:
		return err
	case <-ctx.Done():
		return fault.Newf(fault.UnknownOutcome, "the request").Because(ctx.Err())
	}
}

func (*slowCoordinator) End(_ context.Context, _ string, who txn.Identity, _ bool) (txn.Identity, error) {
	who.Epoch++
	return who, nil
}

// openTransaction begins a transaction of a session with a slow coordinator.
func openTransaction(t *testing.T) (*slowCoordinator, *Session, []producer.Writer) {
	t.Helper()
	topics := []string{"orders", "bills", "stock"}
	c := &slowCoordinator{answer: make(chan error)}
	var last atomic.Int64
	s, err := New(hosttest.New(t, topics...).Host, func(context.Context) (int64, error) { return last.Add(1), nil }, c).
		Open(t.Context(), producer.Config{BatchBytes: 1 << 10, BufferBytes: 1 << 20, Idempotent: true, TransactionalID: "shop"})
	require.NoError(t, err)
	require.NoError(t, s.BeginTransaction(t.Context()))
	var to []producer.Writer
	for _, name := range topics {
		w, err := s.Topic(t.Context(), name)
		require.NoError(t, err)
		to = append(to, w)
	}
	return c, s, to
}

// TestPartitionsAreAddedTogether: sending without waiting does not wait for the coordinator
// either, and what is sent while one request is on its way is in the next one.
func TestPartitionsAreAddedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s, to := openTransaction(t)
		var told atomic.Int32
		send := func(w producer.Writer) {
			w.SendAsync(t.Context(), record.Record{}, func(_ record.Position, err error) {
				require.NoError(t, err)
				told.Add(1)
			})
		}
		send(to[0])
		synctest.Wait()
		for _, w := range to {
			send(w)
		}
		synctest.Wait()
		require.Zero(t, told.Load(), "nothing is written before its partition is added")
		close(c.answer)
		require.NoError(t, s.EndTransaction(t.Context(), true))
		require.EqualValues(t, 4, told.Load())
		require.Len(t, c.added, 2)
		require.Equal(t, []record.TopicPartition{{Topic: "orders"}}, c.added[0])
		require.ElementsMatch(t, []record.TopicPartition{{Topic: "bills"}, {Topic: "stock"}}, c.added[1])

		require.NoError(t, s.BeginTransaction(t.Context()))
		to[1].SendAsync(t.Context(), record.Record{}, func(record.Position, error) {}) // which lacks a marker before it
		require.NoError(t, s.EndTransaction(t.Context(), false))
		require.Equal(t, []record.TopicPartition{{Topic: "bills"}}, c.added[2], "each transaction has its own partitions")
		require.NoError(t, s.Close())
	})
}

// TestNothingWaitsForACoordinatorWithoutEnd: what waits for partitions to be added ends with
// its context, and with its session.
func TestNothingWaitsForACoordinatorWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s, to := openTransaction(t)
		outcome := make(chan error, 1)
		to[0].SendAsync(t.Context(), record.Record{}, func(_ record.Position, err error) { outcome <- err })
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := to[1].Send(soon, record.Record{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, s.EndTransaction(soon, false), context.DeadlineExceeded)
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-outcome, fault.Closed)
	})
}

// TestAPartitionThatIsNotAdded: its records fail, and so does the transaction; a producer
// that is fenced learns that with its next record.
func TestAPartitionThatIsNotAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s, to := openTransaction(t)
		outcomes := make(chan error, 2)
		tell := func(_ record.Position, err error) { outcomes <- err }
		to[0].SendAsync(t.Context(), record.Record{}, tell)
		c.answer <- fault.Newf(fault.ProducerFenced, "by another one")
		require.ErrorIs(t, <-outcomes, fault.ProducerFenced)
		to[1].SendAsync(t.Context(), record.Record{}, tell)
		require.ErrorIs(t, <-outcomes, fault.ProducerFenced)
		require.ErrorIs(t, s.EndTransaction(t.Context(), true), fault.ProducerFenced)
		require.Len(t, c.added, 1)
		require.NoError(t, s.Close())
	})
}

// TestATransactionEndsBehindItsSenders: what was accepted has its outcome when End returns,
// however many send meanwhile, and afterwards nothing is accepted.
func TestATransactionEndsBehindItsSenders(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			c, s, to := openTransaction(t)
			close(c.answer)
			var written, begun atomic.Int64
			enough := make(chan struct{})
			var senders sync.WaitGroup
			for n := range 8 {
				senders.Go(func() {
					for refused := make(chan struct{}, 1); ; {
						to[n%len(to)].SendAsync(t.Context(), record.Record{}, func(_ record.Position, err error) {
							if err == nil {
								written.Add(1)
							} else if errors.Is(err, fault.InvalidTxnState) {
								select {
								case refused <- struct{}{}:
								default:
								}
							}
						})
						if begun.Add(1) == 100 {
							close(enough)
						}
						select {
						case <-refused:
							return
						default:
						}
					}
				})
			}
			<-enough
			_ = s.EndTransaction(t.Context(), true) // which a refusal may fail
			at := written.Load()
			senders.Wait()
			require.Equal(t, at, written.Load())
			require.NoError(t, s.Close())
		})
	}
}

// A sender that finds a lane wanted by another one, which has not said so to the
// transaction yet, has it added itself: its records would be outside the transaction.
func TestALaneIsAddedThatAnotherSenderIsAboutToWant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s, to := openTransaction(t)
		close(c.answer)
		w := to[0].(*writer)
		l, err := w.lane(0)
		require.NoError(t, err)
		l.wanted.Store(s.transaction.number.Load()) // the other one's first step
		require.NoError(t, s.transaction.enter())
		defer s.transaction.leave()
		require.NoError(t, s.transaction.enlist(t.Context(), l))
		require.True(t, s.transaction.has(l))
		require.Len(t, c.added, 1)
		require.Equal(t, []record.TopicPartition{{Topic: "orders"}}, c.added[0])
	})
}

// A record that was not even accepted, without a callback, fails the whole transaction:
// Commit says so, and a second one does not commit what is left.
func TestARecordThatIsNotAcceptedFailsItsTransaction(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for name, send := range map[string]func(w producer.Writer){
		"a record": func(w producer.Writer) { w.SendAsync(over, record.Record{Value: []byte("v")}, nil) },
		"a batch":  func(w producer.Writer) { w.Append(t.Context(), 0, &record.Batch{}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, s, to := openTransaction(t)
				close(c.answer)
				to[1].SendAsync(t.Context(), record.Record{Value: []byte("v")}, nil)
				send(to[0])
				require.Error(t, s.Flush(t.Context()))
				for range 2 {
					require.ErrorIs(t, s.EndTransaction(t.Context(), true), fault.InvalidTxnState)
				}
				require.NoError(t, s.EndTransaction(t.Context(), false))
				send(to[0]) // of no transaction
				require.Error(t, s.Flush(t.Context()))
				require.NoError(t, s.BeginTransaction(t.Context()))
				require.NoError(t, s.EndTransaction(t.Context(), true))
			})
		})
	}
}
