package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

func newDump(s *shell) *cobra.Command {
	var how dumping
	cmd := &cobra.Command{
		Use: "dump FILE...", Short: "Show what is in the files of a partition",
		Long: `Show the record batches of segment files, with their checksums verified; for a
partition's directory, those of all its segments. Of the files beside them, the
indexes, leader epochs, checkpoints, producers (.snapshot) and partition.metadata,
it shows what they say. Kafka's own files may be given, too (.txnindex,
meta.properties, quorum-state and *-offset-checkpoint among them), and files of
a directory that is in use.

It stops at damage. With --skip it continues with the next batch.`,
		Example: `  runnel dump data/quickstart-events-0
  runnel dump data/quickstart-events-0/00000000000000000000.log --records
  runnel dump data/quickstart-events-0/runnel-checkpoint
  runnel dump data/__consumer_offsets-0 --json`,
		Args: atLeast(1, "files or directories"),
		RunE: func(_ *cobra.Command, paths []string) error {
			files, err := segmentFiles(paths)
			if err != nil {
				return err
			}
			how.codec = record.NewCodec(0)
			var errs []error
			for _, file := range files {
				if log.Listed(file) {
					errs = append(errs, s.list(file))
				} else {
					errs = append(errs, s.dump(file, how))
				}
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVarP(&how.records, "records", "r", false, "show the records, too")
	cmd.Flags().BoolVar(&how.skip, "skip", false, "skip damage and continue with the next batch")
	return cmd
}

// dumping says how batches are shown.
type dumping struct {
	records bool // with their records
	skip    bool // continue after damage
	codec   *record.Codec
}

// segmentFiles returns the files, and the segments of the directories, that
// paths name.
func segmentFiles(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usageError{hinted{fmt.Errorf("there is no file or directory %s", path), "name a partition's directory, such as data/quickstart-events-0, or files in it"}}
		}
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		segments, err := filepath.Glob(filepath.Join(path, "*.log"))
		if err != nil {
			return nil, err
		}
		if len(segments) == 0 {
			return nil, hinted{fmt.Errorf("there are no segment files in %s", path), "a partition that never had a record has none; name a partition's directory, such as data/quickstart-events-0"}
		}
		slices.Sort(segments)
		files = append(files, segments...)
	}
	return files, nil
}

// batchLine is a batch in JSON.
type batchLine struct {
	File          string     `json:"file"`
	Position      int64      `json:"position"`
	Bytes         int        `json:"bytes"`
	BaseOffset    int64      `json:"baseOffset"`
	LastOffset    int64      `json:"lastOffset"`
	Count         int32      `json:"count"`
	LeaderEpoch   int32      `json:"leaderEpoch"`
	Compression   string     `json:"compression"`
	TimestampType string     `json:"timestampType"`
	MaxTimestamp  string     `json:"maxTimestamp"`
	ProducerID    int64      `json:"producerId"`
	ProducerEpoch int16      `json:"producerEpoch"`
	BaseSequence  int32      `json:"baseSequence"`
	Transactional bool       `json:"transactional"`
	Control       bool       `json:"control"`
	CRC           string     `json:"crc"`
	Records       []bodyLine `json:"records,omitempty"`
}

// dump shows one file, up to its end or to the first bytes that are not a
// batch.
func (s *shell) dump(path string, how dumping) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if s.tables() {
		fmt.Fprintln(s.out, path)
	}
	t := newTable("#POSITION", "#OFFSETS", "#RECORDS", "#BYTES", "#EPOCH", "CODEC", "MAX-TIMESTAMP", "CRC", "FLAGS")
	var errs []error
	pos, next := int64(0), int64(0)
	for {
		batch, err := readBatch(file, path, pos)
		if err != nil {
			errs = append(errs, s.flush(t), err)
			var found bool
			if pos, found, err = s.behind(file, path, pos, next, how.skip); !found {
				return errors.Join(append(errs, err)...)
			}
			continue
		}
		if batch == nil {
			return errors.Join(append(errs, s.flush(t))...)
		}
		if err := s.dumpBatch(t, path, pos, batch, how); err != nil {
			errs = append(errs, s.flush(t), fmt.Errorf("%s at byte %d: %w", path, pos, err))
			if !how.skip {
				return errors.Join(errs...)
			}
		}
		pos, next = pos+int64(batch.Size()), batch.NextOffset()
	}
}

// flush prints the rows of a table.
func (s *shell) flush(t *table) error {
	if !s.tables() || len(t.rows) == 0 {
		return nil
	}
	return t.print(s.out)
}

// behind looks for the next batch after damage, if wanted, and prints where it
// is.
func (s *shell) behind(file *os.File, path string, pos, next int64, wanted bool) (at int64, found bool, err error) {
	if !wanted {
		return 0, false, nil
	}
	info, err := file.Stat()
	if err != nil {
		return 0, false, err
	}
	at, found, err = log.FindBatch(file, pos+1, info.Size(), next)
	if err != nil || !found {
		return 0, false, err
	}
	if !s.tables() {
		return at, true, s.line(map[string]any{"file": path, "position": pos, "damagedBytes": at - pos})
	}
	_, err = fmt.Fprintf(s.out, "  … %d bytes of damage at byte %d …\n", at-pos, pos)
	return at, true, err
}

// dumpBatch shows a batch.
func (s *shell) dumpBatch(t *table, path string, pos int64, batch *record.Batch, how dumping) error {
	all, err := batchRecords(batch, how.codec, how.records || !s.tables())
	if err != nil {
		return err
	}
	if !s.tables() {
		return s.line(batchJSON(path, pos, batch, all, how.records))
	}
	t.row(pos, fmt.Sprintf("%d..%d", batch.BaseOffset, batch.LastOffset()), batch.Count, batch.Size(), batch.LeaderEpoch,
		batch.Compression(), stamp(time.UnixMilli(batch.MaxTimestamp)), fmt.Sprintf("%08x", batch.CRC), flags(batch))
	if how.records {
		return errors.Join(s.flush(t), s.showRecords(all))
	}
	return nil
}

// readBatch reads the batch at pos. It returns nil at the end of the file, and
// if only zeros follow: the preallocated space of an open log.
func readBatch(file *os.File, path string, pos int64) (*record.Batch, error) {
	at := func(err error) error { return fmt.Errorf("%s at byte %d: %w", path, pos, err) }
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	left := info.Size() - pos
	if left == 0 {
		return nil, nil
	}
	head := make([]byte, min(record.HeaderLen, left))
	if _, err := file.ReadAt(head, pos); err != nil {
		return nil, err
	}
	if len(bytes.Trim(head, "\x00")) == 0 {
		return nil, onlyZeros(file, path, pos, left)
	}
	h, err := record.ParseHeader(head)
	if err != nil {
		return nil, at(err)
	}
	if int64(h.Size()) > left {
		return nil, at(fault.Newf(fault.CorruptMessage, "a batch of %d bytes is cut off after %d", h.Size(), left))
	}
	raw := make([]byte, h.Size())
	if _, err := file.ReadAt(raw, pos); err != nil {
		return nil, err
	}
	batch, err := record.Parse(raw)
	if err != nil {
		return nil, at(err)
	}
	return &batch, nil
}

// onlyZeros returns an error unless the rest of the file is zeros.
func onlyZeros(file *os.File, path string, pos, left int64) error {
	r := io.NewSectionReader(file, pos, left)
	buf := make([]byte, 1<<16)
	for read := pos; ; {
		n, err := r.Read(buf)
		if i := bytes.IndexFunc(buf[:n], func(c rune) bool { return c != 0 }); i >= 0 {
			return fmt.Errorf("%s at byte %d: zeros, and data behind them at byte %d", path, pos, read+int64(i))
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		read += int64(n)
	}
}

// batchRecords decodes a batch's records, if wanted. Control records are shown
// as their bytes.
func batchRecords(b *record.Batch, codec *record.Codec, wanted bool) ([]record.Record, error) {
	if !wanted {
		return nil, nil
	}
	it, err := b.Records(codec)
	if err != nil {
		return nil, err
	}
	var all []record.Record
	for r := (record.Record{}); it.Next(&r); {
		all = append(all, r)
	}
	return all, it.Err()
}

func flags(b *record.Batch) string {
	var all []string
	for _, f := range []struct {
		set  bool
		name string
	}{{b.LogAppendTime(), "append-time"}, {b.Transactional(), "transactional"}, {b.Control(), "control"}, {b.ProducerID >= 0, fmt.Sprintf("producer=%d/%d", b.ProducerID, b.ProducerEpoch)}} {
		if f.set {
			all = append(all, f.name)
		}
	}
	return strings.Join(all, " ")
}

func (s *shell) showRecords(records []record.Record) error {
	for _, r := range records {
		if _, err := fmt.Fprintf(s.out, "  %d  ", r.Offset); err != nil {
			return err
		}
		if err := s.show(r, false, decoders["text"]); err != nil {
			return err
		}
	}
	return nil
}

func batchJSON(path string, pos int64, b *record.Batch, all []record.Record, records bool) batchLine {
	line := batchLine{
		File: path, Position: pos, Bytes: b.Size(), BaseOffset: b.BaseOffset, LastOffset: b.LastOffset(), Count: b.Count,
		LeaderEpoch: b.LeaderEpoch, Compression: b.Compression().String(), TimestampType: "CreateTime",
		MaxTimestamp: stamp(time.UnixMilli(b.MaxTimestamp)), ProducerID: b.ProducerID, ProducerEpoch: b.ProducerEpoch,
		BaseSequence: b.BaseSequence, Transactional: b.Transactional(), Control: b.Control(), CRC: fmt.Sprintf("%08x", b.CRC),
	}
	if b.LogAppendTime() {
		line.TimestampType = "LogAppendTime"
	}
	if records {
		for _, r := range all {
			line.Records = append(line.Records, bodyJSON(r))
		}
	}
	return line
}
