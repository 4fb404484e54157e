package partition

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/keyindex"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// followEvery is how many records the index of keys may be behind before the writer brings
// it up to date. A condition about a key does that in any case.
const followEvery = 1 << 10

// keys is a partition's index of keys. It is opened by its first use, and then kept up to
// date by the writer; where much of the log is not in it, a goroutine reads that, and what
// wants to know about keys waits.
type keys struct {
	p     *Partition
	cfg   keyindex.Config
	ready atomic.Bool // the index is open, and what it lacks is little

	ctx     context.Context // ends when the partition is shut; made by the first use
	end     context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	index   *keyindex.Index
	waiting []func(error) // to be called when it is ready or cannot be; nil while no goroutine reads
	closed  bool
}

func newKeys(p *Partition, cfg *log.Config) *keys {
	k := &keys{p: p, cfg: keyindex.Config{
		FS: cfg.FS, Dir: cfg.Dir, Topic: p.topic, Partition: p.number, Log: p.log, Codec: p.codec,
		Compacted: func() bool { return p.settings.Load().Keyed },
	}}
	return k
}

// await calls fn once the index is ready, or with the error that keeps it from being so. It
// does not wait.
func (k *keys) await(fn func(error)) {
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		fn(k.p.fault(fault.Closed, -1))
		return
	}
	if k.ctx == nil {
		k.ctx, k.end = context.WithCancel(context.Background())
	}
	k.waiting = append(k.waiting, fn)
	if len(k.waiting) == 1 {
		k.running.Go(k.prepare)
	}
	k.mu.Unlock()
}

// prepare makes the index ready, for all that wait.
func (k *keys) prepare() {
	err := k.open()
	k.mu.Lock()
	k.ready.Store(err == nil)
	waiting := k.waiting
	k.waiting = nil
	k.mu.Unlock()
	for _, fn := range waiting {
		fn(err)
	}
}

func (k *keys) open() error {
	k.mu.Lock()
	index := k.index
	k.mu.Unlock()
	if index == nil {
		var err error
		if index, err = keyindex.Open(k.cfg); err != nil {
			return err
		}
		k.mu.Lock()
		k.index = index
		k.mu.Unlock()
	}
	for index.Behind() > 0 { // what comes meanwhile is read here, and not by the writer
		err := index.Follow(k.ctx)
		if k.ctx.Err() != nil {
			return k.p.fault(fault.Closed, -1)
		}
		if err != nil {
			return k.p.storage(err)
		}
		if index.Behind() < followEvery {
			break
		}
	}
	return nil
}

// keepUp brings an index that is used up to date, if it is far behind. The writer calls it.
func (k *keys) keepUp() {
	if k.ready.Load() && k.index.Behind() >= followEvery && k.index.Follow(k.ctx) != nil {
		k.ready.Store(false) // the next condition about a key gets the error
	}
}

// stop keeps the index from being used, and waits for the goroutine that reads.
func (k *keys) stop() {
	k.mu.Lock()
	k.closed = true
	if k.end != nil {
		k.end()
	}
	k.mu.Unlock()
	k.running.Wait()
}

// close closes the index once no one else uses the partition. flush writes what the next
// process need not read then.
func (k *keys) close(flush bool) error {
	k.stop()
	k.ready.Store(false)
	switch {
	case k.index == nil:
		return nil
	case flush:
		return k.index.Close()
	}
	k.index.Abandon()
	return nil
}

// errNotReady says that a condition is to be judged again once the index is ready.
var errNotReady = errors.New("the index of keys is not ready")

// demandOfKey judges a condition about the key of a batch that would get an offset, given
// what a leader has proposed. The error is errNotReady, or the append's.
func (p *Partition) demandOfKey(c record.Condition, batch []byte, next int64, ahead *ahead) error {
	if !p.settings.Load().KeyIndex {
		return p.fault(fault.InvalidConfig, -1).Detailf("conditions about keys need the topic's index of keys").
			Try("set runnel.key.index=true")
	}
	key, err := p.keyOf(batch)
	if err != nil {
		return err
	}
	k := p.keys
	if !k.ready.Load() {
		return errNotReady
	}
	last, ok, err := p.lastOf(k.index, key, next, ahead)
	switch {
	case errors.Is(err, keyindex.ErrAgain):
		k.ready.Store(false)
		return errNotReady
	case err != nil:
		return p.storage(err)
	}
	conflict := &fault.Conflict{Topic: p.topic, Partition: p.number, Key: true, Want: c.Offset, Have: -1, HaveEpoch: -1}
	if ok {
		conflict.Have, conflict.HaveEpoch = last.Offset, last.Epoch
	}
	if c.Demand == record.KeyAbsent {
		if conflict.Want = -1; !ok || last.Tombstone {
			return nil
		}
		return conflict
	}
	if ok && last.Offset == c.Offset {
		return nil
	}
	return conflict
}

// lastOf returns the last record of a key, proposed or in the log.
func (p *Partition) lastOf(index *keyindex.Index, key []byte, next int64, ahead *ahead) (last keyindex.Last, ok bool, err error) {
	if err := index.Follow(p.keys.ctx); err != nil {
		return last, false, err
	}
	if ahead != nil {
		if last, ok, err = ahead.last(p, key, index.Next(), next); ok || err != nil {
			return last, ok, err
		}
	}
	return index.Last(key)
}

// keyOf returns the key of a batch of one record.
func (p *Partition) keyOf(batch []byte) ([]byte, error) {
	b, err := record.Parse(batch)
	if err == nil && b.Count != 1 {
		err = p.fault(fault.InvalidRecord, -1).Detailf("a condition about a key, and %d records", b.Count)
	}
	var r record.Record
	if err == nil {
		err = each(b, p.codec, func(_ *record.Batch, only *record.Record) error {
			r = *only
			return nil
		})
	}
	if err == nil && r.Key == nil {
		err = p.fault(fault.InvalidRecord, -1).Detailf("a condition about the key of a record without one")
	}
	return r.Key, err
}

// ahead has the batches that a leader has proposed while its topic has an index of keys, as
// long as they are not in the log.
type ahead struct {
	from    int64 // what was proposed from here on is there
	batches []record.Batch
}

// add adds a batch that was proposed. Its bytes do not change any more. end is the log's.
func (a *ahead) add(h record.BatchHeader, bytes []byte, end int64) {
	n := 0
	for n < len(a.batches) && a.batches[n].NextOffset() <= end {
		n++
	}
	kept := copy(a.batches, a.batches[n:])
	clear(a.batches[kept:])
	a.batches = append(a.batches[:kept], record.Batch{BatchHeader: h, Bytes: bytes})
}

// begin makes a what has nothing that was proposed before an offset.
func (a *ahead) begin(from int64) { *a = ahead{from: from} }

// last returns the last record of a key that was proposed. Before an offset all is in the
// index.
func (a *ahead) last(p *Partition, key []byte, indexed, next int64) (last keyindex.Last, ok bool, err error) {
	if indexed < min(a.from, next) {
		return last, false, p.fault(fault.BufferFull, -1).Detailf("what was proposed before the topic had an index of keys is not in the log yet")
	}
	for i := len(a.batches) - 1; i >= 0 && !ok; i-- {
		b := a.batches[i]
		if b.Control() {
			continue
		}
		err = each(b, p.codec, func(_ *record.Batch, r *record.Record) error {
			if r.Key != nil && string(r.Key) == string(key) {
				last, ok = keyindex.Last{Offset: r.Offset, Epoch: b.LeaderEpoch, Tombstone: r.Value == nil}, true
			}
			return nil
		})
		if err != nil {
			return last, false, err
		}
	}
	return last, ok, nil
}
