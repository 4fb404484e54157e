package datadir

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/archive"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// Restore creates a data directory from what runnel.Broker.Backup wrote. The directory
// must be empty; Restore creates it if it is missing. After a Restore without an error,
// Open finds the directory as if the broker had been closed at the moment of the backup.
//
// Restore compares every batch, and the backup as a whole, with their checksums. It
// returns fault.CorruptMessage if the backup is not whole or not a backup,
// fault.UnsupportedFormat if a newer version wrote it, and fault.InvalidRequest if the
// directory is not empty. After an error, or when ctx ends, it removes what it wrote. If
// the process ends during a Restore, Open refuses the directory.
func Restore(ctx context.Context, dir string, r io.Reader) error {
	// Don't create even a lock in a directory that isn't empty. A lock may be there: a
	// Restore that failed has left it.
	if entries, err := os.ReadDir(dir); err == nil && slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() != layout.LockFile }) {
		return notEmpty(dir, "restoring")
	}
	dir, err := filepath.Abs(dir) // because the names above it are synced, too
	if err != nil {
		return fault.Newf(fault.InvalidConfig, "data directory %s", dir).Because(err)
	}
	lock, err := layout.LockDir(dir, layout.FileMode)
	if err != nil {
		return err
	}
	defer lock.Release()
	return restore(ctx, lock.Disk(), dir, r)
}

func notEmpty(dir, what string) error {
	return fault.Newf(fault.InvalidRequest, "%s to %s, which is not empty", what, dir).Try("name a directory that is empty or does not exist yet")
}

// restoring is the work of Restore.
type restoring struct {
	ctx  context.Context
	fsys vfs.FS
	dir  string
	logs map[record.TopicPartition]*restoredLog
	open *restoredLog // the one whose file is open
	buf  bytes.Buffer
}

// restoredLog is a log that is being restored.
type restoredLog struct {
	record.TopicPartition
	logWriter
	bytes int64
	sum   uint32

	listed bool  // the manifest has it
	start  int64 // the log's start, from the manifest
}

func restore(ctx context.Context, fsys vfs.FS, dir string, r io.Reader) (err error) {
	if err := fsys.MkdirAll(dir); err != nil {
		return fault.Newf(fault.OfDisk(err), "data directory %s", dir).Because(err)
	}
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return fault.Newf(fault.OfDisk(err), "data directory %s", dir).Because(err)
	}
	for _, e := range entries {
		if e.Name != layout.LockFile {
			return notEmpty(dir, "restoring")
		}
	}
	n := restoring{ctx: ctx, fsys: fsys, dir: dir, logs: map[record.TopicPartition]*restoredLog{}}
	if err := n.run(r); err != nil {
		if fault.CodeOf(err) == fault.Unknown && ctx.Err() == nil {
			err = fault.Newf(fault.OfDisk(err), "restoring to %s", dir).Because(err)
		}
		return errors.Join(err, n.undo())
	}
	return nil
}

func (n *restoring) run(r io.Reader) error {
	marker := filepath.Join(n.dir, layout.RestoringFile)
	if err := vfs.WriteFile(n.fsys, marker, nil); err != nil {
		return err
	}
	if err := n.unpack(r); err != nil {
		return err
	}
	c, err := n.adoptCatalogue()
	if err != nil {
		return err
	}
	if err := n.adoptTopics(c); err != nil {
		return err
	}
	f, err := n.fsys.OpenFile(filepath.Join(n.dir, layout.CleanFile), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close(), layout.SyncNames(n.fsys, n.dir)); err != nil {
		return err
	}
	if err := n.fsys.Remove(marker); err != nil {
		return err
	}
	return n.fsys.SyncDir(n.dir)
}

// undo removes what was restored, the marker last.
func (n *restoring) undo() error {
	_ = n.closeFile() // the file is removed anyway
	entries, err := n.fsys.ReadDir(n.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name != layout.LockFile && e.Name != layout.RestoringFile { // the lock is held
			if err := n.fsys.RemoveAll(filepath.Join(n.dir, e.Name)); err != nil {
				return err
			}
		}
	}
	if err := n.fsys.SyncDir(n.dir); err != nil {
		return err
	}
	return n.fsys.RemoveAll(filepath.Join(n.dir, layout.RestoringFile))
}

// notWhole returns the error for bytes that are not a backup, or not all of one.
func notWhole(format string, args ...any) error {
	return fault.Newf(fault.CorruptMessage, "the backup: "+format, args...).Try("nothing was restored; take another backup")
}

// unpack writes the segments of all logs, and compares them with the manifest at
// the backup's end.
func (n *restoring) unpack(r io.Reader) error {
	files := tar.NewReader(r)
	for first := true; ; first = false {
		if err := n.ctx.Err(); err != nil {
			return err
		}
		h, err := files.Next()
		switch {
		case first && errors.Is(err, tar.ErrHeader):
			return notWhole("it is not one of Runnel's: no tar archive")
		case first && errors.Is(err, io.ErrUnexpectedEOF):
			return notWhole("it is not one of Runnel's, or ends within its first file")
		case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
			return notWhole("it ends before its list of contents")
		case errors.Is(err, tar.ErrHeader):
			return notWhole("it is not a tar archive, or damaged")
		case err != nil:
			return err
		case h.Typeflag != tar.TypeReg:
			return notWhole("%.200q is not a file", h.Name)
		case h.Name == archive.ManifestName:
			return n.compare(files, h.Size)
		}
		if err := n.entry(h.Name, files); err != nil {
			return err
		}
	}
}

// entry restores one file of the archive. Its name must be one that Backup gives, because
// an archive may contain any path; other fields of its header are not used.
func (n *restoring) entry(name string, r io.Reader) error {
	dir, file, _ := strings.Cut(name, "/")
	tp, suffix, ok := layout.Parse(dir)
	digits, segment := strings.CutSuffix(file, ".log")
	base, err := strconv.ParseInt(digits, 10, 64)
	switch {
	case !ok || suffix != "":
	case file == layout.MetadataFile:
		return n.begin(n.logOf(tp), 0)
	case segment && err == nil && base >= 0 && file == fmt.Sprintf("%020d.log", base):
		return n.segment(n.logOf(tp), base, r)
	}
	return notWhole("%.300q is not a file of a backup", name)
}

// logOf returns a partition's log, and adds it if it is new.
func (n *restoring) logOf(tp record.TopicPartition) *restoredLog {
	l := n.logs[tp]
	if l == nil {
		l = &restoredLog{TopicPartition: tp, logWriter: logWriter{fsys: n.fsys, dir: filepath.Join(n.dir, tp.String())}}
		n.logs[tp] = l
	}
	return l
}

// begin empties a log. Part of it may have been restored before: Backup copies a log again
// if records were deleted or compacted meanwhile.
func (n *restoring) begin(l *restoredLog, base int64) error {
	if err := n.closeFile(); err != nil {
		return err
	}
	l.bytes, l.sum = 0, 0
	return l.logWriter.begin(base)
}

// segment restores a piece of a log that begins with an offset. A piece that doesn't
// continue at the log's end starts the log over.
func (n *restoring) segment(l *restoredLog, base int64, r io.Reader) error {
	if !l.begun || base != l.end {
		if err := n.begin(l, base); err != nil {
			return err
		}
	}
	if n.open != l {
		if err := n.closeFile(); err != nil {
			return err
		}
	}
	n.open = l
	for first := true; ; first = false {
		batch, err := n.batch(r)
		if err == io.EOF && first && !l.begun {
			return l.nextFile() // a log without records, whose next offset is base
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if batch.BaseOffset != l.end {
			return notWhole("%s has a batch of offset %d where %d should follow", l, batch.BaseOffset, l.end)
		}
		if err := n.append(l, batch); err != nil {
			return err
		}
	}
}

// batch reads a batch. It allocates memory as bytes arrive, so a wrong length costs
// nothing.
func (n *restoring) batch(r io.Reader) (record.Batch, error) {
	if err := n.ctx.Err(); err != nil {
		return record.Batch{}, err
	}
	n.buf.Reset()
	if got, err := io.CopyN(&n.buf, r, record.HeaderLen); err != nil {
		if err == io.EOF && got == 0 {
			return record.Batch{}, io.EOF
		}
		return record.Batch{}, endsEarly(err)
	}
	h, err := record.ParseHeader(n.buf.Bytes())
	if err != nil {
		return record.Batch{}, notWhole("%v", err)
	}
	if _, err := io.CopyN(&n.buf, r, int64(h.Size()-record.HeaderLen)); err != nil {
		return record.Batch{}, endsEarly(err)
	}
	batch, err := record.Parse(n.buf.Bytes())
	if err != nil {
		return batch, notWhole("%v", err)
	}
	return batch, nil
}

// endsEarly returns the error for an archive that ends within a batch. Other errors stay.
func endsEarly(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return notWhole("it ends within a batch")
	}
	return err
}

// append writes a batch to a log's end.
func (n *restoring) append(l *restoredLog, b record.Batch) error {
	l.bytes += int64(b.Size())
	l.sum = crc32.Update(l.sum, archive.Castagnoli, b.Bytes)
	return l.logWriter.append(b)
}

// closeFile syncs and closes the segment that is being written.
func (n *restoring) closeFile() error {
	l := n.open
	n.open = nil
	if l == nil {
		return nil
	}
	return l.close()
}
