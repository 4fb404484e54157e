package replica

import (
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// The origin of a group is the checksum of the first batch that it committed. A directory
// of another cluster may have a group of the same name, the catalogue's for instance, and
// replicas with the same IDs; terms and offsets would then be taken for this group's. So
// every message carries the origin, once its sender knows it.

// ofThisGroup refuses a message of a group that began with another batch. A leader was
// elected by a majority: the replica that it contradicts is the one that does not belong.
func (c *Core) ofThisGroup(m *Message) error {
	leads := m.Kind == KindAppend || m.Kind == KindHeartbeat || m.Kind == KindSnapshot
	switch {
	case m.Origin == 0 || m.Origin == c.origin:
		return nil
	case c.origin == 0:
		if leads {
			c.origin = m.Origin
		}
		return nil
	}
	err := c.refuse(fault.Storage).Detailf("replica %v is of a group that began with the batch of checksum %08x, and %v of one that began with %08x", c.cfg.ID, c.origin, m.From, m.Origin).
		Because(ErrForeign).ForGood().Try("put back the directory that was there, or replace the replica by one of a new incarnation")
	if leads && m.Term >= c.term {
		return c.fail(err)
	}
	return err
}

// begins takes note of the first batch, which is committed.
func (c *Core) begins(batch []byte) {
	if h, err := record.ParseHeader(batch); err == nil && c.origin == 0 {
		c.origin = h.CRC
	}
}

// findOrigin reads the first batch, where it is committed and its checksum is not on record.
func (d *Disk) findOrigin() error {
	if d.state.origin != 0 || d.base.start.Index > 0 || d.commit == 0 {
		return nil
	}
	s, err := d.read(d.base.start.Offset, 1)
	if err != nil {
		return err
	}
	h, err := record.ParseHeader(s.Bytes)
	d.state.origin = h.CRC
	return err
}

// note puts a group's origin on record.
func (d *Disk) note(writes []DiskWrite) error {
	i := slices.IndexFunc(writes, func(w DiskWrite) bool { return w.Origin != 0 })
	if i < 0 || d.state.origin != 0 {
		return nil
	}
	d.state.origin = writes[i].Origin
	return d.state.write()
}
