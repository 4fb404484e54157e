package runnel

import (
	"archive/tar"
	"context"
	"encoding/binary"
	"io"
	"time"

	"github.com/runnel-go/runnel/fault"
)

// Backup writes a copy of everything to w, as Broker.Backup does in the process
// that has the directory open.
func (r *Remote) Backup(ctx context.Context, w io.Writer) error {
	a := newArchive(w)
	files := &fileReader{archive: a}
	if err := r.Stream(ctx, streamBackup, files); err != nil {
		return err
	}
	if files.left > 0 || len(files.head) > 0 {
		return fault.Newf(fault.CorruptMessage, "a backup's file of which %d bytes are missing", files.left)
	}
	return a.close()
}

// archive makes a tar archive of files.
type archive struct {
	tar  *tar.Writer
	time time.Time // of all files
}

func newArchive(w io.Writer) *archive {
	return &archive{tar: tar.NewWriter(w), time: time.Now().Truncate(time.Second)}
}

// begin begins a file of so many bytes, which are to be written to tar.
func (a *archive) begin(name string, size int64) error {
	return a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: a.time})
}

func (a *archive) file(name string, b []byte) error {
	if err := a.begin(name, int64(len(b))); err != nil {
		return err
	}
	_, err := a.tar.Write(b)
	return err
}

func (a *archive) close() error { return a.tar.Close() }

// Through a socket a backup goes as a sequence of files, and becomes an archive
// where it is wanted: a program that opens a broker need not have what makes
// archives.
//
//	+-------------+------+--------+-------+
//	| name length | size | name   | bytes |
//	| 2           | 8    |        |       |
//	+-------------+------+--------+-------+
const fileHeadLen = 2 + 8

// writeFile writes a file to the other side of a socket.
func writeFile(w io.Writer, name string, b []byte) error {
	head := binary.BigEndian.AppendUint16(nil, uint16(len(name)))
	head = binary.BigEndian.AppendUint64(head, uint64(len(b)))
	if _, err := w.Write(append(head, name...)); err != nil {
		return err
	}
	_, err := w.Write(b)
	return err
}

// fileReader puts the files that are written to it into an archive, whatever the
// pieces that they come in.
type fileReader struct {
	archive *archive
	head    []byte // of the next file, as far as it has come
	left    int64  // bytes of the present file that are still to come
}

// Write implements io.Writer.
func (f *fileReader) Write(b []byte) (n int, err error) {
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
