package cleaner

import (
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/topic"
)

// Policy returns the part of a topic's configuration that concerns old records.
func Policy(cfg topic.Config) partition.CleanPolicy {
	cfg = cfg.WithDefaults()
	return partition.CleanPolicy{
		Delete: cfg.Cleanup != topic.Compact, Retention: cfg.Retention, RetentionBytes: cfg.RetentionBytes,
		Compact: cfg.Cleanup != topic.Delete, MinLag: cfg.MinCompactionLag, MaxLag: cfg.MaxCompactionLag,
		DeleteRetention: cfg.DeleteRetention, DirtyRatio: cfg.MinCleanableRatio, SegmentBytes: cfg.SegmentBytes,
	}
}
