package log

import (
	"errors"
	"io"

	"github.com/runnel-go/runnel/internal/vfs"
)

// A sync that makes a new length and new blocks durable waits for the file system's
// journal; a sync of overwritten bytes does not. So a log that is synced append by
// append writes zeros behind its last batch, which the next appends overwrite.
// Sealing and closing truncate them.
const (
	// fillBytes is how many zeros are written at most. With more, the sync that writes
	// them takes noticeably longer; with fewer, there is one too often.
	fillBytes = 256 << 10

	// fillBlock is the unit in which file systems allocate.
	fillBlock = 4096

	// fillBelow is the most bytes per sync for which zeros pay: beyond it, writing
	// everything twice costs more than the journal.
	fillBelow = 64 << 10
)

var zeros [fillBytes]byte

// writeZeros writes zeros behind the bytes that are about to be synced, unless there are
// enough for as many again. It at most doubles the segment, so that a small log
// stays small. Zeros are an optimization: a failure to write them is no error.
func (l *Log) writeZeros() {
	pos := l.active.size.Load()
	group := pos - l.syncedPos
	from := max(l.filled, pos)
	if group > fillBelow || from-pos >= group || l.unfilled {
		return
	}
	end := (pos + min(pos, fillBytes) + fillBlock - 1) / fillBlock * fillBlock
	end = min(end, l.cfg.SegmentBytes, from+fillBytes)
	if end <= from {
		return
	}
	n, err := l.file.WriteAt(zeros[:end-from], from)
	l.filled = from + int64(n)
	if err != nil {
		// Leave the rest of a full disk to records. If the truncation fails, too, the
		// zeros do no harm.
		l.unfilled = true
		if l.file.Truncate(pos) == nil {
			l.filled = pos
		}
	}
}

// trimZeros syncs the active segment and truncates the zeros behind its last batch.
func (l *Log) trimZeros() error {
	pos := l.active.size.Load()
	if l.filled <= pos {
		return l.sync()
	}
	if err := l.usable(); err != nil {
		return err
	}
	if err := l.file.Truncate(pos); err != nil {
		return l.fail(err)
	}
	l.filled = pos
	return l.flush()
}

// contentEnd returns the position behind the last byte of a file that is not
// zero, from from to end; from where all of them are.
func contentEnd(f vfs.File, from, end int64) (int64, error) {
	buf := make([]byte, min(scanBytes, end-from))
	for end > from {
		b := buf[:min(int64(len(buf)), end-from)]
		if n, err := f.ReadAt(b, end-int64(len(b))); n < len(b) {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		for i := len(b); i > 0; i-- {
			if b[i-1] != 0 {
				return end - int64(len(b)-i), nil
			}
		}
		end -= int64(len(b))
	}
	return from, nil
}
