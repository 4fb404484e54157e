package kafka

import (
	"context"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/share"
)

var _ share.Backend = (*Cluster)(nil)

// OpenShare implements share.Backend. The client for Kafka has no share groups yet:
// fault.UnsupportedVersion.
func (c *Cluster) OpenShare(context.Context, share.Config) (share.Session, error) {
	if err := c.live(); err != nil {
		return nil, err
	}
	return nil, fault.Newf(fault.UnsupportedVersion, "share groups of a Kafka cluster").Try("a consumer group shares partitions")
}
