package attach

import "github.com/runnel-go/runnel/fault"

// outcomes is what has become of records, in the order in which it was found
// out, and how many partitions their topics have now.
type outcomes struct {
	topics []growth
	runs   []run
}

// growth is a topic's number of partitions; 0 means that it was deleted.
type growth struct {
	writer     uint32
	partitions int32
}

// run is the common outcome of some records of one parcel: they stand at base
// and behind it, or all failed with err.
type run struct {
	target       uint32 // where it is known
	parcel       uint32
	first, count int32
	base         int64  // -1 where nobody acknowledges, and after an error
	failure      uint32 // the number of the partition's failure, and 0 if nothing behind fails
	err          error
}

func (o *outcomes) fields(c *coder) {
	list(c, 8, &o.topics, func(c *coder, g *growth) {
		int32s(c, &g.writer)
		int32s(c, &g.partitions)
	})
	list(c, 25, &o.runs, func(c *coder, r *run) {
		int32s(c, &r.parcel)
		int32s(c, &r.first)
		int32s(c, &r.count)
		int64s(c, &r.base)
		int32s(c, &r.failure)
		c.problem(&r.err)
	})
}

// extend makes r longer by the record i of a parcel, and reports whether that
// has the same outcome.
func (r *run) extend(parcel uint32, i int32, offset int64, err error, failure uint32) bool {
	if r.parcel != parcel || r.first+r.count != i || !same(r.err, err) {
		return false
	}
	if r.base >= 0 && offset != r.base+int64(r.count) || r.base < 0 && offset >= 0 {
		return false
	}
	r.count++
	r.failure = failure
	return true
}

// same reports whether two errors are known to be one.
func same(a, b error) bool {
	x, plain := a.(fault.Code)
	y, too := b.(fault.Code)
	return a == nil && b == nil || plain && too && x == y
}
