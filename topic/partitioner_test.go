package topic

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/record"
)

// testdata/murmur2.json holds what Kafka's own client computes.
func TestMurmur2IsKafkas(t *testing.T) {
	text, err := os.ReadFile("testdata/murmur2.json")
	require.NoError(t, err)
	var cases []struct {
		Key         string           `json:"key"`
		Murmur2     int32            `json:"murmur2"`
		PartitionOf map[string]int32 `json:"partition_of"`
	}
	require.NoError(t, json.Unmarshal(text, &cases))
	require.NotEmpty(t, cases)
	choose := DefaultPartitioner("t", 1)
	for _, c := range cases {
		key, err := hex.DecodeString(c.Key)
		require.NoError(t, err)
		require.Equal(t, c.Murmur2, Murmur2(key), c.Key)
		for text, want := range c.PartitionOf {
			n, err := strconv.Atoi(text)
			require.NoError(t, err)
			require.Equal(t, want, PartitionForKey(key, int32(n)), "%s of %d", c.Key, n)
			require.Equal(t, want, choose(record.Record{Key: key}, int32(n)), "an empty key is a key: %q", c.Key)
		}
	}
}

// Records without a key fill a batch on one partition, then another.
func TestStickyFillsABatch(t *testing.T) {
	for name, make := range map[string]Partitioner{"default": DefaultPartitioner, "sticky": StickyPartitioner} {
		t.Run(name, func(t *testing.T) {
			const batch, partitions = 1000, 3
			choose := make("t", batch)
			r := record.Record{Value: []byte("0123456789"), Headers: []record.Header{{Key: "k", Value: []byte("v2")}}}
			size := 10 + 3 + record.MinRecordLen
			perBatch := (batch + size - 1) / size
			last := int32(-1)
			seen := map[int32]int{}
			for range 60 {
				p := choose(r, partitions)
				require.NotEqual(t, last, p, "a full batch goes on to another partition")
				for range perBatch - 1 {
					require.Equal(t, p, choose(r, partitions))
				}
				last = p
				seen[p]++
			}
			require.Len(t, seen, partitions)
		})
	}
}

func TestStickyIgnoresKeysOnlyWhenAsked(t *testing.T) {
	keyed := record.Record{Key: []byte("foobar")}
	choose := StickyPartitioner("t", 1<<20)
	p := choose(record.Record{}, 7)
	for range 100 {
		require.Equal(t, p, choose(keyed, 7))
	}
	require.EqualValues(t, 0, DefaultPartitioner("t", 1)(keyed, 7))
}

func TestStickyWithOnePartition(t *testing.T) {
	choose := DefaultPartitioner("t", 1)
	for range 10 {
		require.Zero(t, choose(record.Record{}, 1))
	}
}

// A record that is larger than the counter must not carry into the partition.
func TestStickyWithHugeBatches(t *testing.T) {
	s := newSticky(1 << 40)
	huge := record.Record{Headers: make([]record.Header, 0)}
	for range 100 {
		p := s.choose(&huge, 5)
		require.True(t, p >= 0 && p < 5)
		s.state.Store(uint64(p)<<32 | (s.limit - 1))
	}
}

func TestStickyFollowsThePartitions(t *testing.T) {
	choose := StickyPartitioner("t", 1)
	for range 50 {
		choose(record.Record{}, 100)
		p := choose(record.Record{}, 2)
		require.True(t, p == 0 || p == 1, "the topic was created again, smaller")
	}
}

func TestRoundRobin(t *testing.T) {
	choose := RoundRobinPartitioner("t", 1)
	var got []int32
	for range 7 {
		got = append(got, choose(record.Record{Key: []byte("same")}, 3))
	}
	require.Equal(t, []int32{0, 1, 2, 0, 1, 2, 0}, got)
}

func TestManualAndCustom(t *testing.T) {
	require.EqualValues(t, 5, ManualPartitioner("t", 1)(record.Record{Partition: 5}, 3), "sending it reports the error")
	custom := CustomPartitioner(func(r record.Record, n int32) int32 { return int32(len(r.Value)) % n })
	require.EqualValues(t, 1, custom("t", 1)(record.Record{Value: []byte("1234")}, 3))
}

// Many goroutines share one sticky choice: each partition gets about a batch's
// worth of bytes at a time, from any goroutine.
func TestStickyTogether(t *testing.T) {
	const goroutines, each, partitions, batch = 8, 5000, 4, 500
	choose := DefaultPartitioner("t", batch)
	var mu sync.Mutex
	total := map[int32]int{}
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			mine := map[int32]int{}
			for range each {
				mine[choose(record.Record{Value: make([]byte, 93)}, partitions)]++
			}
			mu.Lock()
			defer mu.Unlock()
			for p, n := range mine {
				total[p] += n
			}
		})
	}
	wg.Wait()
	require.Len(t, total, partitions)
	sum := 0
	for _, n := range total {
		sum += n
		require.InDelta(t, goroutines*each/partitions, n, goroutines*each/partitions/4)
	}
	require.Equal(t, goroutines*each, sum)
}

func BenchmarkPartitioner(b *testing.B) {
	r := record.Record{Topic: "t", Key: []byte("0123456789abcdef"), Value: make([]byte, 100)}
	for name, p := range map[string]struct {
		make Partitioner
		r    record.Record
	}{
		"keyed":   {DefaultPartitioner, r},
		"keyless": {DefaultPartitioner, record.Record{Topic: "t", Value: r.Value}},
		"robin":   {RoundRobinPartitioner, r},
	} {
		choose := p.make("t", 16<<10)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				choose(p.r, 12)
			}
		})
	}
}

func BenchmarkMurmur2(b *testing.B) {
	key := []byte("0123456789abcdef")
	for b.Loop() {
		PartitionForKey(key, 12)
	}
}
