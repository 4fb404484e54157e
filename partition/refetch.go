package partition

import (
	"context"

	"github.com/runnel-go/runnel/log"
)

// Refetch repairs the segment that holds an offset with batches of another copy; see
// log.Log.Refetch. Readers and appends continue meanwhile. Only a replica has it.
func (p *Partition) Refetch(ctx context.Context, offset, begin int64, fetch func(from, to int64, write func(batches []byte) error) error) error {
	working, end, err := p.beginClean(ctx)
	if err != nil {
		return err
	}
	defer end()
	if p.log.IsActive(offset) {
		if err := p.asWriter(p.log.Roll); err != nil {
			return err
		}
	}
	var next *log.Replacement
	if next, err = p.log.Refetch(working, offset, begin, fetch); err != nil {
		return err
	}
	return p.asWriter(func() error { return p.log.Swap(next) })
}
