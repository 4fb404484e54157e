package replica

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// beginning is the way to a leader that begins to lead between the first append and the
// second one, and knows no producer.
type beginning struct {
	sent   []int32 // the base sequences, in the order in which they came
	next   int32   // the sequence that the leader takes
	refuse func()  // ends the first append
}

func (b *beginning) self() ID        { return 0 }
func (b *beginning) leader() ID      { return NewID(1, 0) }
func (b *beginning) noLeader() error { return fault.Newf(fault.NotLeader, "no leader") }

func (b *beginning) deliver(batch []byte, _ record.Condition, done func(Result)) {
	h, err := record.ParseHeader(batch)
	if err != nil {
		panic(err)
	}
	b.sent = append(b.sent, h.BaseSequence)
	switch {
	case len(b.sent) == 1:
		b.refuse = func() { done(Result{-1, b.noLeader()}) }
	case h.BaseSequence == b.next:
		b.next++
		done(Result{int64(10 + h.BaseSequence), nil})
	default:
		done(Result{-1, fault.Newf(fault.UnknownProducer, "it begins with sequence %d", h.BaseSequence)})
	}
}

func sequencedFrom(sequence int32) []byte {
	b := make([]byte, record.HeaderLen+record.Size(0, 0, nil, nil, nil))
	record.Put(b[record.HeaderLen:], 0, 0, nil, nil, nil)
	return record.Seal(b, record.BatchHeader{Count: 1, ProducerID: 7, BaseSequence: sequence}).Bytes
}

type outcomesOf []Result

func (o *outcomesOf) Appended(base int64, err error) { *o = append(*o, Result{base, err}) }

// What a producer sends first may be refused by a leader that is about to begin, and what it
// sends next taken for the middle of an unknown producer's sequences: all is sent again.
func TestAGapAtAProducersBeginIsFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		way := &beginning{}
		r := &route{way: way}
		var got outcomesOf
		for i := range int32(3) {
			r.append(sequencedFrom(i), record.Condition{}, &got)
		}
		way.refuse()
		time.Sleep(routeSoon)
		synctest.Wait()
		require.Equal(t, []int32{0, 1, 0, 1, 2}, way.sent)
		require.Equal(t, outcomesOf{{10, nil}, {11, nil}, {12, nil}}, got)

		// With nothing before it that may fill it, the gap is an error.
		r.append(sequencedFrom(5), record.Condition{}, &got)
		require.Len(t, got, 4)
		require.ErrorIs(t, got[3].Err, fault.UnknownProducer)
	})
}
