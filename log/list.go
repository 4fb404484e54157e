package log

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/runnel-go/runnel/fault"
)

// Listing is the content of one of the files beside a log's segments, as a table.
type Listing struct {
	Columns []string // their names, in lower case with dashes
	Rows    [][]any  // numbers and strings
}

func (l *Listing) row(values ...any) { l.Rows = append(l.Rows, values) }

// Listed reports whether List can decode files of this name.
func Listed(path string) bool {
	name := filepath.Base(path)
	switch filepath.Ext(name) {
	case indexSuffix, timeIndexSuffix, txnIndexSuffix, snapshotSuffix:
		return true
	}
	switch name {
	case epochName, checkpointName, "partition.metadata", kafkaPropertiesName, quorumStateName, cleanShutdownName:
		return true
	}
	return strings.HasSuffix(name, offsetsSuffix)
}

// List decodes a file of a data directory, Runnel's or Kafka's, by its name: an
// index, a time index, an index of aborted transactions, leader epochs, a
// checkpoint, producers, the topic's ID, the node's properties, offsets of
// partitions, the state of a quorum. Any other name is fault.InvalidRequest. A flaw
// is an error with its position, and the rest is listed all the same.
func List(path string, b []byte) (Listing, error) {
	name := filepath.Base(path)
	ext := filepath.Ext(name)
	base, numbered := parseName(name, ext)
	switch {
	case numbered && ext == indexSuffix:
		return listOffsets(path, base, b)
	case numbered && ext == timeIndexSuffix:
		return listTimes(path, base, b)
	case numbered && ext == snapshotSuffix:
		return listProducers(path, b)
	case numbered && ext == txnIndexSuffix:
		return listAborted(path, b)
	case name == epochName:
		return listEpochs(path, b)
	case name == checkpointName:
		return listCheckpoint(path, b)
	case name == "partition.metadata":
		return listProperties(b, ":"), nil
	case name == kafkaPropertiesName:
		return listProperties(b, "="), nil
	case name == quorumStateName, name == cleanShutdownName:
		return listText(b), nil
	case strings.HasSuffix(name, offsetsSuffix):
		return listCheckpointed(path, b)
	}
	return Listing{}, fault.Newf(fault.InvalidRequest, "%s is no file of a log", path)
}

// misread is the error for a flaw in a file that belongs to no partition.
func misread(path string, pos int, expected, found string) error {
	return &fault.Corruption{Offset: -1, Partition: -1, File: path, Pos: int64(pos), Expected: expected, Found: found}
}

// entries calls fn with the position and bytes of each entry of an index. Bytes that
// remain are an error; zeros at the end are not, because Kafka preallocates them.
func entries(path string, b []byte, size int, fn func(pos int, e []byte)) error {
	pos, end := 0, len(bytes.TrimRight(b, "\x00"))
	if len(b)%size == 0 {
		b = b[:(end+size-1)/size*size]
	}
	for ; pos+size <= len(b); pos += size {
		fn(pos, b[pos:pos+size])
	}
	if pos < len(b) {
		return misread(path, pos, fmt.Sprintf("an entry of %d bytes", size), fmt.Sprintf("%d", len(b)-pos))
	}
	return nil
}

func listOffsets(path string, base int64, b []byte) (l Listing, err error) {
	l.Columns = []string{"position", "last-offset", "batch-at"}
	last := offsetEntry(0)
	var disorder error
	err = entries(path, b, offsetEntryLen, func(pos int, raw []byte) {
		e := offsetEntry(binary.BigEndian.Uint64(raw))
		l.row(int64(pos), base+e.rel(), e.pos())
		if pos > 0 && disorder == nil && (e.rel() <= last.rel() || e.pos() <= last.pos()) {
			disorder = misread(path, pos, "an entry behind the one before", fmt.Sprintf("offset %d at byte %d", base+e.rel(), e.pos()))
		}
		last = e
	})
	return l, cmp.Or(disorder, err)
}

func listTimes(path string, base int64, b []byte) (l Listing, err error) {
	l.Columns = []string{"position", "timestamp", "last-offset"}
	var last timeEntry
	var disorder error
	err = entries(path, b, timeEntryLen, func(pos int, raw []byte) {
		e := decodeTimeEntry(raw)
		l.row(int64(pos), e.timestamp, base+e.rel)
		if pos > 0 && disorder == nil && (e.timestamp <= last.timestamp || e.rel <= last.rel) {
			disorder = misread(path, pos, "an entry behind the one before", fmt.Sprintf("time %d at offset %d", e.timestamp, base+e.rel))
		}
		last = e
	})
	return l, cmp.Or(disorder, err)
}

func listEpochs(path string, b []byte) (l Listing, err error) {
	l.Columns = []string{"epoch", "start-offset"}
	entries, ok := decodeEpochs(b)
	if !ok {
		return l, misread(path, 0, "a version, a count and lines of epoch and offset", fmt.Sprintf("%.200q", b))
	}
	for _, e := range entries {
		l.row(e.Epoch, e.Start)
	}
	return l, nil
}

// listCheckpoint lists both slots of a checkpoint beside each other.
func listCheckpoint(path string, b []byte) (l Listing, err error) {
	l.Columns = []string{"field", "slot-0", "slot-1"}
	var slots [2][]any
	var errs [2]error
	for i := range slots {
		at := i * slotStride
		raw := b[min(at, len(b)):min(at+longSlotLen, len(b))]
		if len(bytes.Trim(raw, "\x00")) == 0 {
			continue // never written
		}
		c, ok, err := decodeCheckpoint(raw)
		switch {
		case err != nil:
			errs[i] = err
		case !ok:
			errs[i] = misread(path, at, "a checkpoint with its checksum", "other bytes")
		default:
			slots[i] = []any{
				c.sequence, c.clean, c.start, c.segment, c.pos, c.offset, c.firstTimestamp, c.maxTimestamp, c.maxOffset,
				c.sinceEntry, c.filed.offsets, c.filed.times, c.producers, c.sealed, fmt.Sprintf("%016x", c.digest),
			}
		}
	}
	for n, name := range []string{
		"number", "closed", "log start", "segment", "durable bytes", "durable offset", "first timestamp", "largest timestamp", "at offset",
		"bytes since entry", "index entries", "time index entries", "producers", "sealed segments", "their digest",
	} {
		row := []any{name, "-", "-"}
		for i, s := range slots {
			if s != nil {
				row[1+i] = fmt.Sprint(s[n])
			} else if errs[i] != nil {
				row[1+i] = "damaged"
			}
		}
		l.row(row...)
	}
	return l, cmp.Or(errs[0], errs[1])
}

// FindBatch returns where the first sound batch begins whose first offset is from or
// later, at any byte from pos to end; ok is false if there is none. It serves to
// continue behind damage.
func FindBatch(r io.ReaderAt, pos, end, from int64) (at int64, ok bool, err error) {
	at, h, err := findBatch(r, pos, end, from)
	return at, h != nil, err
}
