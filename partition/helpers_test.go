package partition_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel/internal/leak"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leak.Patient(m)) }

// failer is what helpers need of a test, which may be one of rapid's.
type failer interface {
	require.TestingT
	Helper()
}

func configOn(fs vfs.FS) partition.Config {
	return partition.Config{Log: log.Config{FS: fs, Dir: "orders-3", Topic: "orders", Partition: 3}}
}

func open(t failer, cfg partition.Config) (*partition.Partition, log.Recovery) {
	t.Helper()
	p, found, err := partition.Open(cfg)
	require.NoError(t, err)
	return p, found
}

// batchOf encodes values as one batch, as a producer would.
func batchOf(values ...string) []byte {
	b := record.NewBuilder(1 << 20)
	for _, v := range values {
		b.Add(1000, nil, []byte(v), nil)
	}
	batch, err := b.Batch(nil, record.None, 0)
	if err != nil {
		panic(err)
	}
	return append([]byte(nil), batch.Bytes...)
}

// outcome is a Completion that one goroutine waits for.
type outcome struct {
	base int64
	err  error
	told chan struct{}
}

func newOutcome() *outcome { return &outcome{told: make(chan struct{})} }

func (o *outcome) Appended(base int64, err error) {
	o.base, o.err = base, err
	close(o.told) // a second call panics
}

// wait returns what the completion was told.
func (o *outcome) wait() (int64, error) {
	<-o.told
	return o.base, o.err
}

// isTold reports whether the completion was told yet.
func (o *outcome) isTold() bool {
	select {
	case <-o.told:
		return true
	default:
		return false
	}
}

func appendAll(p *partition.Partition, values ...string) (int64, error) {
	done := newOutcome()
	p.Append(batchOf(values...), nil, done)
	return done.wait()
}

// values decodes the values at and after offset that a slice holds.
func valuesFrom(t failer, s partition.Slice, offset int64) []string {
	t.Helper()
	var values []string
	for rest := s.Bytes; len(rest) > 0; {
		b, err := record.Parse(rest)
		require.NoError(t, err)
		it, err := b.Records(nil)
		require.NoError(t, err)
		for r := (record.Record{}); it.Next(&r); {
			if r.Offset >= offset {
				values = append(values, string(r.Value))
			}
		}
		require.NoError(t, it.Err())
		rest = rest[b.Size():]
	}
	return values
}

// readAll reads everything from offset to the high watermark.
func readAll(t failer, p *partition.Partition, offset int64) []string {
	t.Helper()
	var values []string
	for offset < p.HighWatermark() {
		s, err := p.Read(offset, 64, nil)
		require.NoError(t, err)
		got := valuesFrom(t, s, offset)
		require.NotEmpty(t, got)
		values = append(values, got...)
		offset += int64(len(got))
	}
	return values
}

// bell is a Waker that one goroutine waits for.
type bell chan struct{}

func (b bell) Wake() { b <- struct{}{} }

// gatedFS is a file system whose log files sync when they are let to, or fail.
type gatedFS struct {
	vfs.FS
	mu    sync.Mutex
	gate  chan struct{} // nil: open
	fails error
	syncs int
}

func (g *gatedFS) shut() { g.set(make(chan struct{}), nil) }

func (g *gatedFS) set(gate chan struct{}, fails error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gate, g.fails = gate, fails
}

// open lets syncs pass, those that wait too.
func (g *gatedFS) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gate != nil {
		close(g.gate)
	}
	g.gate = nil
}

func (g *gatedFS) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.syncs
}

func (g *gatedFS) OpenFile(name string, flag int) (vfs.File, error) {
	f, err := g.FS.OpenFile(name, flag)
	if err != nil {
		return nil, err
	}
	return &gatedFile{File: f, fs: g}, nil
}

type gatedFile struct {
	vfs.File
	fs *gatedFS
}

func (f *gatedFile) Sync() error {
	f.fs.mu.Lock()
	gate, fails := f.fs.gate, f.fs.fails
	f.fs.syncs++
	f.fs.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if fails != nil {
		return fails
	}
	return f.File.Sync()
}
