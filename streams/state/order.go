package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/google/btree"
)

// changedKeys is the keys of the entries that differ from what is below, in
// their order.
type changedKeys struct{ tree *btree.BTreeG[changedKey] }

type changedKey struct {
	key    []byte
	number uint32
}

func (k changedKey) before(other changedKey) bool { return bytes.Compare(k.key, other.key) < 0 }

// add adds an entry whose key is not there.
func (k *changedKeys) add(key []byte, number uint32) {
	k.tree.ReplaceOrInsert(changedKey{key, number})
}

// remove removes an entry's key.
func (k *changedKeys) remove(key []byte) { k.tree.Delete(changedKey{key: key}) }

// ordered makes the store keep an order: that of the keys below, and that of
// the keys that differ.
func (c *Cache[K, V]) ordered() error {
	if c.changed != nil {
		return nil
	}
	if err := c.underlaid(); err != nil {
		return err
	}
	c.changed = &changedKeys{btree.NewG(degree, changedKey.before)}
	c.all(func(e *Entry[K, V]) bool {
		if e.state > clean {
			c.changed.add(c.appendKey(nil, e), e.number)
		}
		return true
	})
	return nil
}

// underlaid puts a Bytes below the entries, if there is none yet. Of an entry
// that has changed since the last flush it gets the value of now.
func (c *Cache[K, V]) underlaid() (err error) {
	if c.below != nil {
		return nil
	}
	below := NewMemory()
	var b Batch
	c.all(func(e *Entry[K, V]) bool {
		if !e.Present || !e.OldPresent {
			return true
		}
		row := binary.BigEndian.AppendUint64(nil, uint64(e.Ms))
		row, failed := c.value.Append(row, e.Value)
		switch {
		case failed == nil:
			b.Put(c.appendKey(nil, e), row)
		case e.state == clean:
			err = failed
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	c.below = below
	return below.Apply(&b)
}

// difference is an entry that differs from what is below.
type difference[V any] struct {
	key     []byte
	value   V
	ms      int64
	present bool
}

// differences returns the entries of a range that differ from what is below.
func (c *Cache[K, V]) differences(from, to []byte, order Order) (found []difference[V]) {
	if c.changed.tree.Len() == 0 {
		return nil
	}
	c.changed.tree.AscendGreaterOrEqual(changedKey{key: from}, func(k changedKey) bool {
		if to != nil && bytes.Compare(k.key, to) >= 0 {
			return false
		}
		e := c.entry(k.number)
		found = append(found, difference[V]{k.key, e.Value, e.Ms, e.Present})
		return true
	})
	if order == Descending {
		slices.Reverse(found)
	}
	return found
}

// scan calls yield for each key of a range that has a value, in their order or
// the reverse, until it returns an error. It shows the store as of its call. The
// key is valid until yield returns.
func (c *Cache[K, V]) scan(from, to []byte, order Order, yield func(key []byte, v V, ms int64) error) error {
	if err := c.ordered(); err != nil {
		return err
	}
	m := merging[V]{above: c.differences(from, to, order), order: order, yield: yield}
	err := c.below.Range(from, to, order, func(key, stored []byte) bool {
		if m.until(key); m.err != nil || m.instead {
			return m.err == nil
		}
		var (
			v  V
			ms int64
		)
		if v, ms, m.err = c.decode(key, stored); m.err == nil {
			m.err = yield(key, v, ms)
		}
		return m.err == nil
	})
	if err == nil && m.err == nil {
		m.until(nil)
	}
	return cmp.Or(m.err, err)
}

// merging is a walk through keys below that others above them replace.
type merging[V any] struct {
	above   []difference[V]
	order   Order
	yield   func(key []byte, v V, ms int64) error
	instead bool // what is above has the key below
	err     error
}

// until yields what is above before a key, or at it, and the rest for nil.
func (m *merging[V]) until(key []byte) {
	for m.instead = false; len(m.above) > 0 && !m.instead && m.err == nil; m.above = m.above[1:] {
		d := m.above[0]
		if key != nil {
			c := bytes.Compare(d.key, key)
			if c != 0 && (c > 0) == (m.order == Ascending) {
				return
			}
			m.instead = c == 0
		}
		if d.present {
			m.err = m.yield(d.key, d.value, d.ms)
		}
	}
}
