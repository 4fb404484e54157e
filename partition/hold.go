package partition

import "slices"

// Hold returns the high watermark, and keeps the log's content as it is there:
// until release is called, no record is compacted away because of one from that
// offset on. Whoever copies the log up to there copies the last record of each
// key. Hold and release may be called by any goroutine, release once.
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

// compactable returns the offset up to which the log may be compacted. No Hold
// that comes later gets a lower one.
func (p *Partition) compactable() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit := p.high.Load()
	for _, end := range p.held {
		limit = min(limit, end)
	}
	return limit
}
