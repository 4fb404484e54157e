package datadir

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// writeBytes is how many bytes a logWriter gathers before it writes them.
const writeBytes = 256 << 10

// logWriter writes the segments of a log that no one has open, without its derived files:
// log.Adopt makes those. It belongs to one goroutine.
type logWriter struct {
	fsys vfs.FS
	dir  string

	begun bool  // there is a segment
	end   int64 // the offset after what is there

	file vfs.File // the segment that is being written; nil if none is open
	base int64
	pos  int64 // where in the file buf goes
	buf  []byte
}

// begin empties the log, whose first segment will begin with an offset.
func (w *logWriter) begin(base int64) error {
	if err := w.close(); err != nil {
		return err
	}
	if err := w.fsys.RemoveAll(w.dir); err != nil {
		return err
	}
	w.begun, w.end = false, base
	return w.fsys.MkdirAll(w.dir)
}

// append writes a batch, which continues at the log's end.
func (w *logWriter) append(b record.Batch) error {
	if w.file == nil || w.pos+int64(len(w.buf)+b.Size()) > log.DefaultSegmentBytes || b.LastOffset()-w.base > math.MaxInt32 {
		if err := w.nextFile(); err != nil {
			return err
		}
	}
	w.buf = append(w.buf, b.Bytes...)
	w.end = b.NextOffset()
	if len(w.buf) < writeBytes {
		return nil
	}
	return w.write()
}

func (w *logWriter) write() error {
	if len(w.buf) == 0 {
		return nil
	}
	n, err := w.file.WriteAt(w.buf, w.pos)
	w.pos += int64(n)
	w.buf = w.buf[:0]
	return err
}

// nextFile begins a segment at the log's end.
func (w *logWriter) nextFile() error {
	if err := w.close(); err != nil {
		return err
	}
	f, err := w.fsys.OpenFile(filepath.Join(w.dir, fmt.Sprintf("%020d.log", w.end)), os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	w.file, w.base, w.pos, w.begun = f, w.end, 0, true
	return nil
}

// close makes the segment that is being written durable, and closes it. Another append
// begins a new one.
func (w *logWriter) close() error {
	if w.file == nil {
		return nil
	}
	err := w.write()
	f := w.file
	w.file, w.buf = nil, nil
	return errors.Join(err, f.Sync(), f.Close())
}
