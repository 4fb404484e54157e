package coordinator

import (
	"math"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/share"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/topic"
)

// never stands for the zero time.
const never = math.MinInt64

func writeTime(w *wire.Writer, t time.Time) {
	ms := int64(never)
	if !t.IsZero() {
		ms = t.UnixMilli()
	}
	w.Int64(ms)
}

func readTime(r *wire.Reader) time.Time {
	if ms := r.Int64(); ms != never {
		return time.UnixMilli(ms)
	}
	return time.Time{}
}

func writeShareKey(w *wire.Writer, k share.Key) {
	w.CompactString(k.Group)
	w.UUID(k.Topic)
	w.Int32(k.Partition)
}

func readShareKey(r *wire.Reader) share.Key {
	return share.Key{Group: r.CompactString(), Topic: topic.ID(r.UUID()), Partition: r.Int32()}
}

// shareKeySize is the least size of an encoded key.
const shareKeySize = 21

func (q *shareRequest) encode() ([]byte, error) {
	var w wire.Writer
	w.Int8(int8(q.op))
	w.Int32(q.number)
	w.Int32(q.ticket.node)
	w.Int32(q.ticket.epoch)
	w.Int64(q.ticket.number)
	w.Int64(q.process)
	w.Bool(q.again)
	writeShareKey(&w, q.key)
	w.CompactString(q.member)
	switch q.op {
	case shareInitialize, shareReset:
		w.Int64(q.start)
	case shareAcquire:
		d := &q.demand
		for _, n := range [...]int64{d.Acquisition, int64(d.Max), int64(d.Lock), int64(d.Attempts), int64(d.Window), d.From, d.To, d.High} {
			w.Int64(n)
		}
		w.Bool(d.DeadLetters)
	case shareSettle:
		w.ArrayLen(len(q.all))
		for _, s := range q.all {
			w.Int64(s.First)
			w.Int64(s.Last)
			w.Int64(s.Acquisition)
			w.Int8(int8(s.Kind))
			writeTime(&w, s.At)
		}
	case sharePromote:
		q.encodeSearch(&w)
	case shareWatch:
		w.Int64(int64(q.wait))
		w.ArrayLen(len(q.waits))
		for _, one := range q.waits {
			writeShareKey(&w, one.Key)
			w.Int64(one.seen)
			w.Bool(one.full)
		}
	}
	return w.B, w.Err()
}

func (q *shareRequest) encodeSearch(w *wire.Writer) {
	w.Int64(q.search.First)
	w.Int64(q.search.Last)
	writeTime(w, q.search.Passed)
	writeTime(w, q.search.Now)
	w.ArrayLen(len(q.found))
	for _, offset := range q.found {
		w.Int64(offset)
	}
	w.Int64(q.rest.First)
	w.Int64(q.rest.Last)
	writeTime(w, q.rest.Next)
	w.Int64(int64(q.rest.Count))
	w.Int64(q.to)
}

func decodeShareRequest(b []byte) (*shareRequest, error) {
	r := wire.NewReader(b)
	q := &shareRequest{op: shareOp(r.Int8()), number: r.Int32()}
	q.ticket = ticket{node: r.Int32(), epoch: r.Int32(), number: r.Int64()}
	q.process, q.again, q.key, q.member = r.Int64(), r.Bool(), readShareKey(&r), r.CompactString()
	switch q.op {
	case shareInitialize, shareReset:
		q.start = r.Int64()
	case shareAcquire:
		q.demand = share.Demand{
			Acquisition: r.Int64(), Max: int(r.Int64()), Lock: time.Duration(r.Int64()), Attempts: int(r.Int64()), Window: int(r.Int64()),
			From: r.Int64(), To: r.Int64(), High: r.Int64(), DeadLetters: r.Bool(),
		}
	case shareSettle:
		for n := r.ArrayLen(33); n > 0; n-- {
			q.all = append(q.all, share.Settlement{First: r.Int64(), Last: r.Int64(), Acquisition: r.Int64(), Kind: share.Kind(r.Int8()), At: readTime(&r)})
		}
	case sharePromote:
		q.search = share.Search{First: r.Int64(), Last: r.Int64(), Passed: readTime(&r), Now: readTime(&r)}
		for n := r.ArrayLen(8); n > 0; n-- {
			q.found = append(q.found, r.Int64())
		}
		q.rest = share.Rest{First: r.Int64(), Last: r.Int64(), Next: readTime(&r), Count: int(r.Int64())}
		q.to = r.Int64()
	case shareWatch:
		q.wait = time.Duration(r.Int64())
		for n := r.ArrayLen(shareKeySize + 9); n > 0; n-- {
			q.waits = append(q.waits, shareWait{readShareKey(&r), r.Int64(), r.Bool()})
		}
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	if !q.isSound() {
		return nil, fault.Newf(fault.InvalidRequest, "a request of kind %d about share groups in partition %d", q.op, q.number)
	}
	return q, nil
}

// isSound reports whether a request is one that a node makes: state that it would leave can be
// written, and read again.
func (q *shareRequest) isSound() bool {
	if q.op < shareInitialize || q.op > shareWatch || q.number < 0 || q.wait < 0 || q.wait > longestWatch || q.start < 0 {
		return false
	}
	d := &q.demand
	if q.op == shareAcquire && (q.member == "" || d.Acquisition <= 0 || d.Max <= 0 || d.Lock < 0 || d.Window < 0 || d.From < 0 || d.To > math.MaxInt64-1) {
		return false
	}
	for _, offset := range q.found {
		if offset < q.search.First || offset > q.search.Last {
			return false
		}
	}
	rest := &q.rest
	return rest.Count >= 0 && (rest.Count == 0 || q.search.First <= rest.First && rest.First <= rest.Last && rest.Last <= q.search.Last && rest.Last < max(q.to, 0))
}

func (a *shareAnswer) encode(op shareOp) ([]byte, error) {
	var w wire.Writer
	switch op {
	case shareAcquire:
		a.encodeAcquired(&w)
	case shareSettle:
		w.ArrayLen(len(a.errs))
		for _, err := range a.errs {
			w.Bool(err == nil)
		}
	case shareList:
		w.ArrayLen(len(a.groups))
		for _, name := range a.groups {
			w.CompactString(name)
		}
	case shareDescribe:
		w.ArrayLen(len(a.all))
		for _, d := range a.all {
			w.UUID(d.Topic)
			w.Int32(d.Partition)
			for _, n := range [...]int64{d.Start, d.End, d.Acquired, d.Delayed, d.Available} {
				w.Int64(n)
			}
			w.ArrayLen(len(d.Members))
			for _, m := range d.Members {
				w.CompactString(m)
			}
		}
	case shareWatch:
		w.Bool(a.everyone)
		w.ArrayLen(len(a.freed))
		for _, k := range a.freed {
			writeShareKey(&w, k)
		}
	}
	return w.B, w.Err()
}

func (a *shareAnswer) encodeAcquired(w *wire.Writer) {
	w.Int64(a.seen)
	got := &a.acquired
	w.ArrayLen(len(got.Ranges))
	for _, r := range got.Ranges {
		w.Int64(r.First)
		w.Int64(r.Last)
		w.Int32(int32(r.Attempt))
		w.Bool(r.Spent)
	}
	writeTime(w, got.Until)
	writeTime(w, got.Next)
	w.Int64(got.End)
	w.Bool(got.Full)
	writeTime(w, got.Now)
	w.Bool(got.Search != nil)
	if s := got.Search; s != nil {
		w.Int64(s.First)
		w.Int64(s.Last)
		writeTime(w, s.Passed)
		writeTime(w, s.Now)
		w.Int64(int64(s.Most))
	}
}

func decodeShareAnswer(op shareOp, b []byte) (a shareAnswer, err error) {
	r := wire.NewReader(b)
	switch op {
	case shareAcquire:
		a.decodeAcquired(&r)
	case shareSettle:
		for n := r.ArrayLen(1); n > 0; n-- {
			var err error
			if !r.Bool() {
				err = fault.Newf(fault.InvalidRecordState, "the record is not, or no longer, acquired by this member")
			}
			a.errs = append(a.errs, err)
		}
	case shareList:
		for n := r.ArrayLen(1); n > 0; n-- {
			a.groups = append(a.groups, r.CompactString())
		}
	case shareDescribe:
		for n := r.ArrayLen(64); n > 0; n-- {
			d := share.Description{
				Topic: topic.ID(r.UUID()), Partition: r.Int32(), Start: r.Int64(), End: r.Int64(), Acquired: r.Int64(), Delayed: r.Int64(), Available: r.Int64(),
			}
			for m := r.ArrayLen(1); m > 0; m-- {
				d.Members = append(d.Members, r.CompactString())
			}
			a.all = append(a.all, d)
		}
	case shareWatch:
		a.everyone = r.Bool()
		for n := r.ArrayLen(shareKeySize); n > 0; n-- {
			a.freed = append(a.freed, readShareKey(&r))
		}
	}
	return a, r.End()
}

func (a *shareAnswer) decodeAcquired(r *wire.Reader) {
	a.seen = r.Int64()
	got := &a.acquired
	for n := r.ArrayLen(21); n > 0; n-- {
		got.Ranges = append(got.Ranges, share.Range{First: r.Int64(), Last: r.Int64(), Attempt: int(r.Int32()), Spent: r.Bool()})
	}
	got.Until, got.Next, got.End, got.Full, got.Now = readTime(r), readTime(r), r.Int64(), r.Bool(), readTime(r)
	if r.Bool() {
		got.Search = &share.Search{First: r.Int64(), Last: r.Int64(), Passed: readTime(r), Now: readTime(r), Most: int(r.Int64())}
	}
}
