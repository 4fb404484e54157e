package streams

import (
	"context"
	"sync"
)

// PurgeRecords is how many committed records a partition of a repartition topic
// may have before they are deleted.
func PurgeRecords(n int64) Option { return option(func(c *config) { c.purgeRecords = n }) }

// StirBehindALook makes a CaughtUp begin to wait for commits directly after a
// thread has checked whether one waits.
func StirBehindALook(a *App) {
	p := &a.progress
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calm = &stirred{Context: p.calm, stir: p.stir}
}

// stirred is a context that ends after it was first checked.
type stirred struct {
	context.Context
	once sync.Once
	stir context.CancelFunc
}

func (s *stirred) Err() error {
	err := s.Context.Err()
	s.once.Do(s.stir)
	return err
}
