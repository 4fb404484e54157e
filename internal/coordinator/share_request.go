package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/share"
)

// shareRequest is what is asked of the coordinator of share-partitions, on whichever node that
// is. Which fields are used depends on op.
type shareRequest struct {
	op      shareOp
	number  int32 // of the partition of __share_group_state
	ticket  ticket
	process int64 // of the sender's node: each numbers its tickets from 1 on
	again   bool  // the call was made before, with an outcome that is unknown

	key    share.Key
	member string
	start  int64
	demand share.Demand // without the member
	all    []share.Settlement
	search share.Search
	found  []int64
	rest   share.Rest
	to     int64

	waits []shareWait
	wait  time.Duration

	waiter *Waiter // of this process; is not sent
}

// shareWait is a share-partition for which members of a node wait.
type shareWait struct {
	share.Key
	seen int64 // the latest event that they know
	full bool  // some wait for room
}

// shareOp is what a request asks for. The ops have these numbers between nodes.
type shareOp int8

const (
	shareInitialize shareOp = iota + 1
	shareAcquire
	shareSettle
	sharePromote
	shareLeave
	shareReset
	shareDelete
	shareList
	shareDescribe
	shareWatch
)

// reads reports whether a request changes nothing.
func (op shareOp) reads() bool { return op >= shareList }

// shareAnswer is the answer to a request.
type shareAnswer struct {
	acquired share.Acquired
	seen     int64
	errs     []error // fault.InvalidRecordState, or nil
	groups   []string
	all      []share.Description
	freed    []share.Key
	everyone bool // and all others who wait
}

// call has the coordinator of a shard's share-partitions answer a request. While none is
// there, or one is lost with its answer, the call is made again, no longer than a minute and
// than ctx: every op may be repeated.
func (s *Shares) call(ctx context.Context, shard *shareShard, q *shareRequest) (a shareAnswer, err error) {
	err = insist(ctx, s.cfg.Host, "no node coordinates the share group", IsElsewhere, func() error {
		a, err = s.once(ctx, shard, q)
		if errors.Is(err, fault.UnknownOutcome) && s.cfg.Host.IsReplicated() && ctx.Err() == nil {
			q.again = true
			err = shard.notCoordinator().Because(err)
		}
		return err
	})
	if q.again && (IsElsewhere(err) || errors.Is(err, fault.Closed)) {
		err = fault.Newf(fault.UnknownOutcome, "a command of %s", shard.topic.Name).Because(err)
	}
	return a, err
}

// once makes a call where the partition is led at the moment.
func (s *Shares) once(ctx context.Context, shard *shareShard, q *shareRequest) (a shareAnswer, err error) {
	led, replicated := shard.topic.Partitions()[shard.number].Group()
	switch {
	case !replicated || led.Leader == s.cfg.Node:
		q.ticket = ticket{}
		return shard.answer(ctx, q)
	case led.Leader < 0:
		return a, shard.notCoordinator().Detailf("no node leads the partition of the share group at the moment")
	}
	q.number, q.process = shard.number, s.process
	q.ticket = ticket{node: s.cfg.Node, epoch: led.Epoch, number: s.tickets.Add(1)}
	fields, err := q.encode()
	if err != nil {
		return a, err
	}
	r := relay{send: s.cfg.Ask, node: led.Leader, wait: q.wait, reads: q.op.reads(), lost: shard.notCoordinator()}
	return relayed(ctx, r, fields, func(b []byte) (shareAnswer, error) { return decodeShareAnswer(q.op, b) })
}

// Serve answers a request of another node's Shares, as its SharesConfig.Ask brings it.
func (s *Shares) Serve(ctx context.Context, fields []byte) ([]byte, error) {
	q, err := decodeShareRequest(fields)
	if err != nil {
		return nil, err
	}
	shards, err := s.all(ctx, false)
	if err != nil {
		return nil, err
	}
	if int(q.number) >= len(shards) {
		return nil, fault.At(fault.NotCoordinator, share.StateTopic.Name, q.number, -1)
	}
	ctx, cancel := context.WithTimeout(ctx, answerFor+q.wait) // its sender waits no longer
	defer cancel()
	a, err := shards[q.number].answer(ctx, q)
	if err != nil {
		return nil, shards[q.number].told(ctx, err)
	}
	return a.encode(q.op)
}

// shareCaller is a node's process that makes requests for a member, or about a group.
type shareCaller struct {
	node    int32
	process int64
	who     string
}

// admit refuses a request of another node that comes late: behind a later one of the same
// member, or to the coordinator of another leader epoch. What its sender has given up would
// otherwise lock records that no one knows of. Settlements name their acquisition, and may
// come in any order. It belongs to a command.
func (s *shareShard) admit(q *shareRequest) error {
	t := q.ticket
	if t.node == 0 {
		return nil
	}
	if t.epoch != s.epoch {
		return s.notCoordinator().Detailf("the request is for leader epoch %d, and it is %d", t.epoch, s.epoch)
	}
	if q.op == shareSettle || q.op.reads() {
		return nil
	}
	caller := shareCaller{t.node, q.process, q.member}
	if q.member == "" {
		caller.who = "group " + q.key.Group
	}
	if t.number < s.latest[caller] {
		return s.notCoordinator().Detailf("a later request of %q came first", caller.who)
	}
	s.latest[caller] = t.number
	return nil
}

// answer does what a request asks for, where the partition is led.
func (s *shareShard) answer(ctx context.Context, q *shareRequest) (shareAnswer, error) {
	// A command may still set these after ctx has ended: it has them for itself.
	a := new(shareAnswer)
	var err error
	switch now := time.Now; q.op {
	case shareInitialize:
		err = s.run(ctx, q, func(c *share.Coordinator) (share.Result, error) { return c.Initialize(q.key, q.start, now()) })
	case shareAcquire:
		err = s.run(ctx, q, func(c *share.Coordinator) (result share.Result, err error) {
			d := q.demand
			d.Member = q.member
			a.seen = s.news.latest()
			a.acquired, result, err = c.Acquire(q.key, d, now())
			if err == nil && len(a.acquired.Ranges) == 0 && q.waiter != nil {
				s.wait(q.key, q.waiter, a.acquired.Full)
			}
			return result, err
		})
	case shareSettle:
		err = s.run(ctx, q, func(c *share.Coordinator) (result share.Result, err error) {
			a.errs, result, err = c.Settle(q.key, q.member, q.all, q.again, now())
			return result, err
		})
	case sharePromote:
		err = s.run(ctx, q, func(c *share.Coordinator) (share.Result, error) {
			return c.Promote(q.key, q.search, q.found, q.rest, q.to, now())
		})
	case shareLeave:
		err = s.run(ctx, q, func(c *share.Coordinator) (share.Result, error) {
			delete(s.waiting[q.key], q.waiter)
			return c.Leave(q.key, q.member, now())
		})
	case shareReset:
		err = s.run(ctx, q, func(c *share.Coordinator) (share.Result, error) { return c.Reset(q.key, q.start, now()) })
	case shareDelete:
		err = s.run(ctx, q, func(c *share.Coordinator) (share.Result, error) { return c.Delete(q.key.Group, q.key.Topic, now()) })
	case shareList:
		err = s.view(ctx, q, func(c *share.Coordinator) { a.groups = c.Groups() })
	case shareDescribe:
		err = s.view(ctx, q, func(c *share.Coordinator) { a.all = c.Describe(q.key.Group, now()) })
	case shareWatch:
		if err = s.view(ctx, q, func(*share.Coordinator) {}); err == nil {
			a.freed, a.everyone, err = s.news.wait(ctx, q.waits, min(max(q.wait, 0), longestWatch))
		}
	}
	if err != nil {
		return shareAnswer{}, err
	}
	return *a, nil
}
