package log

import (
	"hash/maphash"
	"math/bits"
	"unsafe"
)

// keySlotLen is how many bytes one key takes in a keyMap, however long it is.
const keySlotLen = int(unsafe.Sizeof(keySlot{}))

// keyMap remembers the last offset of each key in memory of a fixed size. It does
// not store keys but 128 bits of their hashes, with fresh seeds for each map, so
// that no one can construct two keys that collide. Among a million keys, the odds
// of a collision, which would lose a record, are 1 in 10^26.
type keyMap struct {
	seeds [2]maphash.Seed
	slots []keySlot // open addressing, at most max of them used
	used  int
	max   int
}

// keySlot is a key's hash with the offset after its last record, which is 0 in a
// free slot.
type keySlot struct {
	a, b uint64
	next int64
}

// newKeyMap returns a map for this many keys, or for as many as fit into budget
// bytes, but for a few at least.
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

// put sets a key's last offset; offsets must rise from call to call. It returns
// false, and changes nothing, if there is no room for another key.
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
