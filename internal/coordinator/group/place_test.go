package group

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPartitionOfIsJavas(t *testing.T) {
	for name, want := range map[string]int32{
		"": 0, "a": 97, "quickstart": 1_698_122_389, "größe": 98_762_257, "😀": 1_772_899,
		"my-group": 1_906_497_762, "polygenelubricants": 0, // negative in Java, and the most negative
	} {
		require.Equal(t, want, hash(name), name)
	}
}
