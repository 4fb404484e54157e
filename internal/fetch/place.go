package fetch

import (
	"errors"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// reset moves the source to where Config.Start says, because the partition doesn't hold
// its offset, and returns the error that reports it. Kafka's auto.offset.reset does the
// same silently; here the program learns that records are missing.
func (src *source) reset(cause error) error {
	if src.session.cfg.Start.IsNone() {
		return src.unplaced(fault.At(fault.OffsetOutOfRange, src.tp.Topic, src.tp.Partition, src.offset.Load()).Because(cause))
	}
	offset, err := src.locate(src.session.cfg.Start)
	if err != nil {
		return err
	}
	was := src.offset.Swap(offset)
	return fault.At(fault.OffsetOutOfRange, src.tp.Topic, src.tp.Partition, was).
		Detailf("continuing at %d", offset).Because(cause)
}

// locate returns the offset that spec names, limited to what the partition holds. The
// latest one may lie above what this process can read yet.
func (src *source) locate(spec topic.OffsetSpec) (int64, error) {
	listed, err := host.ListOffset(src.session.ctx, src.part, spec, src.session.isolation())
	if _, given := spec.Offset(); !given {
		return listed.Offset, err
	}
	return max(min(listed.Offset, src.part.At(src.session.isolation()).Visible()), src.part.StartOffset()), err
}

// find looks up the partition and where to begin in it, unless both are known. It
// leaves part nil if the partition doesn't exist yet. committed are the group's
// offsets, or nil if find must ask for them.
func (src *source) find(committed map[record.TopicPartition]consumer.Offset) error {
	if src.part != nil && src.offset.Load() != unknownOffset {
		return nil
	}
	s := src.session
	if src.part == nil {
		t, err := s.host.Topic(src.tp.Topic)
		if errors.Is(err, fault.UnknownTopic) {
			return nil
		}
		if err != nil {
			return err
		}
		if int(src.tp.Partition) >= len(t.Partitions()) || s.cfg.Subscribes() && t.ID != src.id {
			return nil
		}
		p, err := s.host.Sound(t, src.tp.Partition)
		if err != nil {
			return err
		}
		if src.id != t.ID && src.id != (topic.ID{}) {
			src.offset.Store(unknownOffset) // another topic of the same name: its offsets are others
			src.awaited = true
		}
		src.id, src.part = t.ID, p
	}
	if src.offset.Load() != unknownOffset {
		return nil
	}
	offset, err := src.first(committed)
	if err == nil {
		src.offset.Store(offset)
	}
	return err
}

// first returns the offset at which a source begins: where Seek said, the committed
// one, or where Config.Start says.
func (src *source) first(committed map[record.TopicPartition]consumer.Offset) (int64, error) {
	s := src.session
	if src.sought != nil {
		spec := *src.sought
		src.sought = nil
		return src.locate(spec)
	}
	if committed == nil && s.cfg.Group != "" {
		var err error
		if committed, err = s.committed([]record.TopicPartition{src.tp}); err != nil {
			return 0, err
		}
	}
	if o, ok := committed[src.tp]; ok {
		return o.Offset, nil
	}
	if offset, ok := s.cfg.Start.Offset(); ok {
		return offset, nil // the first read checks it
	}
	switch {
	case s.cfg.Start.IsNone():
		return 0, src.unplaced(fault.At(fault.OffsetOutOfRange, src.tp.Topic, src.tp.Partition, -1).
			Detailf("the group has no committed offset, and the consumer starts nowhere else"))
	case s.cfg.Start.IsLatest() && s.isNew(src):
		return src.locate(topic.Earliest())
	}
	return src.locate(s.cfg.Start)
}

// unplaced takes a source out of the line until the program seeks, because nothing says
// where it should begin.
func (src *source) unplaced(err *fault.Error) error {
	s := src.session
	s.mu.Lock()
	src.failLocked()
	s.mu.Unlock()
	return err.Try("Seek sets where to continue")
}

// seek continues at the offset that spec names. If the partition does not exist yet, it begins
// there once it exists.
func (src *source) seek(spec topic.OffsetSpec) error {
	if err := src.find(nil); err != nil && src.part == nil {
		return err // with part known, only the place was not found, and spec names another
	}
	offset, given := spec.Offset()
	switch {
	case src.part == nil:
		src.sought = &spec
	case !given:
		var err error
		if offset, err = src.locate(spec); err != nil {
			return err
		}
		fallthrough
	default:
		src.offset.Store(offset)
	}
	src.discard()
	src.stopWaiting()
	s := src.session
	s.mu.Lock()
	defer s.mu.Unlock()
	src.forgiveLocked()
	src.enqueueLocked()
	return nil
}

// position returns the offset of the next record to return.
func (src *source) position() (int64, error) {
	if offset := src.offset.Load(); offset != unknownOffset {
		return offset, nil
	}
	return 0, fault.At(fault.UnknownTopic, src.tp.Topic, src.tp.Partition, -1).Detailf("the partition does not exist yet")
}
