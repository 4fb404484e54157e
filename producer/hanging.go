package producer

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Hanging is a transaction that is open in a partition, and that no coordinator will end:
// readers of committed records wait for it for ever.
type Hanging struct {
	record.TopicPartition
	ProducerState
}

// FindHanging returns the transactions that hang in some partitions, and whose producers have
// written nothing there for longer than that: Kafka's kafka-transactions.sh find-hanging. With
// less than the longest timeout of a transaction, it may return one that has just begun.
func FindHanging(ctx context.Context, admin Admin, longer time.Duration, partitions ...record.TopicPartition) ([]Hanging, error) {
	known, err := admin.DescribeProducers(ctx, partitions...)
	if err != nil {
		return nil, err
	}
	var open []Hanging
	ids := map[int64]bool{}
	for tp, states := range known {
		for _, s := range states {
			if s.TransactionStart >= 0 && time.Since(s.LastTimestamp) >= longer {
				open = append(open, Hanging{tp, s})
				ids[s.ProducerID] = true
			}
		}
	}
	if len(open) == 0 {
		return nil, nil
	}
	coordinated, err := coordinatedOf(ctx, admin, ids)
	if err != nil {
		return nil, err
	}
	open = slices.DeleteFunc(open, func(h Hanging) bool {
		return slices.ContainsFunc(coordinated, func(d TransactionDescription) bool { return d.has(h) })
	})
	slices.SortFunc(open, func(a, b Hanging) int {
		return cmp.Or(a.TopicPartition.Compare(b.TopicPartition), cmp.Compare(a.TransactionStart, b.TransactionStart))
	})
	return open, nil
}

// has reports whether a coordinator will end what may hang.
func (d *TransactionDescription) has(h Hanging) bool {
	return d.ProducerID == h.ProducerID && slices.Contains(d.Partitions, h.TopicPartition)
}

// coordinatedOf returns what coordinators know of producers.
func coordinatedOf(ctx context.Context, admin Admin, producers map[int64]bool) ([]TransactionDescription, error) {
	listed, err := admin.ListTransactions(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, l := range listed {
		if producers[l.ProducerID] {
			names = append(names, l.TransactionalID)
		}
	}
	return admin.DescribeTransactions(ctx, names...)
}

// AbortHanging aborts the hanging transaction that begins at an offset of a partition. It
// returns fault.InvalidTxnState if none does, or if a coordinator has it.
func AbortHanging(ctx context.Context, admin Admin, tp record.TopicPartition, start int64) error {
	known, err := admin.DescribeProducers(ctx, tp)
	if err != nil {
		return err
	}
	at, err := openAt(tp, known[tp], start)
	if err != nil {
		return err
	}
	coordinated, err := coordinatedOf(ctx, admin, map[int64]bool{at.ProducerID: true})
	if err != nil {
		return err
	}
	for _, d := range coordinated {
		if d.has(Hanging{tp, at}) {
			return fault.At(fault.InvalidTxnState, tp.Topic, tp.Partition, start).
				Detailf("it is the transaction of %q, in state %s, which its coordinator ends", d.TransactionalID, d.State).
				Try("abort it by its transactional ID")
		}
	}
	return admin.AbortTransaction(ctx, tp, at)
}

// openAt returns the producer whose open transaction begins at an offset.
func openAt(tp record.TopicPartition, states []ProducerState, start int64) (ProducerState, error) {
	var open []string
	for _, s := range states {
		if s.TransactionStart >= 0 && s.TransactionStart == start {
			return s, nil
		}
		if s.TransactionStart >= 0 {
			open = append(open, fmt.Sprint(s.TransactionStart))
		}
	}
	err := fault.At(fault.InvalidTxnState, tp.Topic, tp.Partition, start).Detailf("no open transaction begins there")
	if len(open) > 0 {
		err = err.Try("those that are open begin at " + strings.Join(open, ", "))
	}
	return ProducerState{}, err
}
