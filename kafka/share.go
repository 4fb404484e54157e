package kafka

import (
	"context"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/share"
)

var _ share.Backend = (*Cluster)(nil)

// OpenShare implements share.Backend. There are no share groups of a Kafka cluster here:
// fault.UnsupportedVersion. franz-go's share consumer accepts, with each poll, all records of
// the poll before that were not settled, so a record that one worker still has would count as
// done as soon as another worker receives one.
func (c *Cluster) OpenShare(context.Context, share.Config) (share.Session, error) {
	if err := c.live(); err != nil {
		return nil, err
	}
	return nil, fault.Newf(fault.UnsupportedVersion, "share groups of a Kafka cluster").
		Try("use a consumer group, whose members share partitions: consumer.Run handles records side by side, with retries and dead letters")
}
