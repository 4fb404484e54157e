package log

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// TestReadersBesideWriter lets readers follow and seek while a writer appends,
// rolls and drops old segments.
func TestReadersBesideWriter(t *testing.T) {
	eachFS(t, func(t *testing.T, cfg Config) {
		cfg.SegmentBytes, cfg.IndexInterval, cfg.TailBytes = 20_000, 500, 8_000
		l, _ := open(t, cfg)
		var done atomic.Bool
		var readers sync.WaitGroup
		for i := range 4 {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			readers.Go(func() { follow(t, l, &done, rng, i%2 == 0) })
		}
		for i := range 500 {
			if err := l.Append(batchOf(l.EndOffset(), int32(i/300), 1+i%7, 30), spoiler{}); err != nil {
				t.Error(err)
				break
			}
			if i%50 == 49 {
				if err := l.SetStart(l.EndOffset() / 2); err != nil {
					t.Error(err)
				}
			}
			if i%37 == 0 {
				if err := l.Sync(); err != nil {
					t.Error(err)
				}
			}
		}
		done.Store(true)
		readers.Wait()
		readAll(t, l, l.StartOffset())
	})
}

// spoiler overwrites the buffers that it gets back, so that a reader that still reads
// one notices.
type spoiler struct{}

func (spoiler) Recycle(b []byte) {
	for i := range b {
		b[i] = 0xdd
	}
}

// follow reads from some offset on, until the writer is done and all is read.
func follow(t *testing.T, l *Log, done *atomic.Bool, rng *rand.Rand, release bool) {
	buf := make([]byte, 4<<10)
	next := int64(0)
	for {
		last := done.Load()
		end := l.EndOffset()
		if next == end {
			if last {
				return
			}
			runtime.Gosched()
			continue
		}
		s, err := l.Read(next, end, 1+rng.IntN(5_000), buf[:rng.IntN(len(buf))])
		if errors.Is(err, fault.OffsetOutOfRange) && next < l.StartOffset() {
			next = l.StartOffset()
			continue
		}
		if err != nil || len(s.Bytes) == 0 {
			t.Errorf("at %d of %d: %d bytes, %v", next, end, len(s.Bytes), err)
			return
		}
		for b := s.Bytes; len(b) > 0; {
			batch, err := record.Parse(b)
			if err != nil || batch.LastOffset() < next || batch.BaseOffset > next {
				t.Errorf("at %d: %v", next, err)
				return
			}
			next = batch.NextOffset()
			b = b[batch.Size():]
		}
		if release {
			s.Release()
		}
		if rng.IntN(50) == 0 {
			start := l.StartOffset() // perhaps beyond end by now
			next = start + rng.Int64N(l.EndOffset()-start+1)
		}
	}
}

// TestReadersBesideTruncation lets readers read what is below the limit they
// were given while the records above are truncated and written again.
func TestReadersBesideTruncation(t *testing.T) {
	eachFS(t, func(t *testing.T, cfg Config) {
		cfg.SegmentBytes, cfg.IndexInterval, cfg.TailBytes = 5_000, 300, 3_000
		l, _ := open(t, cfg)
		appendN(t, l, 20, 5, 30)
		var done atomic.Bool
		var readers sync.WaitGroup
		for i := range 3 {
			rng := rand.New(rand.NewPCG(uint64(i), 2))
			readers.Go(func() {
				for !done.Load() {
					offset := rng.Int64N(100)
					s, err := l.Read(offset, 100, 1+rng.IntN(3_000), nil)
					if err != nil || len(s.Bytes) == 0 {
						t.Errorf("at %d: %d bytes, %v", offset, len(s.Bytes), err)
						return
					}
					if _, _, ok, err := l.OffsetForTime(offset * 1000); err != nil || !ok {
						t.Errorf("time of %d: %v", offset, err)
						return
					}
				}
			})
		}
		for i := range 40 {
			for range 20 {
				if err := l.Append(batchOf(l.EndOffset(), int32(i), 5, 30), nil); err != nil {
					t.Error(err)
				}
			}
			if err := l.Truncate(100); err != nil {
				t.Error(err)
			}
		}
		done.Store(true)
		readers.Wait()
		require.EqualValues(t, 100, l.EndOffset())
		readAll(t, l, 0)
	})
}

// TestCloseBesideReaders closes and removes a log in use.
func TestCloseBesideReaders(t *testing.T) {
	eachFS(t, func(t *testing.T, cfg Config) {
		for _, end := range []func(*Log) error{(*Log).Close, (*Log).Remove} {
			cfg.SegmentBytes, cfg.TailBytes = 3_000, -1
			l, _ := open(t, cfg)
			appendN(t, l, 100, 5, 30)
			var readers sync.WaitGroup
			for i := range 3 {
				rng := rand.New(rand.NewPCG(uint64(i), 3))
				readers.Go(func() {
					for {
						_, err := l.Read(rng.Int64N(500), 500, 1000, nil)
						if errors.Is(err, fault.Closed) {
							return
						}
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			if err := end(l); err != nil {
				t.Error(err)
			}
			readers.Wait()
			require.NoError(t, l.Remove())
		}
	})
}
