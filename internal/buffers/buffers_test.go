package buffers_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/buffers"
)

// Buffers of every size come and go: each has its size, and hardly more memory.
func TestBuffersHaveTheirSize(t *testing.T) {
	var pool buffers.Pool
	random := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		n := random.IntN(2 << 20)
		b := pool.Get(n)
		require.Equal(t, n, len(b.Bytes))
		require.LessOrEqual(t, cap(b.Bytes), n+16<<10)
		pool.Put(b)
	}
}

// Two buffers that are in use do not share memory.
func TestBuffersInUseAreApart(t *testing.T) {
	var pool buffers.Pool
	pool.Put(pool.Get(60_000))
	one, two := pool.Get(50_000), pool.Get(60_000)
	for i := range one.Bytes {
		one.Bytes[i] = 1
	}
	clear(two.Bytes)
	for _, b := range one.Bytes {
		require.Equal(t, byte(1), b)
	}
}
