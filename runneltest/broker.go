package runneltest

import (
	"bytes"
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/fixture"
	"github.com/runnel-go/runnel/internal/vfs"
)

// SeedVariable is the environment variable that sets the seed from which the
// fixtures of a test run draw what a crash loses. Without it the seed is
// derived from the test's name, so that a test behaves the same in every run.
const SeedVariable = "RUNNEL_SEED"

// dir is the directory of the broker's files.
const dir = "/data"

// Broker is a broker that belongs to a test. It is a backend like any other:
// producer.New, consumer.New and streams.New take it.
type Broker struct {
	*runnel.Broker
	t       testing.TB
	log     *testLog
	opts    []runnel.Option
	disk    *vfs.Crashable
	faults  *vfs.Faulty // on disk
	seed    uint64
	crashes uint64
	crashed bool
}

// New opens a broker on a file system in memory that can crash. It closes the
// broker when the test ends, after the cleanups that the test registers later.
//
// As with runnel.Open, an acknowledged record is on that disk, unless
// DefaultDurability or a topic's Config says otherwise. The broker logs to the
// test's log, unless runnel.Logger says otherwise. New fails the test if the
// broker cannot be opened. See the package's documentation for what fails the
// test at its end.
func New(t testing.TB, opts ...runnel.Option) *Broker {
	t.Helper()
	out := &testLog{t: t}
	told := runnel.Logger(slog.New(slog.NewTextHandler(out, nil)))
	b := &Broker{t: t, log: out, opts: append([]runnel.Option{told}, opts...), disk: vfs.NewCrashable(), seed: seedOf(t)}
	b.open()
	return b
}

// testLog is an io.Writer that logs lines to a test.
type testLog struct {
	t    testing.TB
	mute atomic.Bool
}

func (l *testLog) Write(line []byte) (int, error) {
	if !l.mute.Load() {
		l.t.Logf("runnel: %s", bytes.TrimSuffix(line, []byte("\n")))
	}
	return len(line), nil
}

// seedOf returns the seed of a test's fixture.
func seedOf(t testing.TB) uint64 {
	t.Helper()
	text := os.Getenv(SeedVariable)
	if text == "" {
		h := fnv.New64a()
		_, _ = h.Write([]byte(t.Name())) // never fails
		return h.Sum64()
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("runneltest: %s: %v", SeedVariable, err)
	}
	return seed
}

// open opens the broker on its disk.
func (b *Broker) open() {
	b.t.Helper()
	b.faults = vfs.NewFaulty(b.disk)
	inner, err := fixture.Open(b.faults, dir, b.opts)
	if err != nil {
		b.t.Fatalf("runneltest: %v%s", err, b.again())
	}
	b.Broker = inner.(*runnel.Broker)
	b.t.Cleanup(b.finish)
}

// again says how to repeat the run, if a crash drew from the seed.
func (b *Broker) again() string {
	if b.crashes == 0 {
		return ""
	}
	return "; the same again with " + SeedVariable + "=" + strconv.FormatUint(b.seed, 10)
}

// finish checks the broker and closes it.
func (b *Broker) finish() {
	b.t.Helper()
	if b.crashed {
		return // the one opened after the crash runs its own finish
	}
	if n := b.Sessions(); n > 0 {
		b.t.Errorf("runneltest: producers and consumers still open at the end of the test: %d", n)
	}
	b.faults.Clear()
	// The test's own context has already ended.
	if err := b.Verify(context.Background()); err != nil && !errors.Is(err, fault.Closed) {
		b.t.Errorf("runneltest: the program has written into a record that it received, which is read-only (Record.Clone gives a copy): %v", err)
	}
	if err := b.Close(); err != nil {
		b.t.Errorf("runneltest: close: %v", err)
	}
	if again := b.again(); again != "" && b.t.Failed() {
		b.t.Logf("runneltest: the broker crashed in this test%s", again)
	}
}
