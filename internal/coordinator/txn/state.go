package txn

import "strconv"

// State is the state of a transactional ID, under Kafka's number.
type State int8

// The states; the package's documentation draws them.
const (
	Empty          State = 0
	Ongoing        State = 1
	PrepareCommit  State = 2
	PrepareAbort   State = 3
	CompleteCommit State = 4
	CompleteAbort  State = 5
	Dead           State = 6
)

var stateNames = [...]string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead"}

// String returns Kafka's name.
func (s State) String() string {
	if s < Empty || s > Dead {
		return "State(" + strconv.Itoa(int(s)) + ")"
	}
	return stateNames[s]
}

// isDecided reports whether the markers are still to be written.
func (s State) isDecided() bool { return s == PrepareCommit || s == PrepareAbort }

// commits reports whether the last decision was to commit.
func (s State) commits() bool { return s == PrepareCommit || s == CompleteCommit }
