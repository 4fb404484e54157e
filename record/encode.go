package record

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

// bytesSize returns what b takes behind its length; null is the length -1.
func bytesSize(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

// Put encodes a record into dst, which must have room for Size bytes, and
// returns how many it wrote. Deltas count from the batch's base offset and base
// timestamp. It keeps none of the slices and allocates nothing, so goroutines
// may put records into disjoint parts of one buffer at once.
func Put(dst []byte, offsetDelta int32, timestampDelta int64, key, value []byte, headers []Header) int {
	pos := putVarint(dst, 0, int64(bodySize(offsetDelta, timestampDelta, key, value, headers)))
	dst[pos] = 0 // the record's attributes, of which there are none yet
	pos = putVarint(dst, pos+1, timestampDelta)
	pos = putVarint(dst, pos, int64(offsetDelta))
	pos = putBytes(dst, pos, key)
	pos = putBytes(dst, pos, value)
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
