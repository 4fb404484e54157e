package fetch

// turn is a source's state in the line of sources. Only the methods below change it;
// the package doc draws the transitions. They all need session.mu, because Wake, Pause
// and Resume come from other goroutines than the one that fetches.
type turn int8

const (
	turnIdle   turn = iota // not in the line: waits for records, its topic, Resume or Seek
	turnReady              // in the line
	turnPassed             // in the line, which skips it: it was paused there. Removing it from the middle would cost a search
	turnServed             // not in the line: the goroutine that fetches reads it
	turnEnded              // no longer assigned; the line may still have it, and skips it
)

// holds are the reasons for which a source takes no turns, whatever there is to
// read. They are independent: Resume does not end an error, nor Seek a pause.
type holds uint8

const (
	heldPaused holds = 1 << iota // by Pause, until Resume
	heldFailed                   // by an error that reading again would repeat, until Seek
)

// enqueueLocked puts an idle source at the end of the line, unless something holds
// it. The source need not have anything to read: its turn finds out.
func (src *source) enqueueLocked() {
	if src.holds != 0 {
		return
	}
	switch src.turn {
	case turnIdle:
		src.session.ready.push(src)
		src.turn = turnReady
	case turnPassed: // its place is still there
		src.turn = turnReady
	}
}

// popLocked notes that the line has given out the source, and reports whether to serve
// it.
func (src *source) popLocked() bool {
	switch src.turn {
	case turnReady:
		src.turn = turnServed
		return true
	case turnPassed:
		src.turn = turnIdle
	}
	return false
}

// restLocked ends the turn of a source that was served, unless it was dropped
// meanwhile.
func (src *source) restLocked() {
	if src.turn == turnServed {
		src.turn = turnIdle
	}
}

// endLocked makes the source take no more turns. The line may still have it.
func (src *source) endLocked() { src.turn = turnEnded }

// pauseLocked makes the line skip the source. A turn that has begun continues.
func (src *source) pauseLocked() {
	src.holds |= heldPaused
	if src.turn == turnReady {
		src.turn = turnPassed
	}
}

func (src *source) resumeLocked() {
	src.holds &^= heldPaused
	src.enqueueLocked()
}

// failLocked keeps the source out of the line until Seek. The source is being served,
// or is new and not in the session yet: in neither case is it in the line.
func (src *source) failLocked() { src.holds |= heldFailed }

// forgiveLocked ends failLocked.
func (src *source) forgiveLocked() { src.holds &^= heldFailed }
