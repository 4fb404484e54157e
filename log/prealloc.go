package log

import (
	"errors"
	"io"

	"github.com/runnel-go/runnel/internal/vfs"
)

// A sync that also has to make a new length and new blocks durable waits for
// the file system's journal; one that overwrites bytes which are there already
// does not. So behind what is synced append by append the active segment holds
// zeros, which the next appends overwrite. Segments that are sealed and logs
// that are closed end with their last batch.
const (
	// fillBytes is how many zeros are written at most: more made the sync that
	// writes them stand out, less made it come too often.
	fillBytes = 256 << 10

	// fillBlock is what file systems allocate at once.
	fillBlock = 4096

	// fillBelow is up to how many bytes a sync serves for which zeros are worth
	// writing: beyond it, writing everything twice costs more than the journal.
	fillBelow = 64 << 10
)

var zeros [fillBytes]byte

// fill writes zeros behind the bytes that are about to be synced, unless there is
// room for as many again. They are as long as what the segment holds, so that a
// small log stays small. Where they can't be written, appends do without them.
func (l *Log) fill() {
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
		// What is left of the disk is for what somebody waits for. Should the
		// zeros stay, they do no harm.
		l.unfilled = true
		if l.file.Truncate(pos) == nil {
			l.filled = pos
		}
	}
}

// finish makes what was appended durable and the active segment's file as long
// as its batches.
func (l *Log) finish() error {
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
