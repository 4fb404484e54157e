package runnel

import (
	"context"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
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
	case <-b.closing:
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

// claimOpening takes the token of whoever opens a topic's partitions.
func (b *Broker) claimOpening(t *localTopic) error {
	select {
	case t.opening <- struct{}{}:
		return nil
	case <-b.closing:
		return fault.Closed
	}
}

// maxCommand is the most that the records of one command may take in bytes: they
// are one batch, so that a crash leaves all of them or none.
const maxCommand = 1 << 30

// commit appends records to the catalogue's log as one batch, waits until they
// count, and folds them. The writer calls it.
func (b *Broker) commit(values [][]byte) error {
	if len(values) == 0 {
		return nil
	}
	builder := record.NewBuilder(maxCommand)
	now := time.Now().UnixMilli()
	for _, v := range values {
		if !builder.Add(now, nil, v, nil) {
			return fault.Newf(fault.RecordListTooLarge, "a command of more than %d bytes", maxCommand)
		}
	}
	batch, err := builder.Batch(nil, record.None, 0)
	if err != nil {
		return err
	}
	outcome := make(outcome, 1)
	b.metadata.Append(batch.Bytes, nil, outcome)
	if err := <-outcome; err != nil {
		return err
	}
	b.snapshots.time = now
	for _, v := range values {
		if err := b.catalogue.Apply(v); err != nil {
			return err
		}
	}
	return nil
}

// outcome is a partition.Completion that one goroutine waits for.
type outcome chan error

// Appended passes on whether the append succeeded.
func (o outcome) Appended(_ int64, err error) { o <- err }
