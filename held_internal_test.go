package runnel

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/produce"
)

// NothingIsHeld demands that no session of a producer holds any of its buffer, or
// waits for it: so it is once everything has been flushed.
func NothingIsHeld(t testing.TB, b *Broker) {
	t.Helper()
	for _, s := range b.host.Sessions() {
		if s, ok := s.(*produce.Session); ok {
			held, waiting := s.Held()
			require.Zero(t, held, "bytes of the buffer are still held")
			require.Zero(t, waiting)
		}
	}
}
