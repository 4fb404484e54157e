package host

import (
	"errors"
	"io/fs"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Delete removes a topic that is no longer in the catalogue, with its partitions. If
// a crash interrupts it, the next Open finishes the removal.
//
// A directory is renamed before its files are removed, so that a topic of the same
// name can be created at once, and what a crash leaves of the directory is not taken
// for a damaged partition.
func (h *Host) Delete(t *Topic) error {
	h.topics.Delete(t.Name)
	t.deleted.Store(true)
	close(t.gone)
	t.opening <- struct{}{}
	defer func() { <-t.opening }()
	for _, p := range t.Partitions() {
		p.Abandon()
	}
	var doomed []string
	var failed error
	for n := range *t.placement.Load() {
		path := h.Path(record.TopicPartition{Topic: t.Name, Partition: int32(n)})
		to, err := layout.SetAside(h.cfg.FS, path, layout.SuffixDelete)
		switch {
		case err == nil:
			doomed = append(doomed, to)
		case failed == nil && !errors.Is(err, fs.ErrNotExist):
			failed = err
		}
	}
	for _, p := range t.Partitions() {
		if c := p.Copy(); c != nil {
			h.cleaner.Forget(t, c)
		}
	}
	h.cleaner.Forget(t)
	for _, p := range t.Partitions() {
		if err := p.Delete(); err != nil && failed == nil {
			failed = err
		}
	}
	for _, path := range doomed {
		if err := h.cfg.FS.RemoveAll(path); err != nil && failed == nil {
			failed = err
		}
	}
	if err := h.cfg.FS.SyncDir(h.cfg.Dir); err != nil && failed == nil {
		failed = err
	}
	if failed != nil {
		return fault.At(fault.OfDisk(failed), t.Name, -1, -1).
			Detailf("the topic is deleted, but its files are not").Because(failed)
	}
	return nil
}

// Clear renames a directory that has the name of a partition about to be created, unless
// it is that partition's already: a node that starts may have its copy before it learns
// again of the topic. Any other may contain records that someone wants to keep.
func (h *Host) Clear(tp record.TopicPartition, id topic.ID) error {
	path := h.Path(tp)
	if _, err := h.cfg.FS.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if of, known, err := layout.ReadOwner(h.cfg.FS, path, tp); err == nil && known && of.Owns(id, tp.Partition) {
		return nil
	}
	if _, err := layout.SetAside(h.cfg.FS, path, layout.SuffixStray); err != nil {
		return fault.At(fault.OfDisk(err), tp.Topic, tp.Partition, -1).Because(err)
	}
	return nil
}
