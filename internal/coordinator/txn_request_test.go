package coordinator

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/txn"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/host/hosttest"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// txnRequests returns a request of every kind, with all that it can have.
func txnRequests() (all []*txnRequest) {
	for o := txnInit; o <= txnList; o++ {
		all = append(all, &txnRequest{
			op: o, number: 3, ticket: ticket{node: 2, epoch: 7, number: 1 << 40}, process: -5, id: "shop", timeout: time.Minute,
			who: txn.Identity{ProducerID: 9, Epoch: 4}, partitions: []record.TopicPartition{orders}, commit: true, again: true,
		})
	}
	return all
}

var someTxnAnswer = txnAnswer{who: txn.Identity{ProducerID: 9, Epoch: 5}, all: []txn.Description{
	{TransactionalID: "shop", Identity: txn.Identity{ProducerID: 9, Epoch: 4}, State: txn.Ongoing, Timeout: time.Minute, Started: time.UnixMilli(1000), Partitions: []record.TopicPartition{orders}},
	{TransactionalID: "other", State: txn.Empty},
}}

func TestATransactionRequestArrivesAsItWasSent(t *testing.T) {
	for _, q := range txnRequests() {
		b, err := q.encode()
		require.NoError(t, err)
		got, err := decodeTxnRequest(b)
		require.NoError(t, err)
		require.Equal(t, q, got)
	}
	b, err := someTxnAnswer.encode()
	require.NoError(t, err)
	got, err := decodeTxnAnswer(b)
	require.NoError(t, err)
	require.Equal(t, someTxnAnswer, got)
}

// FuzzDecodeTransactionRequest: what another node asks never panics, and is refused or can
// be sent again.
func FuzzDecodeTransactionRequest(f *testing.F) {
	for _, q := range txnRequests() {
		b, err := q.encode()
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := decodeTxnRequest(b)
		if err != nil {
			return
		}
		again, err := q.encode()
		require.NoError(t, err)
		back, err := decodeTxnRequest(again)
		require.NoError(t, err)
		require.Equal(t, q, back)
	})
}

// FuzzDecodeTransactionAnswer: what another node answers never panics.
func FuzzDecodeTransactionAnswer(f *testing.F) {
	b, err := someTxnAnswer.encode()
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeTxnAnswer(b)
		if err != nil {
			return
		}
		again, err := a.encode()
		require.NoError(t, err)
		back, err := decodeTxnAnswer(again)
		require.NoError(t, err)
		twice, err := back.encode()
		require.NoError(t, err)
		require.Equal(t, again, twice)
	})
}

// shop is a coordinator of transactional ID "shop", on node 7.
type shop struct {
	*Transactions
	t      *testing.T
	shard  *txnShard
	host   *hosttest.Host
	state  *hosttest.Group // its partition's
	orders *hosttest.Group
	number int64
}

// newShop returns a shop. change may change its configuration.
func newShop(t *testing.T, change ...func(*TransactionsConfig)) *shop {
	t.Helper()
	r := hosttest.NewReplication()
	h := hosttest.Replicated(t, r, topic.TransactionState, "orders")
	fresh := int64(100)
	cfg := TransactionsConfig{
		Host: h.Host, Node: 7, Retention: time.Hour, Reserve: layout.NewReserve(nil, "", 0),
		Ensure: func(context.Context, topic.Spec) (*host.Topic, error) { return h.Topic(topic.TransactionState) },
		NewID:  func(context.Context) (int64, error) { fresh++; return fresh, nil },
	}
	for _, f := range change {
		f(&cfg)
	}
	s := &shop{Transactions: NewTransactions(cfg), t: t, host: h}
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	var err error
	s.shard, err = s.Transactions.shard(t.Context(), "shop")
	require.NoError(t, err)
	_, err = h.Topic("orders")
	require.NoError(t, err)
	s.state, s.orders = r.Group("__transaction_state-0"), r.Group("orders-0")
	return s
}

// serve has a request of node 2 answered.
func (s *shop) serve(q txnRequest) (txnAnswer, error) {
	s.t.Helper()
	q.id = "shop"
	fields, err := q.encode()
	require.NoError(s.t, err)
	fields, err = s.Serve(s.t.Context(), fields)
	if err != nil {
		return txnAnswer{}, err
	}
	a, err := decodeTxnAnswer(fields)
	require.NoError(s.t, err)
	return a, nil
}

// next is the ticket of node 2's next request.
func (s *shop) next() ticket {
	epoch, _ := s.state.Leadership()
	s.number++
	return ticket{node: 2, epoch: epoch, number: s.number}
}

// TestALateInitFencesNobody: a request whose sender has made it again comes behind the later
// one, or to the coordinator of another leader epoch. It has no effect.
func TestALateInitFencesNobody(t *testing.T) {
	s := newShop(t)
	late := txnRequest{op: txnInit, timeout: time.Minute, ticket: s.next()}
	a, err := s.serve(txnRequest{op: txnInit, timeout: time.Minute, ticket: s.next()})
	require.NoError(t, err)
	_, err = s.serve(late)
	require.ErrorIs(t, err, fault.NotCoordinator)
	add := txnRequest{op: txnAdd, who: a.who, partitions: []record.TopicPartition{orders}, ticket: s.next()}
	_, err = s.serve(add)
	require.NoError(t, err, "it is still the producer")

	old := s.next()
	s.state.Depose()
	s.state.Elect()
	_, err = s.serve(txnRequest{op: txnInit, timeout: time.Minute, ticket: old})
	require.ErrorIs(t, err, fault.NotCoordinator)
	a, err = s.serve(txnRequest{op: txnEnd, who: a.who, commit: true, ticket: s.next()})
	require.NoError(t, err)
	b, err := s.serve(txnRequest{op: txnInit, timeout: time.Minute, ticket: ticket{node: 2, epoch: s.next().epoch, number: 1}, process: 1})
	require.NoError(t, err, "the node has started again, and counts anew")
	require.Greater(t, b.who.Epoch, a.who.Epoch)
}

// TestTheNextCoordinatorWritesWhatIsDecided: a coordinator falls while the markers of a
// transaction can't be written. Its caller looks for the next one, which
// writes them, with its own epoch.
func TestTheNextCoordinatorWritesWhatIsDecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		who, err := s.Init(t.Context(), "shop", time.Minute)
		require.NoError(t, err)
		require.NoError(t, s.Add(t.Context(), "shop", who, orders))
		s.orders.Depose() // no marker is written
		ended := make(chan error, 1)
		next := txn.Identity{}
		go func() {
			var err error
			next, err = s.End(t.Context(), "shop", who, true)
			ended <- err
		}()
		time.Sleep(time.Second)
		require.Empty(t, ended)
		s.state.Depose()
		s.LeadershipChanged(0)
		time.Sleep(10 * time.Second)
		s.orders.Elect()
		time.Sleep(10 * time.Second)
		require.EqualValues(t, 0, s.orders.EndOffset(), "a coordinator that was deposed leaves it to the next one")
		require.Empty(t, ended, "the caller looks for the next one")
		s.state.Elect()
		s.LeadershipChanged(0)
		require.NoError(t, <-ended)
		require.Equal(t, txn.Identity{ProducerID: who.ProducerID, Epoch: who.Epoch + 1}, next)
		require.EqualValues(t, 1, s.orders.EndOffset())
		all, err := s.List(t.Context())
		require.NoError(t, err)
		require.Equal(t, txn.CompleteCommit, all[0].State)
	})
}

// TestACoordinatorThatLacksTopicsWaits: to a new coordinator that has not followed the
// catalogue yet, the topic of a transaction would be a deleted one, and its marker would be
// left out.
func TestACoordinatorThatLacksTopicsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		knows := false
		s := newShop(t, func(cfg *TransactionsConfig) {
			cfg.CatchUp = func(context.Context) error {
				if !knows {
					return fault.NetworkException
				}
				return nil
			}
		})
		q := txnRequest{op: txnInit, timeout: time.Minute}
		q.ticket = s.next()
		_, err := s.serve(q)
		require.ErrorIs(t, err, fault.CoordinatorLoading)
		knows = true
		q.ticket = s.next()
		_, err = s.serve(q)
		require.NoError(t, err)
	})
}

// TestACommitWhoseAnswerIsLostMayHaveCommitted: a producer asks again after the answer to its
// commit is lost, and meanwhile a newer one has the transactional ID. To the coordinator the
// older one is fenced, which says nothing about its last transaction.
func TestACommitWhoseAnswerIsLostMayHaveCommitted(t *testing.T) {
	for _, test := range []struct {
		name   string
		commit bool
		want   error
	}{
		{"commit", true, fault.UnknownOutcome},
		{"abort", false, fault.ProducerFenced},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t)
				lose := false
				cfg := s.cfg
				cfg.Node = 8
				cfg.Ask = func(ctx context.Context, _ int32, request []byte) ([]byte, error) {
					answer, err := s.Serve(ctx, request)
					if lose {
						lose = false
						_, err := s.Init(ctx, "shop", time.Minute)
						require.NoError(t, err)
						return nil, fault.Newf(fault.UnknownOutcome, "the connection broke")
					}
					return answer, err
				}
				other := NewTransactions(cfg)
				defer other.Close()
				who, err := other.Init(t.Context(), "shop", time.Minute)
				require.NoError(t, err)
				require.NoError(t, other.Add(t.Context(), "shop", who, orders))
				lose = true
				_, err = other.End(t.Context(), "shop", who, test.commit)
				require.ErrorIs(t, err, test.want)
				require.Equal(t, test.want, fault.CodeOf(err))
				_, err = other.End(t.Context(), "shop", who, test.commit)
				require.ErrorIs(t, err, fault.ProducerFenced, "and that is what it is told from then on")
			})
		})
	}
}
