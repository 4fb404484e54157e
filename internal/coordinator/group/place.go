package group

import "unicode/utf16"

// PartitionOf returns the partition of __consumer_offsets, which has n, to which a group
// belongs. As in Kafka, that is the absolute value of Java's String.hashCode, and 0 for
// the number that has none, modulo n.
func PartitionOf(name string, n int) int { return int(hash(name)) % n }

func hash(name string) int32 {
	var h int32
	for _, unit := range utf16.Encode([]rune(name)) {
		h = 31*h + int32(unit)
	}
	if h < 0 {
		h = -h
	}
	return max(h, 0)
}
