package replica

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/record"
)

// FuzzBatches decodes what another node may send for a repair.
func FuzzBatches(f *testing.F) {
	q := batchesRequest{GroupID{Partition: 3}, true, 5, 17, ending{9, 20, 4, 77}}
	f.Add(q.encode()[4:])
	batch := record.Seal(make([]byte, record.HeaderLen), record.BatchHeader{BaseOffset: 5, LeaderEpoch: 2, LastOffsetDelta: 3})
	f.Add(append([]byte{answerBatches}, batch.Bytes...))
	var w wire.Writer
	w.Bool(true)
	w.String("its log is shorter")
	f.Add(append([]byte{answerRefused}, w.B...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := parseBatchesRequest(b); err == nil {
			require.Equal(t, b, q.encode()[4:])
			require.Less(t, q.from, q.to)
		}
		if len(b) == 0 {
			return
		}
		if err := parseRefusal(1, b); err == nil {
			t.Fatal("a refusal is an error")
		}
		for _, headers := range []bool{false, true} {
			var got []byte
			next, err := pass(b[1:], headers, 5, func(part []byte) error {
				got = append(got, part...)
				return nil
			})
			require.True(t, bytes.HasPrefix(b[1:], got), "batches are passed on as they are")
			if err == nil {
				require.Len(t, got, len(b)-1)
			}
			if len(got) == 0 {
				require.Equal(t, int64(5), next)
			}
			stop := errors.New("stop")
			if _, err := pass(b[1:], headers, 5, func([]byte) error { return stop }); len(got) > 0 {
				require.ErrorIs(t, err, stop)
			}
		}
		run, _ := upTo(b, 0, 1<<40)
		require.True(t, bytes.HasPrefix(b, run))
		require.Zero(t, len(headersOf(run))%record.HeaderLen)
	})
}
