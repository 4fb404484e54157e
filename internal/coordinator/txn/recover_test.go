package txn

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// disk is a coordinator's log and the partitions of transactions as one copy of each has
// them. A crash keeps what is durable of each, and any more of its beginning.
type disk struct {
	*world
	durable    int // of the coordinator's log: so many records
	before     int // the same, if a crash may still lose the last command's, a decision
	partitions map[record.TopicPartition]*copyOf
	endings    []*decided
	sends      []*sent
	clients    map[string]*sender // by transactional ID
}

// copyOf is a partition's log.
type copyOf struct {
	batches []batch
	durable int
}

// batch is a record of a transaction, or a marker.
type batch struct {
	Identity
	sent   *sent // nil for a marker
	commit bool
}

// sent is a transaction as its producer knows it.
type sent struct {
	Identity
	at      map[record.TopicPartition]int // how many records it has written
	asked   bool                          // to be committed
	told    bool                          // that it is
	visible bool                          // to readers of committed records, somewhere
}

// decided is a transaction that is being ended.
type decided struct {
	*Ending
	record int // the decision is in the coordinator's log before it
	marked bool
}

// sender is a producer.
type sender struct {
	identity Identity
	open     *sent
}

func (d *disk) add(r Result) {
	d.took(r)
	d.before = d.durable
	if !r.Late {
		d.durable = len(d.log)
	}
	if r.Ended != nil && !slices.ContainsFunc(d.endings, func(e *decided) bool { return e.Identity == r.Ended.Identity }) {
		d.endings = append(d.endings, &decided{Ending: r.Ended, record: len(d.log)})
	} else {
		d.before = d.durable // it has returned
	}
}

// init has a new producer take a transactional ID.
func (d *disk) init(id string) {
	i, r, err := d.c.Init(id, time.Minute, d.newID(), d.now)
	d.add(r)
	if delete(d.clients, id); err == nil { // the one before is fenced
		d.clients[id] = &sender{identity: i}
	} else {
		require.ErrorIs(d.t, err, fault.ConcurrentTransactions)
	}
}

// send writes a record into each of these partitions, in a producer's transaction.
func (d *disk) send(id string, partitions ...record.TopicPartition) {
	c := d.clients[id]
	if c == nil || c.open != nil && c.open.asked {
		return
	}
	for _, tp := range partitions {
		r, err := d.c.Add(id, c.identity, []record.TopicPartition{tp}, d.now)
		d.add(r)
		if err != nil {
			return
		}
		if c.open == nil {
			c.open = &sent{Identity: c.identity, at: map[record.TopicPartition]int{}}
			d.sends = append(d.sends, c.open)
		}
		c.open.at[tp]++
		p := d.partitions[tp]
		p.batches = append(p.batches, batch{Identity: c.identity, sent: c.open})
	}
}

// endAt is what the decision says of a partition.
func (d *disk) endAt(tp record.TopicPartition) End {
	return End{topic.ID{1}, int64(len(d.partitions[tp].batches))}
}

// mark writes a marker, unless the producer has written with its epoch: then it is there.
func (c *copyOf) mark(e *Ending) {
	if !slices.ContainsFunc(c.batches, func(b batch) bool { return b.ProducerID == e.ProducerID && b.Epoch >= e.Epoch }) {
		c.batches = append(c.batches, batch{Identity: e.Identity, commit: e.Commit})
	}
}

// open returns the transactions without a marker, with the offset of the first record.
func (c *copyOf) open() (first int, of map[Identity]bool) {
	first, of = len(c.batches), map[Identity]bool{}
	for i, b := range c.batches {
		if b.sent != nil && c.markerOf(i) == nil {
			first = min(first, i)
			of[b.Identity] = true
		}
	}
	return first, of
}

// markerOf returns the marker of a record's transaction, or nil.
func (c *copyOf) markerOf(i int) *batch {
	for j := i + 1; j < len(c.batches); j++ {
		if b := &c.batches[j]; b.sent == nil && b.ProducerID == c.batches[i].ProducerID {
			return b
		}
	}
	return nil
}

// stable is where readers of committed records are: before the first open transaction, and
// before what is not durable, except for markers.
func (c *copyOf) stable() int {
	first, _ := c.open()
	covered := c.durable
	for covered < len(c.batches) && c.batches[covered].sent == nil {
		covered++
	}
	return min(first, covered)
}

// step takes an ending one step further.
func (d *disk) step(e *decided) {
	if d.before = d.durable; !e.marked {
		for _, tp := range slices.Concat(e.Partitions, e.Unset) { // the round of syncs
			d.partitions[tp].durable = len(d.partitions[tp].batches)
		}
		for _, tp := range e.Partitions {
			d.partitions[tp].mark(e.Ending)
		}
		e.marked = true
		return
	}
	r, err := d.c.Complete(e.Ending, false, d.now)
	require.NoError(d.t, err)
	d.endings = slices.DeleteFunc(d.endings, func(other *decided) bool { return other == e })
	d.add(r)
	if c := d.clients[e.TransactionalID]; c != nil && c.open != nil && c.open.asked && c.open.ProducerID == e.ProducerID && c.open.Epoch+1 == e.Epoch {
		c.open.told, c.open = e.Commit, nil
	}
}

// look notes what readers of committed records see.
func (d *disk) look() (seen map[record.TopicPartition][]batch) {
	seen = map[record.TopicPartition][]batch{}
	for tp, c := range d.partitions {
		seen[tp] = slices.Clone(c.batches[:c.stable()])
		for i, b := range seen[tp] {
			if b.sent != nil && c.markerOf(i).commit {
				b.sent.visible = true
			}
		}
	}
	return seen
}

// crash loses something, has the coordinator recover, and holds that what readers have seen
// is there.
func (d *disk) crash(rt *rapid.T) {
	seen := d.look()
	d.log = d.log[:rapid.IntRange(d.before, len(d.log)).Draw(rt, "of the coordinator")]
	d.durable, d.before = len(d.log), len(d.log)
	d.endings, d.clients = nil, map[string]*sender{}
	d.c = d.replay()
	var open []Open
	ends := map[record.TopicPartition]int64{}
	for _, tp := range d.places() {
		c := d.partitions[tp]
		c.batches = c.batches[:rapid.IntRange(c.durable, len(c.batches)).Draw(rt, tp.String())]
		c.durable = len(c.batches)
		ends[tp] = int64(len(c.batches))
		_, of := c.open()
		for i := range of {
			open = append(open, Open{tp, i.ProducerID, i.Epoch})
		}
	}
	r, markers, err := d.c.Recover(open, func(tp record.TopicPartition, end End) bool { return ends[tp] >= end.Offset }, d.now)
	require.NoError(rt, err)
	d.add(r)
	for _, e := range markers {
		for _, tp := range e.Partitions {
			d.partitions[tp].mark(e)
		}
	}
	for _, e := range d.c.Undone() {
		d.endings = append(d.endings, &decided{Ending: e, record: len(d.log)})
	}
	for tp, batches := range seen {
		c := d.partitions[tp]
		require.GreaterOrEqual(rt, len(c.batches), len(batches), "readers were further in %v", tp)
		for i, b := range batches {
			if b.sent != nil {
				require.Equal(rt, b.sent, c.batches[i].sent, "readers saw another record at %d of %v", i, tp)
			}
		}
	}
	for tp, c := range d.partitions { // no transaction hangs
		_, of := c.open()
		for i := range of {
			known := slices.ContainsFunc(d.c.List(""), func(k Description) bool {
				return k.ProducerID == i.ProducerID && slices.Contains(k.Partitions, tp) && (k.State == Ongoing && k.Epoch == i.Epoch || k.State.isDecided() && k.Epoch > i.Epoch)
			})
			require.True(rt, known, "transaction %v is open in %v, and the coordinator does not know", i, tp)
		}
	}
}

func (d *disk) places() []record.TopicPartition {
	return slices.SortedFunc(maps.Keys(d.partitions), record.TopicPartition.Compare)
}

// end ends everything and holds that each transaction counts everywhere or nowhere.
func (d *disk) end(rt *rapid.T) {
	for len(d.endings) > 0 {
		d.step(d.endings[0])
	}
	for _, k := range d.c.List("") {
		r, err := d.c.Abort(k.TransactionalID, d.newID(), d.now)
		require.NoError(rt, err)
		d.add(r)
		for len(d.endings) > 0 {
			d.step(d.endings[0])
		}
	}
	for tp, c := range d.partitions {
		_, of := c.open()
		require.Empty(rt, of, "open in %v", tp)
	}
	for _, s := range d.sends {
		written, found, counts := 0, 0, 0
		for tp, n := range s.at {
			written += n
			for i, b := range d.partitions[tp].batches {
				if b.sent == s {
					found++
					if d.partitions[tp].markerOf(i).commit {
						counts++
					}
				}
			}
		}
		if counts > 0 {
			require.True(rt, s.asked, "nobody has committed %v", s.Identity)
			require.Equal(rt, written, counts, "a part of transaction %v, of which there are %d", s.Identity, found)
		} else if written > 0 {
			require.False(rt, s.told, "%v was acknowledged", s.Identity)
			require.False(rt, s.visible, "readers saw %v", s.Identity)
		}
	}
}

// TestRecoverAgainstAModel runs transactions of several producers over one copy of each
// partition, of which a crash at any moment loses what is not synced, again and again.
// Whatever is lost, a transaction counts everywhere or nowhere, what was acknowledged does, as
// does what readers have seen, no reader was further than a partition's end, no transaction
// hangs, and the live state is that of the log.
func TestRecoverAgainstAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := &disk{world: newWorld(rt), partitions: map[record.TopicPartition]*copyOf{}, clients: map[string]*sender{}}
		for n := range int32(3) {
			d.partitions[record.TopicPartition{Topic: "t", Partition: n}] = &copyOf{}
		}
		pick := func() string { return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "id") }
		rt.Repeat(map[string]func(*rapid.T){
			"":     func(*rapid.T) { d.look() },
			"init": func(*rapid.T) { d.init(pick()) },
			"send": func(*rapid.T) {
				id := pick()
				if d.clients[id] == nil {
					d.init(id)
				}
				d.send(id, rapid.SliceOfN(rapid.SampledFrom(d.places()), 1, 4).Draw(rt, "partitions")...)
			},
			"commit or abort": func(rt *rapid.T) {
				id := pick()
				c := d.clients[id]
				if c == nil || c.open == nil || c.open.asked {
					return
				}
				commit := rapid.IntRange(0, 3).Draw(rt, "commit") > 0
				next, r, err := d.c.End(id, c.identity, commit, d.newID(), d.endAt, d.now)
				d.add(r)
				if err != nil {
					delete(d.clients, id)
					return
				}
				if c.open.asked = commit; !commit {
					c.open = nil
				}
				c.identity = next
			},
			"time out": func(rt *rapid.T) {
				r, err := d.c.Abort(pick(), d.newID(), d.now)
				require.NoError(rt, err)
				d.add(r)
			},
			"sync": func(rt *rapid.T) { // by another's append, or for its own sake
				for _, tp := range rapid.SliceOfNDistinct(rapid.SampledFrom(d.places()), 1, 3, rapid.ID).Draw(rt, "partitions") {
					d.partitions[tp].durable = len(d.partitions[tp].batches)
				}
			},
			"step": func(rt *rapid.T) {
				if len(d.endings) > 0 {
					e := d.endings[rapid.IntRange(0, len(d.endings)-1).Draw(rt, "ending")]
					d.step(e)
					if rapid.Bool().Draw(rt, "complete") && slices.Contains(d.endings, e) {
						d.step(e)
					}
				}
			},
			"crash":  d.crash,
			"settle": d.end,
		})
		d.end(rt)
	})
}
