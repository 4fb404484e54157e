package record

import (
	"encoding/binary"
	"time"
)

// Fill decodes the next records into dst and returns their number: as many as
// dst has room for, and fewer at the end of the batch or when it fails, see
// Err. It is like repeated calls of Next, and also sets Topic and Partition.
func (it *Iterator) Fill(dst []Record, topic string, partition int32) int {
	n := 0
	for n < len(dst) {
		n += it.fillUsual(dst[n:], topic, partition)
		if n == len(dst) {
			break
		}
		if it.left <= 0 {
			it.end()
			break
		}
		if !it.nextAny(&dst[n]) {
			break
		}
		dst[n].Topic, dst[n].Partition = topic, partition
		n++
	}
	return n
}

// fillUsual is Fill for the usual records: lengths and deltas of at most three
// bytes, no headers, and enough bytes after them to load eight at once. It
// stops before the first record that is unusual or wrong, which it leaves to
// nextAny. It keeps all changing state in local variables, which stay in CPU
// registers.
func (it *Iterator) fillUsual(dst []Record, topic string, partition int32) int {
	data, pos, last, left := it.data, it.pos, it.lastDelta, int(it.left)
	ms, at := int64(0), time.UnixMilli(0)
	if it.appendTime {
		ms, at = it.appendMs, time.UnixMilli(it.appendMs)
	}
	dst = dst[:min(len(dst), max(left, 0))]
	n := 0
	for n < len(dst) {
		p := pos
		if len(data)-p < 16 {
			break
		}
		x := binary.LittleEndian.Uint64(data[p:])
		size, sizeBits := shortVarint(x)
		timestamp, timestampBits := shortVarint(x >> (sizeBits + 8&63)) // past the attributes
		end := p + int(sizeBits>>3) + int(unzigzag(size))
		p += int((sizeBits + 8 + timestampBits) >> 3)
		x = binary.LittleEndian.Uint64(data[p:])
		offset, offsetBits := shortVarint(x)
		keySize, keyBits := shortVarint(x >> (offsetBits & 63))
		p += int((offsetBits + keyBits) >> 3)
		if sizeBits == 0 || timestampBits == 0 || offsetBits == 0 || keyBits == 0 {
			break
		}
		delta, keyLen := unzigzag(offset), int(unzigzag(keySize))
		if end > len(data) || delta <= last || delta > it.maxDelta || keyLen < -1 || keyLen > end-p {
			break
		}
		var key, value []byte
		if keyLen >= 0 {
			key = data[p : p+keyLen : p+keyLen]
			p += keyLen
		}
		if len(data)-p < 8 {
			break
		}
		valueSize, valueBits := shortVarint(binary.LittleEndian.Uint64(data[p:]))
		p += int(valueBits >> 3)
		valueLen := int(unzigzag(valueSize))
		if valueBits == 0 || valueLen < -1 || valueLen >= end-p {
			break
		}
		if valueLen >= 0 {
			value = data[p : p+valueLen : p+valueLen]
			p += valueLen
		}
		if data[p] != 0 || p+1 != end {
			break
		}
		if now := it.baseMs + unzigzag(timestamp); now != ms && !it.appendTime {
			ms, at = now, time.UnixMilli(now)
		}
		r := &dst[n]
		r.Topic, r.Partition, r.LeaderEpoch, r.Offset = topic, partition, it.epoch, it.baseOffset+delta
		r.Timestamp, r.Key, r.Value, r.Headers = at, key, value, nil
		pos, last = end, delta
		n++
	}
	it.pos, it.lastDelta, it.left = pos, last, it.left-int32(n)
	return n
}
