package record

import "encoding/binary"

// Size returns how many bytes Put will write for a record, the record's length
// included.
func Size(offsetDelta int32, timestampDelta int64, key, value []byte, headers []Header) int {
	body := bodySize(offsetDelta, timestampDelta, key, value, headers)
	return varintLen(int64(body)) + body
}

func bodySize(offsetDelta int32, timestampDelta int64, key, value []byte, headers []Header) int {
	n := 1 + varintLen(timestampDelta) + varintLen(int64(offsetDelta)) + bytesSize(key) + bytesSize(value)
	if len(headers) == 0 {
		return n + 1
	}
	return n + headersSize(headers)
}

func headersSize(headers []Header) int {
	n := varintLen(int64(len(headers)))
	for i := range headers {
		n += varintLen(int64(len(headers[i].Key))) + len(headers[i].Key) + bytesSize(headers[i].Value)
	}
	return n
}

// bytesSize returns how many bytes b and the length before it take; null is the
// length -1.
func bytesSize(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

// Put encodes a record into dst and returns its length. dst must be exactly
// Size bytes long; otherwise Put panics. Deltas count from the batch's base
// offset and base timestamp. Put keeps none of the slices and allocates
// nothing. Goroutines may put records into disjoint parts of one buffer at
// once.
func Put(dst []byte, offsetDelta int32, timestampDelta int64, key, value []byte, headers []Header) int {
	size, timestamp := zigzag(int64(bodyLen(len(dst)))), zigzag(timestampDelta)
	offset, keyLen := zigzag(int64(offsetDelta)), zigzag(nullableLen(key))
	pos := 0
	if len(dst) >= 16 && size|timestamp|offset|keyLen < 1<<21 {
		// The fields before the key nearly always fit into two words. Later
		// writes overwrite the unused high bytes of the words.
		x, n := appendVarint(0, 0, size)
		x, n = appendVarint(x, n+8, timestamp) // past the attributes, which are 0
		binary.LittleEndian.PutUint64(dst, x)
		pos = int(n >> 3)
		x, n = appendVarint(0, 0, offset)
		x, n = appendVarint(x, n, keyLen)
		binary.LittleEndian.PutUint64(dst[pos:], x)
		pos += int(n >> 3)
	} else {
		pos = putUvarint(dst, 0, size)
		dst[pos] = 0
		pos = putUvarint(dst, pos+1, timestamp)
		pos = putUvarint(dst, pos, offset)
		pos = putUvarint(dst, pos, keyLen)
	}
	pos += copy(dst[pos:], key)
	pos = putBytes(dst, pos, value)
	if len(headers) == 0 {
		dst[pos] = 0
		pos++
	} else {
		pos = putHeaders(dst, pos, headers)
	}
	if pos != len(dst) {
		panic("record: Put into a buffer that is not Size bytes long")
	}
	return pos
}

// bodyLen returns the value of the length field of a record of total bytes:
// total without the length field itself.
func bodyLen(total int) int {
	n := total - 1
	for n > 0 && varintLen(int64(n)) > total-n {
		n--
	}
	return n
}

// nullableLen returns the length that precedes b; for null it is -1.
func nullableLen(b []byte) int64 {
	if b == nil {
		return -1
	}
	return int64(len(b))
}

func putHeaders(dst []byte, pos int, headers []Header) int {
	pos = putVarint(dst, pos, int64(len(headers)))
	for i := range headers {
		pos = putVarint(dst, pos, int64(len(headers[i].Key)))
		pos += copy(dst[pos:], headers[i].Key)
		pos = putBytes(dst, pos, headers[i].Value)
	}
	return pos
}

func putBytes(dst []byte, pos int, b []byte) int {
	if b == nil {
		dst[pos] = 1 // zigzag of -1
		return pos + 1
	}
	pos = putVarint(dst, pos, int64(len(b)))
	return pos + copy(dst[pos:], b)
}
