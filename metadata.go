package runnel

import (
	"context"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/topic"
)

// command runs do as the writer, once it is its turn. ctx bounds the waiting for
// that; what do has begun it ends.
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
	if err := b.lock.Keeps(); err != nil {
		return err
	}
	return do()
}

// newProducerID returns a producer ID that nobody has or ever had.
func (b *Broker) newProducerID(ctx context.Context) (id int64, err error) {
	if id, ok := b.metadata.ProducerID(); ok {
		return id, nil
	}
	err = b.command(ctx, func() (err error) {
		id, err = b.metadata.NewProducerID()
		return err
	})
	return id, err
}

// release gives the writer's token back, once a snapshot is written where one is due.
// The command that was the last does not wait for that; the next command does, and
// Close.
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

// publish makes topics of the catalogue known to the host.
func (b *Broker) publish(names ...string) { b.host.Publish(b.metadata.Catalogue, names...) }

// internalTopic returns the internal topic that spec names, and creates it
// where it is missing.
func (b *Broker) internalTopic(ctx context.Context, spec topic.Spec) (*host.Topic, error) {
	if _, ok := b.host.Lookup(spec.Name); !ok {
		if err := b.createInternal(ctx, spec); err != nil {
			return nil, err
		}
	}
	return b.host.Topic(spec.Name)
}
