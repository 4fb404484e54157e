package fault

import "fmt"

// Conflict says that an append demanded something of its partition that is not so. The
// record was not written. It answers errors.Is(err, PreconditionFailed), and is not
// retriable: the caller reads what is there, and decides again.
type Conflict struct {
	Topic     string
	Partition int32
	Key       bool  // the demand concerns the record's key; otherwise the partition's end
	Want      int64 // the offset that was demanded; -1: that the key has no record

	// Have is what is there instead: the offset of the key's last record, or -1 if it has
	// none; or the partition's end offset. HaveEpoch is the leader epoch of that record,
	// or the one in which the partition is led; -1 without a record.
	Have      int64
	HaveEpoch int32
}

// Error names partition, demand, and what is there.
func (c *Conflict) Error() string {
	place := ""
	if c.Topic != "" {
		place = fmt.Sprintf("%s-%d: ", c.Topic, c.Partition)
	}
	switch {
	case !c.Key:
		return fmt.Sprintf("%s%v: the partition ends at offset %d, not at %d", place, PreconditionFailed, c.Have, c.Want)
	case c.Have < 0:
		return fmt.Sprintf("%s%v: the key has no record, not one at offset %d", place, PreconditionFailed, c.Want)
	case c.Want < 0:
		return fmt.Sprintf("%s%v: the key has a record, at offset %d", place, PreconditionFailed, c.Have)
	}
	return fmt.Sprintf("%s%v: the key's last record is at offset %d, not at %d", place, PreconditionFailed, c.Have, c.Want)
}

// Is reports whether target is PreconditionFailed.
func (c *Conflict) Is(target error) bool { return target == PreconditionFailed }
