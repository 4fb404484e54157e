package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/internal/coordinator/txn"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/record"
)

// txnRequest is what is asked of the coordinator of a transactional ID, on whichever node
// that is. Which fields are used depends on op.
type txnRequest struct {
	op         txnOp
	number     int32 // of the partition of __transaction_state
	ticket     ticket
	process    int64 // of the sender's node: each numbers its tickets from 1 on
	id         string
	timeout    time.Duration
	who        txn.Identity
	partitions []record.TopicPartition
	commit     bool

	again bool // the call was made before, with an outcome that is unknown
}

// txnOp is what a request asks for. The ops have these numbers between nodes.
type txnOp int8

const (
	txnInit txnOp = iota + 1
	txnAdd
	txnEnd
	txnAbort
	txnList
)

// txnAnswer is the answer to a request.
type txnAnswer struct {
	who txn.Identity
	all []txn.Description
}

func (q *txnRequest) encode() ([]byte, error) {
	var w wire.Writer
	w.Int8(int8(q.op))
	w.Int32(q.number)
	w.Int32(q.ticket.node)
	w.Int32(q.ticket.epoch)
	w.Int64(q.ticket.number)
	w.Int64(q.process)
	w.CompactString(q.id)
	w.Int64(int64(q.timeout))
	w.Int64(q.who.ProducerID)
	w.Int16(q.who.Epoch)
	attach.WritePartitions(&w, q.partitions)
	w.Bool(q.commit)
	w.Bool(q.again)
	return w.B, w.Err()
}

func decodeTxnRequest(b []byte) (*txnRequest, error) {
	r := wire.NewReader(b)
	q := &txnRequest{op: txnOp(r.Int8()), number: r.Int32()}
	q.ticket = ticket{node: r.Int32(), epoch: r.Int32(), number: r.Int64()}
	q.process, q.id, q.timeout = r.Int64(), r.CompactString(), time.Duration(r.Int64())
	q.who = txn.Identity{ProducerID: r.Int64(), Epoch: r.Int16()}
	q.partitions = attach.ReadPartitions(&r)
	q.commit, q.again = r.Bool(), r.Bool()
	if err := r.End(); err != nil {
		return nil, err
	}
	if q.op < txnInit || q.op > txnList || q.number < 0 {
		return nil, fault.Newf(fault.InvalidRequest, "a request of kind %d about transactions in partition %d", q.op, q.number)
	}
	return q, nil
}

func (a *txnAnswer) encode() ([]byte, error) {
	var w wire.Writer
	w.Int64(a.who.ProducerID)
	w.Int16(a.who.Epoch)
	w.ArrayLen(len(a.all))
	for _, d := range a.all {
		w.CompactString(d.TransactionalID)
		w.Int64(d.ProducerID)
		w.Int16(d.Epoch)
		w.Int8(int8(d.State))
		w.Int64(int64(d.Timeout))
		w.Bool(!d.Started.IsZero())
		w.Int64(d.Started.UnixMilli())
		attach.WritePartitions(&w, d.Partitions)
	}
	return w.B, w.Err()
}

func decodeTxnAnswer(b []byte) (a txnAnswer, err error) {
	r := wire.NewReader(b)
	a.who = txn.Identity{ProducerID: r.Int64(), Epoch: r.Int16()}
	for n := r.ArrayLen(36); n > 0; n-- {
		d := txn.Description{
			TransactionalID: r.CompactString(), Identity: txn.Identity{ProducerID: r.Int64(), Epoch: r.Int16()},
			State: txn.State(r.Int8()), Timeout: time.Duration(r.Int64()),
		}
		if began, ms := r.Bool(), r.Int64(); began {
			d.Started = time.UnixMilli(ms)
		}
		d.Partitions = attach.ReadPartitions(&r)
		a.all = append(a.all, d)
	}
	return a, r.End()
}

// call has the coordinator of a partition's transactional IDs answer a request. While none
// is there, or one is lost with its answer, the call is made again, no longer than a minute
// and than ctx: every op may be repeated.
func (t *Transactions) call(ctx context.Context, s *txnShard, q txnRequest) (a txnAnswer, err error) {
	err = insist(ctx, t.cfg.Host, "no node coordinates the transactional ID", IsElsewhere, func() error {
		a, err = t.once(ctx, s, &q)
		if errors.Is(err, fault.UnknownOutcome) && t.cfg.Host.IsReplicated() && ctx.Err() == nil {
			q.again = true
			err = s.notCoordinator().Because(err)
		}
		return err
	})
	if q.again && (IsElsewhere(err) || errors.Is(err, fault.Closed) || q.op == txnEnd && q.commit && isFenced(err)) {
		err = fault.Newf(fault.UnknownOutcome, "a command of %s", s.topic.Name).Because(err)
	}
	return a, err
}

// isFenced reports whether a producer has its transactional ID no more. That does not say how its
// last transaction ended.
func isFenced(err error) bool {
	return errors.Is(err, fault.ProducerFenced) || errors.Is(err, fault.InvalidProducerID)
}

// once makes a call where the partition is led at the moment.
func (t *Transactions) once(ctx context.Context, s *txnShard, q *txnRequest) (a txnAnswer, err error) {
	led, replicated := s.topic.Partitions()[s.number].Group()
	switch {
	case !replicated || led.Leader == t.cfg.Node:
		q.ticket = ticket{}
		return s.answer(ctx, q)
	case led.Leader < 0:
		return a, s.notCoordinator().Detailf("no node leads the partition of the transactional ID at the moment")
	}
	q.number, q.process = s.number, t.process
	q.ticket = ticket{node: t.cfg.Node, epoch: led.Epoch, number: t.tickets.Add(1)}
	fields, err := q.encode()
	if err != nil {
		return a, err
	}
	return relayed(ctx, relay{send: t.cfg.Ask, node: led.Leader, reads: q.op == txnList, lost: s.notCoordinator()}, fields, decodeTxnAnswer)
}

// Serve answers a request of another node's Transactions, as its TransactionsConfig.Ask
// brings it.
func (t *Transactions) Serve(ctx context.Context, fields []byte) ([]byte, error) {
	q, err := decodeTxnRequest(fields)
	if err != nil {
		return nil, err
	}
	shards, err := t.all(ctx, false)
	if err != nil {
		return nil, err
	}
	if int(q.number) >= len(shards) {
		return nil, fault.At(fault.NotCoordinator, txn.StateTopic.Name, q.number, -1)
	}
	ctx, cancel := context.WithTimeout(ctx, answerFor) // its sender waits no longer
	defer cancel()
	a, err := shards[q.number].answer(ctx, q)
	if err != nil {
		return nil, shards[q.number].told(ctx, err)
	}
	return a.encode()
}

// txnCaller is a node's process that makes requests about a transactional ID.
type txnCaller struct {
	node    int32
	process int64
	id      string
}

// admit refuses a request of another node that comes late: behind a later one about the
// same ID, or to the coordinator of another leader epoch. An Init that its sender has made
// again would otherwise fence that sender. It belongs to a command.
func (s *txnShard) admit(q *txnRequest) error {
	t := q.ticket
	if t.node == 0 {
		return nil
	}
	if t.epoch != s.epoch {
		return s.notCoordinator().Detailf("the request is for leader epoch %d, and it is %d", t.epoch, s.epoch)
	}
	caller := txnCaller{t.node, q.process, q.id}
	if t.number < s.latest[caller] {
		return s.notCoordinator().Detailf("a later request about %q came first", q.id)
	}
	s.latest[caller] = t.number
	return nil
}

// answer does what a request asks for, where the partition is led.
func (s *txnShard) answer(ctx context.Context, q *txnRequest) (txnAnswer, error) {
	var a txnAnswer // which a command may still set after ctx has ended
	var err error
	switch q.op {
	case txnInit:
		err = s.command(ctx, q, func(c *txn.Coordinator, fresh int64) (result txn.Result, err error) {
			a.who, result, err = c.Init(q.id, q.timeout, fresh, time.Now())
			return result, err
		})
	case txnAdd:
		err = s.command(ctx, q, func(c *txn.Coordinator, _ int64) (txn.Result, error) {
			result, err := c.Add(q.id, q.who, q.partitions, time.Now())
			if err == nil && len(result.Records) > 0 {
				s.watch(c, q.id)
			}
			return result, err
		})
	case txnEnd:
		err = s.command(ctx, q, func(c *txn.Coordinator, fresh int64) (result txn.Result, err error) {
			a.who, result, err = c.End(q.id, q.who, q.commit, fresh, s.endOf(), time.Now())
			return result, err
		})
		if err == nil {
			err = s.awaitEnd(ctx, q.id)
			if err != nil {
				err = fault.Newf(fault.UnknownOutcome, "the end of the transaction of %q is decided, and not written everywhere yet", q.id).Because(err)
			}
		}
	case txnAbort:
		err = s.abort(ctx, q)
	case txnList:
		err = s.view(ctx, func(c *txn.Coordinator) error {
			a.all = c.List(q.id)
			return nil
		})
	}
	if err != nil {
		return txnAnswer{}, err
	}
	return a, nil
}

// errNeedsID says that a command needs a producer ID that was never used.
var errNeedsID = errors.New("a new producer ID is needed")

// command runs a command about a transactional ID. While the ID's last transaction is being
// ended, it waits and tries again. Producer IDs are made outside of the shard's turn,
// because that may wait for the catalogue.
func (s *txnShard) command(ctx context.Context, q *txnRequest, run func(c *txn.Coordinator, fresh int64) (txn.Result, error)) error {
	for fresh := int64(record.NoProducerID); ; {
		if err := s.transactions.commands.enter(ctx); err != nil {
			return err
		}
		err := s.run(ctx, func(c *txn.Coordinator) (txn.Result, error) {
			if err := s.admit(q); err != nil {
				return txn.Result{}, err
			}
			if fresh < 0 && c.NeedsID(q.id) {
				return txn.Result{}, errNeedsID
			}
			return run(c, fresh)
		})
		s.transactions.commands.leave()
		switch {
		case errors.Is(err, errNeedsID):
			if fresh, err = s.transactions.cfg.NewID(ctx); err != nil {
				return err
			}
		case errors.Is(err, fault.ConcurrentTransactions):
			if err := s.awaitEnd(ctx, q.id); err != nil {
				return err
			}
		default:
			return err
		}
	}
}
