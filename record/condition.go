package record

// Condition is what an append demands of its partition; package producer makes them. The
// zero value demands nothing.
type Condition struct {
	Demand Demand
	Offset int64 // of EndAt and KeyAt
}

// Demand says what a Condition is about.
type Demand int8

// The demands.
const (
	Anything  Demand = iota
	EndAt            // the partition ends at Offset
	KeyAt            // the last record of the appended record's key is at Offset
	KeyAbsent        // the key has no record, or its last one is a tombstone
)

// OfKey reports whether the demand concerns the record's key.
func (d Demand) OfKey() bool { return d == KeyAt || d == KeyAbsent }

// Valid reports whether an append can have the condition.
func (c Condition) Valid() bool {
	return c.Demand >= Anything && c.Demand <= KeyAbsent && c.Offset >= 0
}
