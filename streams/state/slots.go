package state

import "hash/maphash"

// slots is a hash table from serialized keys to entries. An entry's address
// does not change.
//
// It is not Go's map because of the CPU's cache: a lookup reads one word of the
// index and one entry, which holds its key too. Unless V has pointers, the
// garbage collector reads neither.
type slots[K, V any] struct {
	seed   maphash.Seed
	index  []uint64        // a power of two: the hash's upper half, and the entry's number + 1; 0: free
	count  int             // entries in the index
	blocks [][]Entry[K, V] // of blockSize entries
	rare   []rare[K]       // for each block
	made   int             // entries of blocks that were used once
	free   []uint32        // of those, the ones that are free
}

// rare is what is seldom used of a block's entries.
type rare[K any] struct {
	long    []string   // the keys that do not fit into their entries; nil: none
	decoded []typed[K] // nil: none
}

type typed[K any] struct {
	key K
	ok  bool
}

const (
	blockBits = 8
	blockSize = 1 << blockBits
	minIndex  = 64

	// inlineKey is how long keys are that stand in their entry. An entry of 8
	// bytes' value is 64 bytes long, a cache line.
	inlineKey = 39
	longKey   = 0xff
)

func newSlots[K, V any]() slots[K, V] {
	return slots[K, V]{seed: maphash.MakeSeed(), index: make([]uint64, minIndex)}
}

func (s *slots[K, V]) entry(n uint32) *Entry[K, V] {
	return &s.blocks[n>>blockBits][n&(blockSize-1)]
}

// find returns a key's entry, or nil.
func (s *slots[K, V]) find(key []byte) *Entry[K, V] {
	hash := maphash.Bytes(s.seed, key)
	for at := s.home(hash); ; at = s.after(at) {
		word := s.index[at]
		if word == 0 {
			return nil
		}
		if word>>32 == hash>>32 {
			if e := s.entry(uint32(word) - 1); s.hasKey(e, key) {
				return e
			}
		}
	}
}

// The home of a hash is where the search for it begins. The index keeps the
// hash's upper half, so the home comes from that.
func (s *slots[K, V]) home(hash uint64) int { return int(hash>>32) & (len(s.index) - 1) }

func (s *slots[K, V]) after(at int) int { return (at + 1) & (len(s.index) - 1) }

func (s *slots[K, V]) hasKey(e *Entry[K, V], key []byte) bool {
	if e.length == longKey {
		return s.rare[e.number>>blockBits].long[e.number&(blockSize-1)] == string(key)
	}
	return string(e.inline[:e.length]) == string(key)
}

// add makes an entry for a key that has none.
func (s *slots[K, V]) add(key []byte) *Entry[K, V] {
	if s.count >= len(s.index)/2 {
		s.grow()
	}
	var n uint32
	if last := len(s.free) - 1; last >= 0 {
		n, s.free = s.free[last], s.free[:last]
	} else {
		if n = uint32(s.made); s.made == len(s.blocks)*blockSize {
			s.blocks = append(s.blocks, make([]Entry[K, V], blockSize))
			s.rare = append(s.rare, rare[K]{})
		}
		s.made++
	}
	e := s.entry(n)
	e.number = n
	if len(key) > inlineKey {
		e.length = longKey
		b := &s.rare[n>>blockBits]
		if b.long == nil {
			b.long = make([]string, blockSize)
		}
		b.long[n&(blockSize-1)] = string(key)
	} else {
		e.length = uint8(copy(e.inline[:], key))
	}
	s.put(maphash.Bytes(s.seed, key)&^(1<<32-1) | uint64(n+1))
	s.count++
	return e
}

func (s *slots[K, V]) put(word uint64) {
	at := s.home(word)
	for s.index[at] != 0 {
		at = s.after(at)
	}
	s.index[at] = word
}

func (s *slots[K, V]) grow() {
	old := s.index
	s.index = make([]uint64, 2*len(old))
	for _, word := range old {
		if word != 0 {
			s.put(word)
		}
	}
}

// remove frees an entry.
func (s *slots[K, V]) remove(e *Entry[K, V]) {
	n := e.number
	at := s.home(s.hash(e))
	for uint32(s.index[at]) != n+1 {
		at = s.after(at)
	}
	// What is behind it moves up, unless that is before its home.
	for next := s.after(at); s.index[next] != 0; next = s.after(next) {
		home := s.home(s.index[next])
		if (next-home)&(len(s.index)-1) >= (next-at)&(len(s.index)-1) {
			s.index[at], at = s.index[next], next
		}
	}
	s.index[at] = 0
	s.count--
	*e = Entry[K, V]{}
	b := &s.rare[n>>blockBits]
	if b.long != nil {
		b.long[n&(blockSize-1)] = ""
	}
	if b.decoded != nil {
		b.decoded[n&(blockSize-1)] = typed[K]{}
	}
	s.free = append(s.free, n)
}

// appendKey appends an entry's key.
func (s *slots[K, V]) appendKey(dst []byte, e *Entry[K, V]) []byte {
	if e.length == longKey {
		return append(dst, s.rare[e.number>>blockBits].long[e.number&(blockSize-1)]...)
	}
	return append(dst, e.inline[:e.length]...)
}

// hash returns the hash of an entry's key.
func (s *slots[K, V]) hash(e *Entry[K, V]) uint64 {
	if e.length == longKey {
		return maphash.String(s.seed, s.rare[e.number>>blockBits].long[e.number&(blockSize-1)])
	}
	return maphash.Bytes(s.seed, e.inline[:e.length])
}

// typed returns where an entry's decoded key is kept.
func (s *slots[K, V]) typed(e *Entry[K, V]) *typed[K] {
	b := &s.rare[e.number>>blockBits]
	if b.decoded == nil {
		b.decoded = make([]typed[K], blockSize)
	}
	return &b.decoded[e.number&(blockSize-1)]
}

// all calls each for every entry, until it returns false.
func (s *slots[K, V]) all(each func(*Entry[K, V]) bool) {
	for _, word := range s.index {
		if word != 0 && !each(s.entry(uint32(word)-1)) {
			return
		}
	}
}
