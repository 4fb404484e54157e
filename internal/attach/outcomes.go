package attach

import "github.com/runnel-go/runnel/fault"

// outcomes holds the outcomes of records, in the order in which they became
// known, and the current numbers of partitions of their topics.
type outcomes struct {
	topics []growth
	runs   []run
}

// growth is a topic's number of partitions; 0 means that it was deleted.
type growth struct {
	writer     uint32
	partitions int32
}

// run is the common outcome of consecutive records of one parcel: they have
// offsets from base on, or all failed with err.
type run struct {
	target       uint32 // kept on the server, not sent
	parcel       uint32
	first, count int32
	base         int64  // -1 without acknowledgement, and after an error
	failure      uint32 // the number of the partition's failure, and 0 if it does not affect the records after it
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

// extend adds record i of a parcel to r if it has the same outcome, and reports
// whether it did.
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
