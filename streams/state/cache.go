package state

import (
	"encoding/binary"
	"unsafe"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/serde"
)

// Entry is a key's place in a Cache. Value and Ms are valid only while Present.
// Code that changes one of them must call Changed, before or after.
//
// An entry is valid until the store is flushed, or asked for another one.
type Entry[K, V any] struct {
	// A lookup reads an entry from its first byte to its key's last one.
	Value      V
	Ms         int64 // the value's timestamp, in milliseconds
	number     uint32
	Present    bool
	OldPresent bool // Present as of the last flush
	state      entryState
	used       bool // since the clock's hand passed it
	length     uint8
	inline     [inlineKey]byte
}

// entryState says what a flush has to do with an entry.
type entryState uint8

const (
	unused  entryState = iota
	clean              // equal to what is below
	dirty              // changed: in Cache.dirty, or in Cache.writing and not reached
	written            // in the batch, which is not applied yet
)

// Cache is a write-back cache of typed values over a [Bytes]. KeyValue, Windows
// and Sessions are Caches with keys of their kind. K is the type of the decoded
// keys.
//
// If the store needs neither order nor old values, nor more than memory holds,
// there is no Bytes: the cache is all there is.
type Cache[K, V any] struct {
	slots[K, V]
	name  string
	keys  keyFormat[K]
	value serde.Serde[V]

	below Bytes // nil: none is needed yet
	whole bool  // every key that has a value has an entry
	limit int64 // bytes that entries may take; 0: any number
	hand  int   // of the clock that finds what to evict
	held  uint32
	sizes int64 // of keys and values that were written or read below
	sized int64 // their number

	dirty   []*Entry[K, V] // in the order of their first change
	writing []*Entry[K, V] // those of the flush in progress
	next    int            // the first of writing that was not forwarded
	failing *Entry[K, V]   // its value could not be encoded, or is being encoded
	batch   Batch          // what to write below
	absent  int            // entries that are not Present
	changed *changedKeys   // nil: nothing has asked for an order yet
	flushed func() error   // called when everything is clean; nil: nothing
	scratch []byte
	row     []byte // what is being written
	logKey  []byte
}

// keyFormat is how a kind of store writes its keys.
type keyFormat[K any] interface {
	// decode returns the key that b, a key in the store, encodes.
	decode(b []byte) (K, error)

	// appendLog appends a store's key as the changelog has it.
	appendLog(dst, key []byte) []byte

	// appendStored appends a changelog's key as the store has it.
	appendStored(dst, logKey []byte) ([]byte, error)
}

// Option sets where and how a store keeps its entries.
type Option interface{ apply(*config) }

type option func(*config)

func (o option) apply(c *config) { o(c) }

type config struct {
	below Bytes
	empty bool // below is
	limit int64
}

// defaultLimit is how many bytes the entries of a store over a Bytes may take.
const defaultLimit = 8 << 20

// Over keeps the store in b. The store closes b. In memory remain the entries
// that were used last.
func Over(b Bytes) Option { return option(func(c *config) { c.below, c.empty = b, false }) }

// inMemory keeps the store in memory, in order, if no other option comes behind.
func inMemory() Option { return option(func(c *config) { c.below, c.empty = NewMemory(), true }) }

// CacheBytes is about how many bytes the entries in memory may take, in a store
// with Over: 8 MiB by default.
func CacheBytes(n int64) Option { return option(func(c *config) { c.limit = n }) }

func newCache[K, V any](name string, keys keyFormat[K], value serde.Serde[V], options []Option) *Cache[K, V] {
	cfg := config{limit: defaultLimit}
	for _, o := range options {
		o.apply(&cfg)
	}
	c := &Cache[K, V]{slots: newSlots[K, V](), name: name, keys: keys, value: value, below: cfg.below, whole: cfg.below == nil || cfg.empty}
	if c.below != nil {
		c.limit = max(cfg.limit, 1)
	}
	return c
}

// KeepOld makes the store keep each value as of the last flush, for Old and
// Undo. It costs memory and time, and must be called before the store has
// entries.
func (c *Cache[K, V]) KeepOld() {
	if c.below == nil {
		c.below = NewMemory()
	}
}

// Name returns the store's name.
func (c *Cache[K, V]) Name() string { return c.name }

// Len returns the number of keys that have a value. A store that is not in
// memory reads all of them.
func (c *Cache[K, V]) Len() (n int, err error) {
	if c.whole {
		return c.count - c.absent, nil
	}
	err = c.scan(nil, nil, Ascending, func([]byte, V, int64) error { n++; return nil })
	return n, err
}

// Size returns about how many bytes the store takes, in memory and below.
func (c *Cache[K, V]) Size() int64 {
	size := int64(c.count) * c.entrySize()
	if c.below != nil {
		size += c.below.Size()
	}
	return size
}

// entrySize is about how many bytes an entry takes: keys and values are as long
// as those were of which the length is known.
func (c *Cache[K, V]) entrySize() int64 {
	size := int64(unsafe.Sizeof(Entry[K, V]{})) + 16
	if c.sized > 0 {
		size += c.sizes / c.sized
	}
	return size
}

// Entry returns the entry of a serialized key. For a key without one it makes
// an entry that is not Present. The next flush removes that entry if Changed
// was called and it is still not Present.
func (c *Cache[K, V]) Entry(key []byte) (*Entry[K, V], error) {
	e := c.find(key)
	if e == nil {
		var err error
		if e, err = c.load(key); err != nil {
			return nil, err
		}
	}
	if c.limit > 0 {
		e.used, c.held = true, e.number
	}
	return e, nil
}

// load makes an entry with what is below.
func (c *Cache[K, V]) load(key []byte) (*Entry[K, V], error) {
	var (
		v      V
		ms     int64
		stored []byte
		err    error
	)
	if !c.whole {
		if stored, err = c.below.Get(key); err != nil {
			return nil, err
		}
	}
	if stored != nil {
		if v, ms, err = c.decode(key, stored); err != nil {
			return nil, err
		}
		c.note(len(key) + len(stored))
	}
	if c.limit > 0 {
		c.trim(64)
	}
	e := c.add(key)
	e.state = clean
	if stored == nil {
		c.absent++
		return e, nil
	}
	e.Value, e.Ms, e.Present, e.OldPresent = v, ms, true, true
	return e, nil
}

// msBytes is the length of the timestamp that precedes a value in a Bytes, as
// Kafka Streams has it.
const msBytes = 8

// decode returns the value of a row below, and its timestamp.
func (c *Cache[K, V]) decode(key, stored []byte) (v V, ms int64, err error) {
	return decodeRow(c.name, c.value, key, stored)
}

func decodeRow[V any](store string, value serde.Serde[V], key, stored []byte) (v V, ms int64, err error) {
	if len(stored) < msBytes {
		return v, 0, fault.Newf(fault.Serialization, "the store %s: the value of the key %x is %d bytes long, less than its timestamp", store, key, len(stored))
	}
	v, err = value.Decode(stored[msBytes:])
	if err != nil {
		return v, 0, fault.Newf(fault.Serialization, "the store %s: the value of the key %x", store, key).Because(err)
	}
	return v, int64(binary.BigEndian.Uint64(stored)), nil
}

// note keeps the length of a key with its value.
func (c *Cache[K, V]) note(length int) {
	c.sizes += int64(length)
	c.sized++
}

// Lookup returns the value of a serialized key and its timestamp in
// milliseconds, and false if there is none.
func (c *Cache[K, V]) Lookup(key []byte) (v V, ms int64, ok bool, err error) {
	e := c.find(key)
	switch {
	case e == nil && c.whole:
		return v, 0, false, nil
	case e == nil:
		held := c.held
		if e, err = c.load(key); err != nil {
			return v, 0, false, err
		}
		c.held = held
	}
	if e.used = true; !e.Present {
		c.Release(e)
		return v, 0, false, nil
	}
	return e.Value, e.Ms, true, nil
}

// Forwarded is Lookup in the store as of the last flush: without the changes
// that have not been passed to emit yet. A store in memory must keep old values:
// see KeepOld.
func (c *Cache[K, V]) Forwarded(key []byte) (v V, ms int64, ok bool, err error) {
	if e := c.find(key); e != nil && e.state == dirty {
		return c.old(e)
	}
	return c.Lookup(key)
}

// Changed marks e for the next flush and counts it as present or not.
func (c *Cache[K, V]) Changed(e *Entry[K, V], present bool) {
	if e.Present != present {
		c.setPresent(e, present)
	}
	if e.state != dirty {
		c.mark(e)
	}
}

func (c *Cache[K, V]) mark(e *Entry[K, V]) {
	if e.state == clean && c.changed != nil {
		c.changed.add(c.appendKey(nil, e), e.number)
	}
	e.state = dirty
	c.dirty = append(c.dirty, e)
}

func (c *Cache[K, V]) setPresent(e *Entry[K, V], present bool) {
	if e.Present == present {
		return
	}
	e.Present = present
	if present {
		c.absent--
	} else {
		c.absent++
	}
}

// drop removes an entry from memory.
func (c *Cache[K, V]) drop(e *Entry[K, V]) {
	if !e.Present {
		c.absent--
	}
	c.remove(e)
}

// Release removes an entry that Entry made and that has not changed since.
func (c *Cache[K, V]) Release(e *Entry[K, V]) {
	if e.state == clean && !e.Present {
		c.drop(e)
	}
}

// Key returns e's key.
func (c *Cache[K, V]) Key(e *Entry[K, V]) (K, error) {
	t := c.typed(e)
	if !t.ok {
		c.scratch = c.appendKey(c.scratch[:0], e)
		key, err := c.keys.decode(c.scratch)
		if err != nil {
			return key, err
		}
		t.key, t.ok = key, true
	}
	return t.key, nil
}

// Old returns e's value as of the last flush, in memory of its own, and false
// if it had none. A store in memory must keep old values: see KeepOld.
func (c *Cache[K, V]) Old(e *Entry[K, V]) (v V, ok bool, err error) {
	v, _, ok, err = c.old(e)
	return v, ok, err
}

func (c *Cache[K, V]) old(e *Entry[K, V]) (v V, ms int64, ok bool, err error) {
	if !e.OldPresent {
		return v, 0, false, nil
	}
	if c.below == nil {
		return v, 0, false, fault.Newf(fault.InvalidRequest, "the store %s does not keep old values", c.name)
	}
	c.scratch = c.appendKey(c.scratch[:0], e)
	stored, err := c.below.Get(c.scratch)
	if err != nil || stored == nil {
		return v, 0, false, err
	}
	v, ms, err = c.decode(c.scratch, stored)
	return v, ms, err == nil, err
}

// trim evicts clean entries, those that were not used lately, while there are
// too many. It looks at so many at most.
func (c *Cache[K, V]) trim(most int) {
	for range most {
		if int64(c.count)*c.entrySize() <= c.limit || c.made == 0 {
			return
		}
		c.hand = (c.hand + 1) % c.made
		switch e := c.entry(uint32(c.hand)); {
		case e.state != clean || e.number == c.held:
		case e.used:
			e.used = false
		default:
			c.whole = false
			c.drop(e)
		}
	}
}
