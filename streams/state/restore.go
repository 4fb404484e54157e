package state

import "encoding/binary"

// Restore implements Store.
func (c *Cache[K, V]) Restore(logKey, value []byte, ms int64) (err error) {
	if c.scratch, err = c.keys.appendStored(c.scratch[:0], logKey); err != nil {
		return err
	}
	if c.below != nil {
		c.restoreBelow(c.scratch, value, ms)
		return nil
	}
	if value == nil {
		if e := c.find(c.scratch); e != nil {
			c.drop(e)
		}
		return nil
	}
	v, err := c.value.Decode(value)
	if err != nil {
		return err
	}
	e, err := c.Entry(c.scratch)
	if err != nil {
		return err
	}
	c.setPresent(e, true)
	e.Value, e.Ms, e.OldPresent = v, ms, true
	return nil
}

// restoreBelow puts a record into the batch, without decoding it.
func (c *Cache[K, V]) restoreBelow(key, value []byte, ms int64) {
	c.whole = false
	if value == nil {
		c.batch.Delete(key)
		return
	}
	c.row = append(binary.BigEndian.AppendUint64(c.row[:0], uint64(ms)), value...)
	c.batch.Put(key, c.row)
}

// Restored implements Store.
func (c *Cache[K, V]) Restored() error { return c.applied() }

// Checkpoint makes the store durable, as of the last flush, with the position
// that its changelog has then. See Bytes.
func (c *Cache[K, V]) Checkpoint(position int64) error {
	if c.below == nil {
		return nil
	}
	return c.below.Checkpoint(position)
}

// Position returns the position in the changelog up to which the store has it
// already, and false if it has nothing.
func (c *Cache[K, V]) Position() (int64, bool) {
	if c.below == nil {
		return 0, false
	}
	return c.below.Position()
}

// Close releases what is below.
func (c *Cache[K, V]) Close() error {
	if c.below == nil {
		return nil
	}
	return c.below.Close()
}
