package state

import (
	"bytes"

	"github.com/google/btree"
)

// Memory is a Bytes in memory: a B-tree, of which a snapshot is a copy on
// write.
type Memory struct {
	items
	position int64
	placed   bool // there was a Checkpoint
	size     int64
	reading  int // calls of Range in progress that read this tree
}

var _ Bytes = (*Memory)(nil)

// item is a key with its value. Neither is changed once it is in a tree.
type item struct{ key, value []byte }

func (i item) before(other item) bool { return bytes.Compare(i.key, other.key) < 0 }

// degree is the B-tree's: 2*degree-1 items at most are in a node.
const degree = 32

// itemBytes is about what an item takes beside its bytes.
const itemBytes = 64

// NewMemory returns an empty Bytes in memory.
func NewMemory() *Memory { return &Memory{items: items{btree.NewG(degree, item.before)}} }

// Apply implements Bytes. It never fails.
func (m *Memory) Apply(b *Batch) error {
	if m.reading > 0 { // leave the tree to those who read it
		m.tree, m.reading = m.tree.Clone(), 0
	}
	return b.Each((*memoryWriter)(m))
}

// Snapshot implements Bytes.
func (m *Memory) Snapshot() (Snapshot, error) { return items{m.tree.Clone()}, nil }

// Size implements Bytes.
func (m *Memory) Size() int64 { return m.size }

// Len returns the number of keys.
func (m *Memory) Len() int { return m.tree.Len() }

// Checkpoint implements Bytes.
func (m *Memory) Checkpoint(position int64) error {
	m.position, m.placed = position, true
	return nil
}

// Position implements Bytes.
func (m *Memory) Position() (int64, bool) { return m.position, m.placed }

// Range implements Reader.
func (m *Memory) Range(from, to []byte, order Order, yield func(key, value []byte) bool) error {
	tree := m.tree
	m.reading++
	defer func() {
		if m.tree == tree {
			m.reading--
		}
	}()
	return m.items.Range(from, to, order, yield)
}

// memoryWriter is a Memory as a Writer.
type memoryWriter Memory

// Put implements Writer. Key and value share an allocation.
func (m *memoryWriter) Put(key, value []byte) error {
	kept := make([]byte, len(key)+len(value))
	copy(kept[copy(kept, key):], value)
	i := item{key: kept[:len(key):len(key)], value: kept[len(key):]}
	m.size += i.size()
	if old, replaced := m.tree.ReplaceOrInsert(i); replaced {
		m.size -= old.size()
	}
	return nil
}

// Delete implements Writer.
func (m *memoryWriter) Delete(key []byte) error {
	if old, ok := m.tree.Delete(item{key: key}); ok {
		m.size -= old.size()
	}
	return nil
}

// DeleteRange implements Writer.
func (m *memoryWriter) DeleteRange(from, to []byte) error {
	var keys [][]byte
	err := m.items.Range(from, to, Ascending, func(key, _ []byte) bool {
		keys = append(keys, key)
		return true
	})
	for _, key := range keys {
		_ = m.Delete(key)
	}
	return err
}

func (i item) size() int64 { return int64(len(i.key) + len(i.value) + itemBytes) }

// items is a Reader of a tree, and a Snapshot.
type items struct{ tree *btree.BTreeG[item] }

// Get implements Reader.
func (t items) Get(key []byte) ([]byte, error) {
	i, ok := t.tree.Get(item{key: key})
	if !ok {
		return nil, nil
	}
	return i.value, nil
}

// Range implements Reader.
func (t items) Range(from, to []byte, order Order, yield func(key, value []byte) bool) error {
	first, behind := item{key: from}, item{key: to}
	each := func(i item) bool { return yield(i.key, i.value) }
	switch {
	case order == Ascending && to == nil:
		t.tree.AscendGreaterOrEqual(first, each)
	case order == Ascending:
		t.tree.AscendRange(first, behind, each)
	default:
		down := func(i item) bool {
			switch {
			case to != nil && !i.before(behind): // the end itself
				return true
			case i.before(first):
				return false
			}
			return each(i)
		}
		if to == nil {
			t.tree.Descend(down)
		} else {
			t.tree.DescendLessOrEqual(behind, down)
		}
	}
	return nil
}

// Close implements Bytes and Snapshot. There is nothing to release.
func (t items) Close() error { return nil }
