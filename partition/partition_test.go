package partition_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

func TestAppendAndRead(t *testing.T) {
	p, found := open(t, configOn(vfs.NewMemory()))
	require.True(t, found.Clean)
	require.Zero(t, p.HighWatermark())
	require.Zero(t, p.LeaderEpoch())

	base, err := appendAll(p, "a", "b")
	require.NoError(t, err)
	require.EqualValues(t, 0, base)
	base, err = appendAll(p, "c")
	require.NoError(t, err)
	require.EqualValues(t, 2, base)
	require.EqualValues(t, 3, p.HighWatermark())
	require.EqualValues(t, 3, p.EndOffset())

	s, err := p.Read(1, 1<<20, nil)
	require.NoError(t, err)
	require.EqualValues(t, 3, s.HighWatermark)
	require.EqualValues(t, 0, s.StartOffset)
	require.Equal(t, []string{"b"}, valuesFrom(t, s, 1)[:1])
	require.Equal(t, []string{"b", "c"}, readAll(t, p, 1))

	s, err = p.Read(3, 1<<20, nil)
	require.NoError(t, err)
	require.Empty(t, s.Bytes)
	for _, outside := range []int64{-1, 4} {
		_, err = p.Read(outside, 1<<20, nil)
		require.ErrorIs(t, err, fault.OffsetOutOfRange)
		require.ErrorContains(t, err, "orders-3")
	}
	require.NoError(t, p.Close())
}

func TestRefusedBatches(t *testing.T) {
	patch := func(at int, b ...byte) []byte {
		raw := batchOf("value")
		copy(raw[at:], b)
		return raw
	}
	tests := []struct {
		name  string
		batch []byte
		want  fault.Code
	}{
		{"nothing", nil, fault.InvalidRecord},
		{"half a header", batchOf("v")[:30], fault.InvalidRecord},
		{"cut short", batchOf("value")[:65], fault.InvalidRecord},
		{"a compression of the future", patch(22, 5), fault.UnsupportedCompression},
		{"too long", append(batchOf("v"), 0), fault.InvalidRecord},
		{"two batches", append(batchOf("v"), batchOf("w")...), fault.InvalidRecord},
		{"no records", patch(57, 0, 0, 0, 0), fault.InvalidRecord},
		{"more offsets than records", patch(23, 0, 0, 0, 9), fault.InvalidRecord},
		{"a time before all times", patch(35, 0x80), fault.InvalidTimestamp},
		{"too large", batchOf(string(make([]byte, 300))), fault.RecordTooLarge},
	}
	cfg := configOn(vfs.NewMemory())
	cfg.MaxMessageBytes = 300
	p, _ := open(t, cfg)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			back := new(returned)
			done := newOutcome()
			p.Append(test.batch, back, done)
			base, err := done.wait()
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, "orders-3")
			require.EqualValues(t, -1, base)
			require.Equal(t, 1, back.times, "the batch is its owner's again")
		})
	}
	require.Zero(t, p.EndOffset())

	p.Configure(partition.Settings{})
	_, err := appendAll(p, string(make([]byte, 300)))
	require.NoError(t, err, "settings may change")
	require.NoError(t, p.Close())
}

// returned counts how often a buffer came back.
type returned struct{ times int }

func (r *returned) Recycle([]byte) { r.times++ }

func TestAppendTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := configOn(vfs.NewMemory())
		cfg.AppendTime = true
		p, _ := open(t, cfg)
		time.Sleep(time.Hour)
		_, err := appendAll(p, "a")
		require.NoError(t, err)
		s, err := p.Read(0, 1<<20, nil)
		require.NoError(t, err)
		b, err := record.Parse(s.Bytes)
		require.NoError(t, err, "the checksum covers the time")
		require.True(t, b.LogAppendTime())
		require.Equal(t, time.Now().UnixMilli(), b.MaxTimestamp)
		require.NoError(t, p.Close())
	})
}

func TestRecordsCountOnceSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := &gatedFS{FS: vfs.NewMemory()}
		cfg := configOn(fs)
		cfg.Fsync = true
		p, _ := open(t, cfg)
		_, err := appendAll(p, "first")
		require.NoError(t, err)

		fs.shut()
		before := fs.count()
		done := newOutcome()
		p.Append(batchOf("second"), nil, done)
		synctest.Wait()
		require.False(t, done.isTold())
		require.EqualValues(t, 2, p.EndOffset())
		require.EqualValues(t, 1, p.HighWatermark(), "written is not yet readable")

		// What comes meanwhile shares the next sync.
		var waiting []*outcome
		for range 64 {
			o := newOutcome()
			p.Append(batchOf("more"), nil, o)
			waiting = append(waiting, o)
		}
		fs.open()
		for i, o := range waiting {
			base, err := o.wait()
			require.NoError(t, err)
			require.EqualValues(t, 2+i, base)
		}
		require.Equal(t, before+2, fs.count())
		require.EqualValues(t, 66, p.DurableOffset())
		require.EqualValues(t, 66, p.HighWatermark())
		require.NoError(t, p.Close())
	})
}

func TestFailedSyncIsFinal(t *testing.T) {
	fs := &gatedFS{FS: vfs.NewMemory()}
	cfg := configOn(fs)
	cfg.Fsync = true
	p, _ := open(t, cfg)
	_, err := appendAll(p, "kept")
	require.NoError(t, err)

	broken := errors.New("broken")
	fs.set(nil, broken)
	_, err = appendAll(p, "lost")
	require.ErrorIs(t, err, fault.Storage)
	require.ErrorIs(t, err, broken)
	fs.set(nil, nil)
	_, err = appendAll(p, "refused")
	require.ErrorIs(t, err, fault.Storage)
	_, err = p.DeleteRecords(-1)
	require.ErrorIs(t, err, fault.Storage)

	require.EqualValues(t, 1, p.HighWatermark())
	require.Equal(t, []string{"kept"}, readAll(t, p, 0), "what counted stays readable")
	_ = p.Close()
}

func TestCloseTellsWhatWaits(t *testing.T) {
	tests := []struct {
		name string
		end  func(*partition.Partition) error
		want fault.Code
	}{
		{"Close", (*partition.Partition).Close, fault.Closed},
		{"Delete", (*partition.Partition).Delete, fault.UnknownTopic},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := &gatedFS{FS: vfs.NewMemory()}
				cfg := configOn(fs)
				cfg.Fsync = true
				p, _ := open(t, cfg)
				fs.shut()
				writing, waiting := newOutcome(), newOutcome()
				p.Append(batchOf("writing"), nil, writing)
				synctest.Wait()
				p.Append(batchOf("waiting"), nil, waiting)
				woken := make(bell, 1)
				require.True(t, p.Wait(0, woken))

				ended := make(chan error, 1)
				go func() { ended <- test.end(p) }()
				synctest.Wait()
				require.False(t, waiting.isTold(), "outcomes are told in order")
				fs.open()
				require.NoError(t, <-ended)
				_, err := writing.wait()
				require.NoError(t, err)
				_, err = waiting.wait()
				require.ErrorIs(t, err, test.want)
				<-woken

				_, err = appendAll(p, "late")
				require.ErrorIs(t, err, test.want)
				_, err = p.Read(p.HighWatermark(), 1, nil)
				require.ErrorIs(t, err, test.want)
				require.False(t, p.Wait(100, woken))
				require.NoError(t, test.end(p), "ending twice is allowed")
			})
		})
	}
}

func TestWait(t *testing.T) {
	p, _ := open(t, configOn(vfs.NewMemory()))
	defer p.Close()
	near, far, gone := make(bell, 1), make(bell, 1), make(bell, 1)
	require.True(t, p.Wait(0, near))
	require.True(t, p.Wait(2, far))
	require.True(t, p.Wait(0, gone))
	p.CancelWait(gone)

	_, err := appendAll(p, "a", "b")
	require.NoError(t, err)
	require.Len(t, near, 1, "woken by the time the append is told")
	require.Empty(t, far)
	require.Empty(t, gone)
	require.False(t, p.Wait(1, near), "there is a record already")

	_, err = appendAll(p, "c")
	require.NoError(t, err)
	require.Len(t, near, 1, "woken once")
	require.Len(t, far, 1)
}

func TestDeleteRecords(t *testing.T) {
	p, _ := open(t, configOn(vfs.NewMemory()))
	defer p.Close()
	_, err := appendAll(p, "a", "b", "c")
	require.NoError(t, err)
	start, err := p.DeleteRecords(2)
	require.NoError(t, err)
	require.EqualValues(t, 2, start)
	start, err = p.DeleteRecords(1)
	require.NoError(t, err)
	require.EqualValues(t, 2, start, "never back")
	_, err = p.Read(1, 1<<20, nil)
	require.ErrorIs(t, err, fault.OffsetOutOfRange)
	require.Equal(t, []string{"c"}, readAll(t, p, 2))
	for _, outside := range []int64{4, -2} {
		_, err = p.DeleteRecords(outside)
		require.ErrorIs(t, err, fault.OffsetOutOfRange)
	}
	start, err = p.DeleteRecords(-1)
	require.NoError(t, err)
	require.EqualValues(t, 3, start)
}

func TestLeaderEpochRisesAtAnUncleanOpen(t *testing.T) {
	fs := vfs.NewMemory()
	p, _ := open(t, configOn(fs))
	_, err := appendAll(p, "a")
	require.NoError(t, err)
	require.NoError(t, p.Close())

	p, found := open(t, configOn(fs))
	require.True(t, found.Clean)
	require.Zero(t, p.LeaderEpoch())
	_, err = appendAll(p, "b")
	require.NoError(t, err)

	crashed := p
	p, found = open(t, configOn(fs))
	require.False(t, found.Clean)
	require.EqualValues(t, 1, p.LeaderEpoch())
	_, err = appendAll(p, "c")
	require.NoError(t, err)
	require.EqualValues(t, 0, p.EpochAt(0))
	require.EqualValues(t, 0, p.EpochAt(1))
	require.EqualValues(t, 1, p.EpochAt(2))
	require.EqualValues(t, 1, p.EpochAt(3))
	require.Equal(t, []string{"a", "b", "c"}, readAll(t, p, 0))
	require.NoError(t, p.Close())
	_ = crashed.Close()
}

func TestOffsetForTime(t *testing.T) {
	p, _ := open(t, configOn(vfs.NewMemory()))
	defer p.Close()
	_, err := appendAll(p, "a") // at 1000 ms
	require.NoError(t, err)
	offset, ms, ok, err := p.OffsetForTime(500)
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 0, offset)
	require.EqualValues(t, 1000, ms)
	_, _, ok, err = p.OffsetForTime(1001)
	require.NoError(t, err)
	require.False(t, ok)
}

// Appenders number what they append; every reader sees one same order, in which
// each appender's numbers rise, and never anything that was not appended.
func TestConcurrentAppendersAndReaders(t *testing.T) {
	for _, fsync := range []bool{false, true} {
		t.Run(fmt.Sprintf("fsync=%v", fsync), func(t *testing.T) {
			const appenders, readers, each = 8, 4, 200
			cfg := configOn(vfs.NewMemory())
			cfg.Fsync = fsync
			cfg.Log.TailBytes = 4 << 10
			p, _ := open(t, cfg)

			var wg sync.WaitGroup
			var last order
			for a := range appenders {
				wg.Go(func() {
					for n := range each {
						v := binary.BigEndian.AppendUint32([]byte{byte(a)}, uint32(n))
						done := newOutcome()
						p.Append(batchOf(string(v)), nil, both{&last, done})
						if n%16 == 0 {
							<-done.told
						}
					}
				})
			}
			seen := make([][]string, readers)
			for i := range readers {
				wg.Go(func() {
					rings := make(bell, 1)
					for offset := int64(0); offset < appenders*each; {
						if p.Wait(offset, rings) {
							<-rings
						}
						s, err := p.Read(offset, 1<<10, nil)
						if err != nil {
							t.Error(err)
							return
						}
						got := valuesFrom(t, s, offset)
						s.Release()
						seen[i] = append(seen[i], got...)
						offset += int64(len(got))
					}
				})
			}
			wg.Wait()
			require.NoError(t, p.Close())
			require.Empty(t, last.wrong)

			next := [appenders]uint32{}
			for _, v := range seen[0] {
				require.Equal(t, next[v[0]], binary.BigEndian.Uint32([]byte(v[1:])))
				next[v[0]]++
			}
			for _, other := range seen[1:] {
				require.Equal(t, seen[0], other)
			}
		})
	}
}

// order checks that completions run one at a time and in offset order.
type order struct {
	next  int64 // written by completions alone, which never overlap
	wrong string
}

type both struct {
	order *order
	done  *outcome
}

func (b both) Appended(base int64, err error) {
	if base != b.order.next || err != nil {
		b.order.wrong = fmt.Sprintf("offset %d after %d: %v", base, b.order.next, err)
	}
	b.order.next = base + 1
	b.done.Appended(base, err)
}

// A completion may append: the writer takes it up in the same turn.
func TestACompletionMayAppend(t *testing.T) {
	p, _ := open(t, configOn(vfs.NewMemory()))
	chain := &chain{p: p, left: 100, done: make(chan struct{})}
	chain.Appended(0, nil)
	<-chain.done
	require.EqualValues(t, 100, p.HighWatermark())
	require.NoError(t, p.Close())
}

type chain struct {
	p    *partition.Partition
	left int
	done chan struct{}
}

func (c *chain) Appended(int64, error) {
	if c.left == 0 {
		close(c.done)
		return
	}
	c.left--
	c.p.Append(batchOf("next"), nil, c)
}

// pooled is a batch that is appended again and again.
type pooled struct{ batch []byte }

func (*pooled) Recycle([]byte)        {}
func (*pooled) Appended(int64, error) {}

func TestAppendAllocatesNothing(t *testing.T) {
	cfg := configOn(vfs.NewMemory())
	cfg.Log.TailBytes = -1 // or the one batch would be in the tail while it is stamped again
	p, _ := open(t, cfg)
	b := &pooled{batchOf("value")}
	allocs := testing.AllocsPerRun(1000, func() { p.Append(b.batch, b, b) })
	require.Less(t, allocs, 1.0)
	require.NoError(t, p.Close())
}

func BenchmarkAppend(b *testing.B) {
	cfg := configOn(vfs.NewMemory())
	cfg.Log.TailBytes = -1
	p, _ := open(b, cfg)
	batch := &pooled{batchOf(string(make([]byte, 100)))}
	b.ReportAllocs()
	for b.Loop() {
		p.Append(batch.batch, batch, batch)
	}
	require.NoError(b, p.Close())
}
