package replica_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
)

// HighWatermark and ReadLog make a node a replica.Donor.
func (d *node) HighWatermark() int64 { return d.high }

// StartOffset is replica.Donor's.
func (d *node) StartOffset() int64 { return d.home.Log().StartOffset() }

// ReadLog is replica.Donor's.
func (d *node) ReadLog(offset int64, maxBytes int, buf []byte) (log.Slice, error) {
	return d.home.Log().Read(offset, d.home.Log().EndOffset(), maxBytes, buf)
}

// donors are the other nodes as a node reaches them.
func (d *node) donors() replica.Donors {
	return func(id replica.NodeID) replica.Donor {
		if i := int(id) - 1; i < len(d.nodes) && d.nodes[i] != d && d.nodes[i].running() {
			return d.nodes[i]
		}
		return nil
	}
}

// harm changes bytes of a replica's stored log, while it is down or running. What is known to a majority is safe
// while only a minority is harmed, so it happens to one node at a time, and to none while another one has lost its disk.
// The active segment's last batches are left alone: above what is on record as synced, damage is no different from what a loss of
// power leaves.
func (d *node) harm() {
	if d.harmed != nil || d.lost != nil {
		return
	}
	entries, err := d.disk.ReadDir(dataDir)
	if err != nil {
		d.failf("node %d: %v", d.number, err)
		return
	}
	segments := slices.DeleteFunc(entries, func(e vfs.Entry) bool { return !strings.HasSuffix(e.Name, ".log") })
	if len(segments) < 2 {
		return
	}
	i := d.rng.IntN(len(segments) - 1)
	// A segment that was sealed and committed a moment ago may not have its end on record.
	if old := i < len(segments)-3; !d.harmFile(filepath.Join(dataDir, segments[i].Name), segments[i].Size, old) {
		return
	}
	d.counts.harms++
	d.harmed = d
	d.trace.add(3, uint64(d.number), uint64(d.now))
	d.after(time.Duration(d.rng.Int64N(int64(2*time.Second))), d.scrub)
}

// harmFile flips bits of a segment. Of one that no process has open it also cuts off the end, takes it away, or
// puts another log's in the place of an old one.
func (d *node) harmFile(path string, size int64, old bool) bool {
	if !d.up {
		switch d.rng.IntN(6) {
		case 0:
			return d.disk.Remove(path) == nil && d.disk.SyncDir(dataDir) == nil
		case 1:
			return d.rewrite(path, func(b []byte) []byte { return b[:d.rng.Int64N(size)] })
		case 2, 3:
			if old {
				return d.rewrite(path, twin)
			}
		}
	}
	f, err := d.disk.OpenFile(path, os.O_RDWR)
	if err != nil {
		d.failf("node %d: %v", d.number, err)
		return false
	}
	defer f.Close()
	for range 1 + d.rng.IntN(3) {
		at, b := d.rng.Int64N(size), make([]byte, 1)
		if _, err := f.ReadAt(b, at); err != nil {
			return false
		}
		b[0] ^= 1 << d.rng.IntN(8)
		if _, err := f.WriteAt(b, at); err != nil {
			return false
		}
	}
	return f.Sync() == nil
}

// rewrite changes a file as a whole, durably.
func (d *node) rewrite(path string, change func([]byte) []byte) bool {
	b, err := vfs.ReadFile(d.disk, path, 1<<20)
	if err == nil {
		err = vfs.WriteFile(d.disk, path, change(b))
	}
	if err != nil {
		d.failf("node %d: %v", d.number, err)
	}
	return err == nil
}

// damaged reports whether an error, or nil, is of damage that may be there, and repairs that if another node can.
func (d *node) damaged(err error) (known, healed bool) {
	c, ok := errors.AsType[*fault.Corruption](err)
	if !ok || d.harmed != d {
		return false, false
	}
	healed = c.Offset >= 0 && d.donors().Heal(d.config(), d.home, d.core.Status().Members, d, c.Offset) == nil
	if healed {
		d.counts.healed++
	}
	return true, healed
}

// scrub reads the whole log of a harmed node, and repairs what is damaged, until nothing is.
func (d *node) scrub() {
	if d.harmed != d {
		return
	}
	again := func() { d.after(300*time.Millisecond, d.scrub) }
	if !d.running() {
		again()
		return
	}
	l := d.home.Log()
	for offset := l.StartOffset(); offset < l.EndOffset(); {
		s, err := l.ReadStored(offset, l.EndOffset(), 1<<20, nil)
		if err == nil && len(s.Bytes) == 0 {
			err = fmt.Errorf("nothing at offset %d", offset)
		}
		switch known, healed := d.damaged(err); {
		case healed:
			continue
		case known:
			again()
			return
		case err != nil:
			d.failf("node %d at offset %d: %v", d.number, offset, err)
			return
		}
		for b := s.Bytes; len(b) > 0; {
			h, err := record.ParseHeader(b)
			if err != nil {
				d.failf("node %d at offset %d: %v", d.number, offset, err)
				return
			}
			offset, b = h.NextOffset(), b[h.Size():]
		}
	}
	d.harmed, d.unhealed = nil, 0
}

// giveUp replaces a node that has failed again and again, because it needs to read what is damaged: the others may have
// deleted those records. A running node stays failed then, until somebody takes its directory away.
func (d *node) giveUp() bool {
	if d.unhealed++; d.unhealed <= 5 || !d.replace() {
		return false
	}
	d.harmed, d.unhealed = nil, 0
	return true
}

// tryAgain starts a node later whose log no other one could repair, or replaces it: where its group has other batches than
// it had, or has deleted what is missing.
func (d *node) tryAgain(err error) {
	lost := errors.Is(err, replica.ErrLost)
	if d.failedStarts++; lost || d.failedStarts > 20 {
		if d.replace() {
			d.harmed, d.failedStarts = nil, 0
			return
		}
	}
	d.after(300*time.Millisecond, func() {
		if !d.up {
			d.start()
		}
	})
}
