package log

import "fmt"

// Adopt makes a log of segments that were copied into cfg.Dir without their derived
// files. It verifies every batch, builds the indexes, the leader epochs and the
// checkpoint, sets the start offset, closes the log, and returns its end. Any flaw
// in the segments is an error.
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
