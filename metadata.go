package runnel

import (
	"context"
	"errors"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/topic"
)

// command runs do as the catalogue's writer, in its turn. ctx bounds only the wait for
// the turn: do runs to its end, so that the catalogue and the files agree.
func (b *Broker) command(ctx context.Context, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case b.writer <- struct{}{}:
		defer b.release()
	case <-ctx.Done():
		return ctx.Err()
	case <-b.host.Closing():
		return fault.Closed
	}
	if b.isClosed() {
		return fault.Closed
	}
	if err := b.lock.Check(); err != nil {
		return err
	}
	if err := b.catchUp(); err != nil {
		return err
	}
	return do()
}

// newProducerID returns a producer ID that was never used.
func (b *Broker) newProducerID(ctx context.Context) (id int64, err error) {
	if id, ok := b.metadata.ProducerID(); ok {
		return id, nil
	}
	c := &change{kind: allotProducerIDs, own: true}
	err = b.change(ctx, c)
	return c.first, err
}

// release gives the writer's token back. If a snapshot is due, a goroutine writes it
// first: the command that has just run does not wait for it, but the next one and
// Close do.
func (b *Broker) release() {
	if !b.metadata.Due() || b.isClosed() {
		<-b.writer
		return
	}
	go func() {
		defer func() { <-b.writer }()
		if err := b.metadata.WriteSnapshot(); err != nil {
			b.journal.Warn("a snapshot of the catalogue could not be written", "error", err)
			b.metadata.Postpone()
		}
	}()
}

// commit appends a command's records to the catalogue, and makes the topics of this
// process what it then says. Closing, it need not: the command took effect nevertheless.
func (b *Broker) commit(values [][]byte) error {
	if err := b.metadata.Commit(values); err != nil {
		return err
	}
	err := b.reconcile(b.metadata.TakeChanged())
	if b.isClosed() && errors.Is(err, fault.Closed) {
		return nil
	}
	return err
}

// publish adds or updates the named topics in the host.
func (b *Broker) publish(names ...string) { b.host.Publish(b.metadata.Catalogue, names...) }

// internalTopic returns the internal topic that spec names. It creates the topic if it
// is missing.
func (b *Broker) internalTopic(ctx context.Context, spec topic.Spec) (*host.Topic, error) {
	if _, ok := b.host.Lookup(spec.Name); !ok {
		if err := b.change(ctx, &change{kind: createInternal, specs: []topic.Spec{spec}}); err != nil {
			return nil, err
		}
	}
	return b.host.Topic(spec.Name)
}
