package archive

import (
	"encoding/binary"
	"io"

	"github.com/runnel-go/runnel/fault"
)

// Through a socket a backup goes as a sequence of files, and becomes an archive
// where it is wanted: a program that opens a broker need not have what makes
// archives.
//
//	+-------------+------+--------+-------+
//	| name length | size | name   | bytes |
//	| 2           | 8    |        |       |
//	+-------------+------+--------+-------+
const fileHeadLen = 2 + 8

// Send writes a file to the other side of a socket.
func Send(w io.Writer, name string, b []byte) error {
	head := binary.BigEndian.AppendUint16(nil, uint16(len(name)))
	head = binary.BigEndian.AppendUint64(head, uint64(len(b)))
	if _, err := w.Write(append(head, name...)); err != nil {
		return err
	}
	_, err := w.Write(b)
	return err
}

// Receiver puts the files that are written to it into an archive, whatever the
// pieces that they come in.
type Receiver struct {
	archive *Writer
	head    []byte // of the next file, as far as it has come
	left    int64  // bytes of the present file that are still to come
}

// NewReceiver returns a Receiver for an archive.
func NewReceiver(w *Writer) *Receiver { return &Receiver{archive: w} }

// End returns fault.CorruptMessage if the last file was not whole.
func (f *Receiver) End() error {
	if f.left > 0 || len(f.head) > 0 {
		return fault.Newf(fault.CorruptMessage, "a backup's file of which %d bytes are missing", f.left)
	}
	return nil
}

// Write implements io.Writer.
func (f *Receiver) Write(b []byte) (n int, err error) {
	for n < len(b) {
		if f.left > 0 {
			m := int(min(f.left, int64(len(b)-n)))
			if _, err := f.archive.tar.Write(b[n : n+m]); err != nil {
				return n, err
			}
			n += m
			f.left -= int64(m)
			continue
		}
		need := fileHeadLen
		if len(f.head) >= fileHeadLen {
			need += int(binary.BigEndian.Uint16(f.head))
		}
		m := min(need-len(f.head), len(b)-n)
		f.head = append(f.head, b[n:n+m]...)
		n += m
		if len(f.head) < fileHeadLen || len(f.head) < fileHeadLen+int(binary.BigEndian.Uint16(f.head)) {
			continue
		}
		size := int64(binary.BigEndian.Uint64(f.head[2:]))
		if size < 0 {
			return n, fault.Newf(fault.CorruptMessage, "a backup's file of %d bytes", size)
		}
		if err := f.archive.begin(string(f.head[fileHeadLen:]), size); err != nil {
			return n, err
		}
		f.head, f.left = f.head[:0], size
	}
	return n, nil
}
