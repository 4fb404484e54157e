package runnel

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// slowFS is a file system whose logs take a while to sync.
type slowFS struct {
	vfs.FS
	syncs atomic.Int64
}

func (s *slowFS) OpenFile(name string, flag int) (vfs.File, error) {
	f, err := s.FS.OpenFile(name, flag)
	if err != nil || !strings.Contains(name, "orders-0") || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return &slowFile{File: f, fs: s}, nil
}

type slowFile struct {
	vfs.File
	fs *slowFS
}

func (f *slowFile) Sync() error {
	f.fs.syncs.Add(1)
	<-time.After(time.Millisecond)
	return f.File.Sync()
}

// Writers that wait for the disk share its syncs: all that one sync served are
// back in time for the next, be they of one producer or of many.
func TestWritersShareSyncs(t *testing.T) {
	for _, producers := range []int{1, 64} {
		synctest.Test(t, func(t *testing.T) {
			const writers, each = 64, 50
			fs := &slowFS{FS: vfs.NewMemory()}
			broker, err := open(defaults(topic.Fsync), home{fsys: fs, dir: "data", disk: true})
			require.NoError(t, err)
			defer broker.Close()
			require.NoError(t, broker.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
			all := make([]*producer.Producer, producers)
			for i := range all {
				all[i], err = producer.New(broker)
				require.NoError(t, err)
			}
			before := fs.syncs.Load()
			var wg sync.WaitGroup
			for n := range writers {
				wg.Go(func() {
					for range each {
						if _, err := all[n%producers].Send(t.Context(), record.Record{Topic: "orders"}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			syncs := fs.syncs.Load() - before
			require.GreaterOrEqual(t, syncs, int64(each))
			require.Less(t, syncs, int64(each*9/5), "of %d records", writers*each)
		})
	}
}
