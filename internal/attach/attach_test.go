package attach_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/backendtest"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(doVariable); what != "" {
		fmt.Println("error:", asChild(what, os.Getenv(dirVariable)))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// What a broker can, it can through its socket.
func TestBackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Backend {
		dir := t.TempDir()
		b, err := runnel.Open(dir)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		r, err := runnel.Attach(dir)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, r.Close()) })
		return r
	}, backendtest.Features{AtomicTopics: true, Durability: true, AppendTime: true, StaticMembers: true})
}

func TestClosing(t *testing.T) {
	for name, broker := range map[string]bool{"the client": false, "the broker": true} {
		t.Run(name, func(t *testing.T) {
			backendtest.RunClosing(t, func(t *testing.T) backendtest.Closer {
				dir := t.TempDir()
				b, err := runnel.Open(dir)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, b.Close()) })
				r, err := runnel.Attach(dir)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, r.Close()) })
				if broker {
					return closedByBroker{r, b}
				}
				return r
			})
		})
	}
}

// closedByBroker is a Remote that closes what it is attached to.
type closedByBroker struct {
	*runnel.Remote
	b *runnel.Broker
}

func (c closedByBroker) Close() error { return c.b.Close() }
