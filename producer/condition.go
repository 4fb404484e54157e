package producer

import (
	"context"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Condition is what SendIf demands of what is there. IfEndAt, IfKeyAt and IfAbsent make
// one.
type Condition = record.Condition

// Conflict is the error of SendIf whose condition did not hold. It says what is there
// instead. Nothing was written.
type Conflict = fault.Conflict

// IfEndAt demands that the partition ends at an offset: that the record gets it, and
// nothing was written since. Markers of transactions and, in replica groups, the control
// record of each new leader take offsets, too.
func IfEndAt(offset int64) Condition { return Condition{Demand: record.EndAt, Offset: offset} }

// IfKeyAt demands that the last record of the record's key, in its partition, is at an offset:
// the one that the program has read, or got when it wrote it. A record of an open transaction
// counts, one of an aborted transaction does not. The topic must have an index of keys
// (topic.Config.KeyIndex), or the error is fault.InvalidConfig; a record without a key is
// fault.InvalidRecord.
//
// Compaction keeps the last record of each key. Where retention has deleted it, the key has
// no record.
func IfKeyAt(offset int64) Condition { return Condition{Demand: record.KeyAt, Offset: offset} }

// IfAbsent demands that the record's key has no record in its partition, or that the last one
// is a tombstone. It needs what IfKeyAt needs.
func IfAbsent() Condition { return Condition{Demand: record.KeyAbsent} }

// SendIf sends r if the condition holds, and waits for its acknowledgement. The condition
// is judged in the partition's only writer, where nothing comes between it and the record.
// So of any number of producers that demand the same, one succeeds.
//
// Where it does not hold, the error is a *Conflict, which answers
// errors.Is(err, fault.PreconditionFailed) and says what is there: read it, and decide
// again. In a transaction a conflict means that the transaction can only be aborted.
//
// What this producer has sent to the partition before comes before r. Other errors are as
// of Send: after fault.UnknownOutcome the record may have been written, and the same call
// then answers with a Conflict whose Have is the record's own offset.
//
// All backends but Kafka can do it, where the error is fault.UnsupportedVersion; so can
// no producer with AcksNone.
func (p *Producer) SendIf(ctx context.Context, r record.Record, condition Condition) (record.Position, error) {
	w, err := p.routeIf(ctx, &r, condition)
	if err != nil {
		return nowhere(&r), err
	}
	return w.SendIf(ctx, r, condition)
}

// routeIf is route for a record with a condition.
func (p *Producer) routeIf(ctx context.Context, r *record.Record, condition Condition) (Writer, error) {
	if !condition.Valid() {
		return nil, fault.At(fault.InvalidRequest, r.Topic, -1, -1).Detailf("a condition about offset %d", condition.Offset)
	}
	return p.route(ctx, r)
}

// SendIf sends a key and a value if the condition holds; see Producer.SendIf.
func (t *Typed[K, V]) SendIf(ctx context.Context, key K, value V, condition Condition) (record.Position, error) {
	buf := t.buffers.Get().(*[]byte)
	defer t.keep(buf)
	r, err := t.encode(buf, &key, &value)
	if err != nil {
		return nowhere(&r), err
	}
	return t.producer.SendIf(ctx, r, condition)
}
