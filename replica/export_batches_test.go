package replica

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/record"
)

// Ending is where a log ends.
type Ending = ending

// EndOf returns where the replica's committed log ends.
func (r *Replica) EndOf(t *testing.T) Ending {
	p := r.Copy()
	s, err := p.ReadLog(p.HighWatermark()-1, 1, nil)
	require.NoError(t, err)
	h, err := record.ParseHeader(s.Bytes)
	require.NoError(t, err)
	return ending{1, h.NextOffset(), uint64(h.LeaderEpoch), h.CRC}
}

// Wrong returns endings that differ in one respect.
func (e ending) Wrong() (all []Ending) {
	all = []Ending{e, e, e, e}
	all[0].offset++
	all[1].offset--
	all[2].term++
	all[3].sum++
	return all
}

// FetchBatches has a node ask another one for batches up to an ending.
func FetchBatches(n *Node, from NodeID, g GroupID, offset int64, end Ending) (got []byte, err error) {
	err = n.fetchBatches(context.Background(), from, batchesRequest{g, false, offset, end.offset, end}, func(b []byte) error {
		got = append(got, b...)
		return nil
	})
	return got, err
}
