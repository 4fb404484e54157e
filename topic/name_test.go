package topic

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
)

func TestValidateName(t *testing.T) {
	for _, name := range []string{
		"a", "A", "0", "_", "-", "a.b", "a_b", "...", ".a", "a.", "quickstart-events", "CON", "__consumer_offsets",
		strings.Repeat("x", 249),
	} {
		require.NoError(t, ValidateName(name), name)
	}
	for _, name := range []string{
		"", ".", "..", "a b", "a/b", "../a", `a\b`, "a\x00", "a:b", "a,b", "a\n", "ä", "а" /* Cyrillic */, "a\xff", "a=b", "*",
		strings.Repeat("x", 250), strings.Repeat("x", 1<<20),
	} {
		err := ValidateName(name)
		require.ErrorIs(t, err, fault.InvalidTopic, "%q", name)
		require.Less(t, len(err.Error()), 300, "an error must not repeat a megabyte")
	}
}

func TestInternalNames(t *testing.T) {
	for _, name := range []string{ClusterMetadata, ConsumerOffsets, TransactionState, ShareGroupState} {
		require.True(t, IsInternal(name))
		require.NoError(t, ValidateName(name))
	}
	require.False(t, IsInternal("__mine"))
}

func TestCollisionKey(t *testing.T) {
	require.Equal(t, CollisionKey("a.b_c"), CollisionKey("a_b.c"))
	require.NotEqual(t, CollisionKey("a-b"), CollisionKey("a_b"))
}

func TestNearest(t *testing.T) {
	names := []string{"orders", "order-lines", "quickstart-events", "visits", "order", "Orders"}
	require.Equal(t, []string{"Orders", "order", "orders"}, Nearest("ordres", names), "the nearest first, then by name")
	require.Equal(t, []string{"quickstart-events"}, Nearest("quickstart-event", names))
	require.Equal(t, []string{"quickstart-events"}, Nearest("quikstart.events", names))
	require.Empty(t, Nearest("payments", names))
	require.Empty(t, Nearest(strings.Repeat("x", 1<<20), names), "a hostile name costs nothing")
	require.Empty(t, Nearest("orders", nil))
}

func FuzzValidateName(f *testing.F) {
	for _, s := range []string{"orders", "..", "a/b", "ä", "a\x00b", strings.Repeat("n", 250)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if ValidateName(name) != nil {
			return
		}
		require.True(t, len(name) > 0 && len(name) <= 249 && name != "." && name != "..")
		require.NotContains(t, name, "/")
		require.NotContains(t, name, `\`)
		for _, c := range []byte(name) {
			require.Contains(t, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", string(c))
		}
	})
}
