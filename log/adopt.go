package log

import "fmt"

// Adopt takes up segments that were put into cfg.Dir without anything that is
// derived from them: it verifies every batch, builds the indexes, the leader
// epochs and the checkpoint, lets the log start at an offset, and closes it. It
// returns the log's end. Unless the segments are sound as a whole, it is an
// error.
func Adopt(cfg Config, start int64) (end int64, err error) {
	l, found, err := Open(cfg)
	if err != nil {
		return 0, err
	}
	switch {
	case len(found.Damage) > 0:
		err = found.Damage[0]
	case found.Cut > 0:
		err = fmt.Errorf("%s: %d bytes at its end are no batch: %s", cfg.Dir, found.Cut, found.Reason)
	case start > l.StartOffset():
		err = l.SetStart(start)
	}
	end = l.EndOffset()
	if err != nil {
		l.discard()
		return end, err
	}
	return end, l.Close()
}
