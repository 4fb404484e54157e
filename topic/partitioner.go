package topic

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"

	"github.com/runnel-go/runnel/record"
)

// A Partitioner makes the function that chooses the partitions of one topic's
// records for one producer. batchBytes is the producer's batch size.
//
// Producers call the function once per record, from any goroutine, with the
// topic's current number of partitions. It returns one of 0 to partitions-1. It
// must not keep or change r's slices and must not block.
type Partitioner func(topic string, batchBytes int) func(r record.Record, partitions int32) int32

// DefaultPartitioner is Kafka's: records with a key go where PartitionForKey
// says. Records without one go to the same partition for a batch's worth of
// bytes and then to another (KIP-794), so that batches are full.
func DefaultPartitioner(_ string, batchBytes int) func(record.Record, int32) int32 {
	s := newSticky(batchBytes)
	return func(r record.Record, partitions int32) int32 {
		if r.Key == nil {
			return s.choose(&r, partitions)
		}
		return PartitionForKey(r.Key, partitions)
	}
}

// StickyPartitioner ignores keys: every record goes to the same partition for a
// batch's worth of bytes, Kafka's partitioner.ignore.keys.
func StickyPartitioner(_ string, batchBytes int) func(record.Record, int32) int32 {
	s := newSticky(batchBytes)
	return func(r record.Record, partitions int32) int32 { return s.choose(&r, partitions) }
}

// RoundRobinPartitioner uses the partitions in turn and ignores keys.
func RoundRobinPartitioner(string, int) func(record.Record, int32) int32 {
	next := new(atomic.Uint64)
	return func(_ record.Record, partitions int32) int32 {
		return int32((next.Add(1) - 1) % uint64(partitions))
	}
}

// ManualPartitioner uses the record's own Partition.
func ManualPartitioner(string, int) func(record.Record, int32) int32 {
	return func(r record.Record, _ int32) int32 { return r.Partition }
}

// CustomPartitioner returns the Partitioner that uses choose for every topic.
// If choose returns a number outside 0 to partitions-1, sending the record
// fails.
func CustomPartitioner(choose func(r record.Record, partitions int32) int32) Partitioner {
	return func(string, int) func(record.Record, int32) int32 { return choose }
}

// PartitionForKey returns the partition that Kafka's clients choose for a key:
// murmur2 of its bytes without the sign, modulo the number of partitions. It
// makes topics with the same number of partitions co-partitioned, on any
// backend.
func PartitionForKey(key []byte, partitions int32) int32 {
	return int32(uint32(Murmur2(key)) & 0x7fffffff % uint32(partitions))
}

// Murmur2 is the hash that Kafka's clients use for keys: 32-bit MurmurHash2
// with Kafka's seed.
func Murmur2(b []byte) int32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(b))
	for len(b) >= 4 {
		k := binary.LittleEndian.Uint32(b) * m
		b = b[4:]
		k = (k ^ k>>r) * m
		h = h*m ^ k
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h = (h ^ h>>13) * m
	return int32(h ^ h>>15)
}

// sticky holds a partition and how many bytes went there since it was chosen.
type sticky struct {
	limit uint64 // in bytes; 0 < limit < 2^31

	// state is partition<<32 | bytes, with bytes <= limit. It starts full, so
	// that the first record chooses a partition.
	state atomic.Uint64
}

func newSticky(batchBytes int) *sticky {
	s := &sticky{limit: uint64(min(max(batchBytes, 1), 1<<31-1))}
	s.state.Store(s.limit)
	return s
}

// choose returns the partition for r and counts r's bytes.
func (s *sticky) choose(r *record.Record, partitions int32) int32 {
	size := uint64(len(r.Key) + len(r.Value) + record.MinRecordLen)
	for _, h := range r.Headers {
		size += uint64(len(h.Key) + len(h.Value))
	}
	for {
		old := s.state.Load()
		p, n := int32(old>>32), old&0xffffffff
		if n >= s.limit || p >= partitions {
			p, n = another(p, partitions), 0
		}
		if s.state.CompareAndSwap(old, uint64(p)<<32|min(n+size, s.limit)) {
			return p
		}
	}
}

// another returns a random partition other than p if there is one.
func another(p, partitions int32) int32 {
	if partitions < 2 {
		return 0
	}
	if p >= partitions {
		return rand.Int32N(partitions)
	}
	return (p + 1 + rand.Int32N(partitions-1)) % partitions
}
