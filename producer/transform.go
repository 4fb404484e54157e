package producer

import (
	"context"
	"errors"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Transform reads, handles and writes exactly once: it polls c, and for each batch of records
// runs fn in a transaction of p, of which c's offsets are a part. What fn sends counts if and
// only if the records count as done, whatever happens to this process. It goes on until ctx
// ends, and then returns nil.
//
// fn gets records of one partition, in order, valid until it returns, and sends with tx or
// with p's typed views. If it fails, the transaction is aborted, c goes back to the batch's
// beginning, and Transform returns the error: a further call tries again. Where c has lost
// its place in the group, another one reads the batch: the transaction is aborted, and
// Transform goes on. fault.ProducerFenced means that p has been replaced.
//
// c has a group, and is made with consumer.ReadCommitted and consumer.ManualCommit. p has a
// transactional ID that no other running instance of the program has. Transform belongs to
// the goroutine that reads c.
func Transform(ctx context.Context, p *Producer, c *consumer.Consumer, fn func(tx *Tx, records []record.Record) error) error {
	if _, err := c.GroupMetadata(ctx); errors.Is(err, fault.InvalidConfig) || errors.Is(err, fault.InvalidGroup) {
		return err
	}
	over := func(err error) bool { return ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) }
	for {
		err := p.settle(ctx, c)
		var records []record.Record
		if err == nil {
			records, err = c.Poll(ctx)
		}
		if err == nil && len(records) > 0 {
			err = p.transform(ctx, c, records, fn)
		}
		switch {
		case over(err):
			return nil
		case err != nil:
			return err
		}
	}
}

// unsettled is a batch of Transform's whose transaction may have been committed.
type unsettled struct {
	at   record.TopicPartition
	from int64 // where the batch begins
}

// transform handles one batch.
func (p *Producer) transform(ctx context.Context, c *consumer.Consumer, records []record.Record, fn func(tx *Tx, records []record.Record) error) (err error) {
	first, last := &records[0], &records[len(records)-1]
	batch := unsettled{record.TopicPartition{Topic: first.Topic, Partition: first.Partition}, first.Offset}
	done := consumer.Offset{LeaderEpoch: last.LeaderEpoch}
	ended, unknown, lost := false, false, false // lost: c has lost its place in the group
	defer func() {
		if ended || unknown {
			return
		}
		if lost {
			err = nil
		}
		if back := goBack(ctx, c, batch.at, batch.from); back != nil { // it is called if fn panicked, too
			err = errors.Join(err, back)
		}
	}()
	unknown, err = p.transact(ctx, func(tx *Tx) (err error) {
		if done.Offset, err = c.Position(ctx, batch.at); err != nil {
			return err
		}
		group, err := c.GroupMetadata(ctx)
		if err != nil {
			lost = lostPlace(err)
			return err
		}
		if err := fn(tx, records); err != nil {
			return err
		}
		err = tx.SendOffsets(ctx, group, map[record.TopicPartition]consumer.Offset{batch.at: done})
		lost = lostPlace(err)
		return err
	})
	if ended = err == nil; unknown {
		p.unsettled.Store(&batch)
	}
	return err
}

// settle finds out how the last batch's transaction ended, if that is unknown. If it does not
// count, c goes back to where its group is.
func (p *Producer) settle(ctx context.Context, c *consumer.Consumer) error {
	batch := p.unsettled.Load()
	if batch == nil {
		return nil
	}
	err := p.Begin(ctx) // ends the last transaction first, as it was to end
	if err == nil || errors.Is(err, fault.InvalidTxnState) {
		err = p.Abort(ctx)
	}
	if err != nil && !errors.Is(err, fault.ProducerFenced) {
		return err
	}
	committed, failed := c.Committed(ctx, batch.at)
	if failed == nil {
		from := batch.from
		if o, ok := committed[batch.at]; ok {
			from = o.Offset
		}
		failed = goBack(ctx, c, batch.at, from)
	}
	if failed == nil {
		p.unsettled.Store(nil)
	}
	if err == nil {
		err = failed
	}
	return err
}

// goBack makes c read a partition again from an offset, if it still has the partition.
func goBack(ctx context.Context, c *consumer.Consumer, tp record.TopicPartition, offset int64) error {
	err := c.Seek(context.WithoutCancel(ctx), tp, offset)
	if errors.Is(err, fault.NotAssigned) {
		return nil
	}
	return err
}

// lostPlace reports whether an error says that a consumer is not, or not any more, the member
// of its group that may commit.
func lostPlace(err error) bool {
	return errors.Is(err, fault.UnknownMember) || errors.Is(err, fault.IllegalGeneration) || errors.Is(err, fault.StaleMemberEpoch)
}
