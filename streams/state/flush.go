package state

import (
	"encoding/binary"
	"fmt"
)

// Full reports whether changed entries take most of the memory that entries may
// take, so that the store should be flushed.
func (c *Cache[K, V]) Full() bool {
	return c.limit > 0 && int64(len(c.dirty))*c.entrySize() > c.limit/2
}

// Flush writes every changed entry to log, unless that is nil, and below, and
// passes it to emit, which may read OldPresent and Old, in the order in which
// they first changed. It skips a key that was created and deleted since the last
// flush. What emit changes is flushed, too. After an error the next Flush
// continues with the entry at which it failed.
func (c *Cache[K, V]) Flush(log Changelog, emit func(*Entry[K, V]) error) error {
	return c.flush(log, emit, false)
}

// WriteThrough is Flush for a store that is flushed after each change. It skips
// nothing: the deletion of a key that never existed is written and forwarded
// like any other.
func (c *Cache[K, V]) WriteThrough(log Changelog, emit func(*Entry[K, V]) error) error {
	return c.flush(log, emit, true)
}

func (c *Cache[K, V]) flush(log Changelog, emit func(*Entry[K, V]) error, every bool) error {
	for {
		for ; c.next < len(c.writing); c.next++ {
			e := c.writing[c.next]
			if !every && !e.Present && !e.OldPresent {
				e.state = written
				continue
			}
			if err := c.write(log, e); err != nil {
				return err
			}
			if emit == nil {
				e.state, e.OldPresent = written, e.Present
				continue
			}
			present := e.Present
			e.state = written
			if err := emit(e); err != nil {
				if e.state == written {
					e.state = dirty
				}
				return err
			}
			e.OldPresent = present
		}
		if err := c.applied(); err != nil {
			return err
		}
		if len(c.dirty) == 0 {
			return nil
		}
		c.writing, c.dirty = c.dirty, c.writing
	}
}

// write appends e to the changelog and to the batch.
func (c *Cache[K, V]) write(log Changelog, e *Entry[K, V]) (err error) {
	row := c.appendKey(c.row[:0], e)
	end := len(row)
	if e.Present {
		row = binary.BigEndian.AppendUint64(row, uint64(e.Ms))
		c.failing = e // stays set if a panic ends this
		if row, err = c.value.Append(row, e.Value); err != nil {
			return err
		}
		c.failing = nil
		c.note(len(row))
	}
	if cap(row) != cap(c.row) { // avoids the write barrier of an unneeded pointer store
		c.row = row
	}
	key := row[:end:end]
	if c.below != nil {
		if e.Present {
			c.batch.Put(key, row[end:])
		} else {
			c.batch.Delete(key)
		}
	}
	if log == nil {
		return nil
	}
	c.logKey = c.keys.appendLog(c.logKey[:0], key)
	if !e.Present {
		return log.Append(c.logKey, nil, e.Ms)
	}
	return log.Append(c.logKey, row[end+msBytes:], e.Ms)
}

// applied writes the batch below, which makes the entries in it clean.
func (c *Cache[K, V]) applied() error {
	if c.batch.Len() > 0 {
		if err := c.below.Apply(&c.batch); err != nil {
			return fmt.Errorf("the store %s: %w", c.name, err)
		}
		c.batch.Reset()
	}
	for _, e := range c.writing {
		if e.state != written { // changed again, or undone
			continue
		}
		if c.settle(e); !e.Present {
			c.drop(e)
		}
	}
	clear(c.writing)
	c.writing, c.next = c.writing[:0], 0
	if len(c.dirty) == 0 && c.flushed != nil {
		if err := c.flushed(); err != nil {
			return err
		}
	}
	if c.limit > 0 {
		c.trim(c.made)
	}
	return nil
}

// settle makes e clean.
func (c *Cache[K, V]) settle(e *Entry[K, V]) {
	e.state = clean
	if c.changed != nil {
		c.scratch = c.appendKey(c.scratch[:0], e)
		c.changed.remove(c.scratch)
	}
}

// Failing returns the entry whose value could not be encoded in the last Flush
// that failed or panicked, and nil if that was not the reason.
func (c *Cache[K, V]) Failing() *Entry[K, V] { return c.failing }

// Undo reverts the change of Failing; the next Flush continues after it. A store
// in memory must keep old values: see KeepOld.
func (c *Cache[K, V]) Undo() error {
	e := c.failing
	if e == nil {
		return nil
	}
	v, ms, present, err := c.old(e)
	if err != nil {
		return err
	}
	c.failing = nil
	c.next++
	c.setPresent(e, present)
	e.Value, e.Ms = v, ms
	c.settle(e)
	if !present {
		c.drop(e)
	}
	return nil
}

// Encoded returns e's key and value as the changelog has them, in memory of
// their own. The value is nil if there is none, or none that can be encoded.
func (c *Cache[K, V]) Encoded(e *Entry[K, V]) (key, value []byte) {
	key = c.keys.appendLog(nil, c.appendKey(nil, e))
	if !e.Present || e == c.failing {
		return key, nil
	}
	value, err := c.value.Append([]byte{}, e.Value)
	if err != nil {
		return key, nil
	}
	return key, value
}
