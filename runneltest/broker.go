package runneltest

import (
	"context"
	"errors"
	"testing"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
)

// Broker is a broker that belongs to a test. It is a backend like any other:
// producer.New, consumer.New and streams.New take it.
type Broker struct {
	*runnel.Broker
	t testing.TB
}

// New opens a broker in memory and closes it when the test ends, after its
// cleanups that were registered later. It fails the test where the broker cannot
// be opened; see the package's documentation for what fails it at the end.
func New(t testing.TB, opts ...runnel.Option) *Broker {
	t.Helper()
	inner, err := runnel.OpenMemory(opts...)
	if err != nil {
		t.Fatalf("runneltest: %v", err)
	}
	b := &Broker{inner, t}
	t.Cleanup(b.finish)
	return b
}

// finish looks the broker over and closes it.
func (b *Broker) finish() {
	b.t.Helper()
	if n := b.Sessions(); n > 0 {
		b.t.Errorf("runneltest: producers and consumers still open at the end of the test: %d", n)
	}
	// The test's own context has ended by now.
	if err := b.Verify(context.Background()); err != nil && !errors.Is(err, fault.Closed) {
		b.t.Errorf("runneltest: the program has written into a record that it received, which is read-only (Record.Clone gives a copy): %v", err)
	}
	if err := b.Close(); err != nil {
		b.t.Errorf("runneltest: close: %v", err)
	}
}
