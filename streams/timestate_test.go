package streams

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestTimesAreReadAsTheyWereWritten(t *testing.T) {
	// As Kafka Streams writes it: version 2, and -1 or a time.
	require.Equal(t, "Av//////////", encodeTimes(-1, nil))
	require.Equal(t, "AgAAAAAAAAAF", encodeTimes(5, nil))
	decode := func(metadata string) (ms int64, all map[string]int64) {
		all = make(map[string]int64)
		ms = decodeTimes(metadata, func(name string, ms int64) { all[name] = ms })
		return ms, all
	}
	ms, _ := decode("AQAAAAAAAAAF")
	require.Equal(t, int64(5), ms, "version 1 has the time alone, too")
	ms, all := decode("AgAAAAAAAAAFAAAAAA==")
	require.Equal(t, int64(5), ms)
	require.Empty(t, all)
	for _, none := range []string{"", "free text", "AgAA", "AwAAAAAAAAAF", "AAAAAAAAAAAF"} {
		ms, _ := decode(none)
		require.Equal(t, int64(-1), ms, none)
	}
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.Int64Min(-1).Draw(t, "ms")
		nodes := rapid.MapOf(rapid.String(), rapid.Int64()).Draw(t, "nodes")
		var memories []memory
		for name, ms := range nodes {
			memories = append(memories, memory{name, &ms})
		}
		ms, all := decode(encodeTimes(want, memories))
		require.Equal(t, want, ms)
		require.Equal(t, nodes, all)
		ms, _ = decode(rapid.String().Draw(t, "metadata"))
		require.GreaterOrEqual(t, ms, int64(-1))
	})
}
