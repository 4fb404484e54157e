package streams

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestTimesAreReadAsTheyWereWritten(t *testing.T) {
	// As Kafka Streams writes it: version 2, and -1 or a time.
	require.Equal(t, "Av//////////", encodeTime(-1))
	require.Equal(t, "AgAAAAAAAAAF", encodeTime(5))
	require.Equal(t, int64(5), decodeTime("AQAAAAAAAAAF"), "version 1 has the time alone, too")
	require.Equal(t, int64(5), decodeTime("AgAAAAAAAAAFAAAAAA=="), "processors' metadata follows")
	for _, none := range []string{"", "free text", "AgAA", "AwAAAAAAAAAF", "AAAAAAAAAAAF"} {
		require.Equal(t, int64(-1), decodeTime(none), none)
	}
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.Int64Min(-1).Draw(t, "ms")
		require.Equal(t, ms, decodeTime(encodeTime(ms)))
		require.GreaterOrEqual(t, decodeTime(rapid.String().Draw(t, "metadata")), int64(-1))
	})
}
