package runnel

import (
	"context"
	"errors"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// verifyBytes is how much Verify reads at a time.
const verifyBytes = 1 << 20

// Verify reads every batch of every topic, both as consumers do, who get the newest
// from memory, and from the files, and the catalogue's snapshots, and compares them
// with their checksums. It returns a fault.CorruptMessage for each partition with a
// difference, naming the first: the disk has damaged it, or the program has written
// into the bytes of a record that it received, which are read-only. ctx ends it early.
// Producers and consumers may continue meanwhile.
func (b *Broker) Verify(ctx context.Context) error {
	if b.isClosed() {
		return fault.Closed
	}
	var names []string
	for t := range b.host.All() {
		names = append(names, t.Name)
	}
	errs := []error{b.verify(ctx, layout.Catalogue, b.metadata.Partition()), b.command(ctx, b.metadata.Verify)}
	for _, name := range names {
		t, err := b.host.Whole(name)
		if errors.Is(err, fault.UnknownTopic) {
			continue // deleted meanwhile
		}
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for n, p := range t.Partitions() {
			err := p.Err()
			if local := p.Copy(); err == nil && local != nil {
				err = b.verify(ctx, record.TopicPartition{Topic: name, Partition: int32(n)}, local)
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// verify reads one partition, first as consumers do and then from the files alone.
func (b *Broker) verify(ctx context.Context, tp record.TopicPartition, p *partition.Partition) error {
	if err := verifyBy(ctx, tp, p, p.Read); err != nil {
		return err
	}
	return verifyBy(ctx, tp, p, p.ReadStored)
}

func verifyBy(ctx context.Context, tp record.TopicPartition, p *partition.Partition, read func(offset int64, max int, buf []byte) (partition.Slice, error)) error {
	buf := make([]byte, 0, verifyBytes)
	end := p.HighWatermark()
	for offset := p.StartOffset(); offset < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, err := read(offset, verifyBytes, buf)
		switch {
		case errors.Is(err, fault.UnknownTopic):
			return nil // deleted meanwhile
		case errors.Is(err, fault.OffsetOutOfRange) && p.StartOffset() > offset:
			offset = p.StartOffset() // records were deleted meanwhile
			continue
		case err != nil:
			return err
		}
		offset, err = verifyBatches(offset, s.Bytes)
		s.Release()
		if err != nil {
			return fault.At(fault.CorruptMessage, tp.Topic, tp.Partition, offset).Because(err)
		}
	}
	return nil
}

// verifyBatches parses a run of batches from an offset on and returns the offset
// after them, or where the first damaged one begins.
func verifyBatches(next int64, batches []byte) (int64, error) {
	for len(batches) > 0 {
		batch, err := record.Parse(batches)
		if err != nil {
			return next, err
		}
		batches, next = batches[batch.Size():], batch.NextOffset()
	}
	return next, nil
}
