package runnel

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// CleanStats is the result of Cleanup for a partition.
type CleanStats struct {
	record.TopicPartition
	partition.CleanStats
}

// String returns the result in one line.
func (c CleanStats) String() string {
	return fmt.Sprintf("%s: %d segments and %d bytes given back, %d records compacted away", c.TopicPartition, c.Segments, c.Bytes, c.Records)
}

// Cleanup deletes and compacts everything that is due now in all topics, and returns
// the result for each partition that it changed, sorted. The broker cleans by itself;
// Cleanup is for tests, and for programs that need it done before they continue.
//
// Topics' configurations and the clock determine what is due: see docs/guarantees.md.
// A partition that can't be cleaned, because the disk is full or a segment is
// damaged, is an error, but the others are cleaned. ctx ends Cleanup early.
func (b *Broker) Cleanup(ctx context.Context) ([]CleanStats, error) {
	if b.isClosed() {
		return nil, fault.Closed
	}
	var names []string
	for t := range b.host.All() {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	var all []CleanStats
	var errs []error
	for _, name := range names {
		t, err := b.host.Whole(name)
		if errors.Is(err, fault.UnknownTopic) {
			continue // deleted meanwhile
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for n, p := range t.Partitions() {
			if err := ctx.Err(); err != nil {
				return all, errors.Join(append(errs, err)...)
			}
			local := p.Copy()
			if local == nil {
				continue
			}
			did, err := b.cleaner.Clean(ctx, t, local, math.MaxInt64, time.Time{})
			if err != nil {
				errs = append(errs, err)
			}
			if did != (partition.CleanStats{}) {
				all = append(all, CleanStats{record.TopicPartition{Topic: name, Partition: int32(n)}, did})
			}
		}
	}
	return all, errors.Join(errs...)
}
