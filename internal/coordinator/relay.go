package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/runnel-go/runnel/fault"
)

// relay is a request to the coordinator of a partition on another node.
type relay struct {
	send  func(ctx context.Context, node int32, request []byte) ([]byte, error)
	node  int32
	wait  time.Duration // how long the node is asked to wait
	reads bool          // it changes nothing
	lost  *fault.Error  // fault.NotCoordinator, for one that has had no effect, or that only reads
}

// relayed makes a request and returns the decoded answer.
func relayed[A any](ctx context.Context, r relay, request []byte, decode func([]byte) (A, error)) (a A, err error) {
	soon, cancel := context.WithTimeout(ctx, answerFor+r.wait)
	defer cancel()
	fields, err := r.send(soon, r.node, request)
	if code := fault.CodeOf(err); code == fault.NetworkException || code == fault.UnknownOutcome && r.reads {
		err = r.lost.Because(err)
	}
	if err != nil {
		return a, err
	}
	if a, err = decode(fields); err != nil {
		return a, fault.Newf(fault.UnknownOutcome, "the answer of node %d", r.node).Because(err)
	}
	return a, nil
}

// told returns err, of a request that another node relayed, as that node has to hear it.
func (s *shard[C]) told(ctx context.Context, err error) error {
	switch {
	case fault.CodeOf(err) == fault.UnknownOutcome:
	case errors.Is(err, fault.Closed):
		return s.notCoordinator()
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return fault.Newf(fault.UnknownOutcome, "a command of %s", s.topic.Name).Because(err)
	}
	return err
}
