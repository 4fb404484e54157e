package fetch

import "github.com/runnel-go/runnel/internal/host"

// visible returns the offset before which the session may see a partition's records.
// That is the high watermark, as for Kafka's read_uncommitted: here is the only place
// where another isolation level would say otherwise.
func (s *Session) visible(p host.Partition) int64 { return p.HighWatermark() }

// visibleIn returns what visible was when a chunk was read.
func (s *Session) visibleIn(c *chunk) int64 { return c.HighWatermark }
