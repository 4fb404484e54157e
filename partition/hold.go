package partition

import "slices"

// Hold returns the high watermark and keeps compaction from removing a record in
// favor of a later one at or above it, until release is called. A copy of the log
// up to that offset then has the last record of each key: without Hold, compaction
// could remove a record that the copy lacks in favor of one behind its end. Hold
// and release may be called by any goroutine, release once.
func (p *Partition) Hold() (end int64, release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	end = p.high.Load()
	p.held = append(p.held, end)
	return end, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		i := slices.Index(p.held, end)
		p.held = slices.Delete(p.held, i, i+1)
	}
}

// compactable returns the offset up to which the log may be compacted. A later
// Hold never gets a lower one, because the high watermark only rises.
func (p *Partition) compactable() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit := min(p.cleanable(), p.stable())
	for _, end := range p.held {
		limit = min(limit, end)
	}
	return limit
}
