package log

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/kafkadump"
	"github.com/runnel-go/runnel/internal/vfs"
)

// TestKafkaReadsTheFiles: Kafka's tool reads logs with transactions that are committed, aborted and
// open, and with what compaction leaves, and every file that is derived from them.
func TestKafkaReadsTheFiles(t *testing.T) {
	cfg := memoryConfig()
	cfg.Codec, cfg.IndexInterval, cfg.SegmentBytes = testCodec, 1, 500
	l, _ := open(t, cfg)
	inTxn(t, l, 7, 0, 0, "a", "b")                                // 0, 1
	endTxn(t, l, 7, 1, Marker{Commit: true, CoordinatorEpoch: 3}) // 2
	inTxn(t, l, 8, 0, 0, "c")                                     // 3
	endTxn(t, l, 8, 1, Marker{CoordinatorEpoch: 3})               // 4: aborted
	inTxn(t, l, 9, 0, 0, "c")                                     // 5
	endTxn(t, l, 9, 0, Marker{})                                  // 6: aborted, and its last batch is its producer's
	require.NoError(t, l.Append(encodeKeyed([]keyed{{offset: 7, ms: 8_000, key: "a", tombstone: true}}, 0, 0), nil))
	require.NoError(t, l.Roll())
	inTxn(t, l, 10, 0, 0, "d")                       // 8
	endTxn(t, l, 10, 1, Marker{CoordinatorEpoch: 3}) // 9: aborted
	inTxn(t, l, 10, 1, 0, "e")                       // 10: open
	inTxn(t, l, 11, 4, 0, "e", "f")                  // 11, 12: open
	l.ForgetProducers(func(p *Producer) bool { return p.ID == 8 })
	c := Compaction{Now: 10_000, Limit: 8, DeleteRetention: time.Second, Keep: l.LastBatches()}
	compactAll(t, l, c)
	require.NoError(t, l.Close())

	files := map[string][]byte{}
	names, err := cfg.FS.ReadDir(cfg.Dir)
	require.NoError(t, err)
	kinds := map[string]bool{}
	for _, e := range names {
		switch kind := filepath.Ext(e.Name); kind {
		case logSuffix, indexSuffix, timeIndexSuffix, txnIndexSuffix, snapshotSuffix:
			if e.Size > 0 {
				kinds[kind] = true
				files[e.Name], err = vfs.ReadFile(cfg.FS, filepath.Join(cfg.Dir, e.Name), 1<<20)
				require.NoError(t, err)
			}
		}
	}
	require.Len(t, kinds, 5)
	kafkadump.Files(t, "testdata/kafkadump.txt", files)
}
