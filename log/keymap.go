package log

import (
	"hash/maphash"
	"math/bits"
	"unsafe"
)

// keySlotLen is how many bytes one key takes in a keyMap, however long it is.
const keySlotLen = int(unsafe.Sizeof(keySlot{}))

// keyMap remembers the last offset of each key in memory of a fixed size. It
// keeps no keys but 128 bits of hash, seeded anew for each map, so that nobody can
// make two keys meet: among a million keys the odds of that are 1 in 10^26.
type keyMap struct {
	seeds [2]maphash.Seed
	slots []keySlot // open addressing, at most max of them used
	used  int
	max   int
}

// keySlot is a key's hash with the offset after its last record; 0 in a slot
// that is free.
type keySlot struct {
	a, b uint64
	next int64
}

// newKeyMap returns a map for so many keys, or for as many as fit into budget
// bytes, which are at least a few.
func newKeyMap(budget int, keys int64) *keyMap {
	slots := max(8, budget/keySlotLen)
	if keys < int64(slots)/2 {
		slots = max(8, int(keys)*2)
	}
	return &keyMap{
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		slots: make([]keySlot, slots),
		max:   slots / 4 * 3,
	}
}

// slot returns the key's slot, or a free one for it.
func (m *keyMap) slot(key []byte) *keySlot {
	a, b := maphash.Bytes(m.seeds[0], key), maphash.Bytes(m.seeds[1], key)
	i, _ := bits.Mul64(a, uint64(len(m.slots)))
	for {
		s := &m.slots[i]
		if s.next == 0 || s.a == a && s.b == b {
			s.a, s.b = a, b
			return s
		}
		if i++; i == uint64(len(m.slots)) {
			i = 0
		}
	}
}

// put notes that a key has a record at an offset, which is higher than all
// before. It returns false, and has done nothing, when there is no room for
// another key.
func (m *keyMap) put(key []byte, offset int64) bool {
	s := m.slot(key)
	if s.next == 0 {
		if m.used == m.max {
			return false
		}
		m.used++
	}
	s.next = offset + 1
	return true
}

// last returns the key's last offset, or -1.
func (m *keyMap) last(key []byte) int64 { return m.slot(key).next - 1 }
