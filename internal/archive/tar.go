package archive

import (
	"archive/tar"
	"io"
	"time"
)

// Writer makes a tar archive of files.
type Writer struct {
	tar  *tar.Writer
	time time.Time // of all files
}

// NewWriter returns a Writer to w. It must be closed.
func NewWriter(w io.Writer) *Writer {
	return &Writer{tar: tar.NewWriter(w), time: time.Now().Truncate(time.Second)}
}

// begin begins a file of so many bytes, which are to be written to tar.
func (a *Writer) begin(name string, size int64) error {
	return a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: a.time})
}

// File adds a file.
func (a *Writer) File(name string, b []byte) error {
	if err := a.begin(name, int64(len(b))); err != nil {
		return err
	}
	_, err := a.tar.Write(b)
	return err
}

// Close ends the archive.
func (a *Writer) Close() error { return a.tar.Close() }
