package log

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
)

// Names of files that only Kafka's directories have.
const (
	txnIndexSuffix      = ".txnindex"
	txnEntryLen         = 2 + 4*8
	offsetsSuffix       = "-offset-checkpoint"
	kafkaPropertiesName = "meta.properties"
	quorumStateName     = "quorum-state"
	cleanShutdownName   = ".kafka_cleanshutdown"
)

// listProducers lists a snapshot of producers. One of Kafka's may have transactions,
// and producers that have only ended some.
func listProducers(path string, b []byte) (l Listing, err error) {
	l.Columns = []string{
		"producer", "epoch", "last-sequence", "first-offset", "last-offset", "timestamp", "coordinator-epoch", "transaction-from",
	}
	if len(b) < snapshotHeaderLen || binary.BigEndian.Uint16(b) != snapshotVersion {
		return l, misread(path, 0, fmt.Sprintf("a snapshot of producers of version %d", snapshotVersion), fmt.Sprintf("%d bytes: %.8x", len(b), b))
	}
	if sum := crc32.Checksum(b[6:], castagnoli); sum != binary.BigEndian.Uint32(b[2:]) {
		return l, misread(path, 2, fmt.Sprintf("checksum %08x", sum), fmt.Sprintf("%08x", b[2:6]))
	}
	n, entries := int64(binary.BigEndian.Uint32(b[6:])), b[snapshotHeaderLen:]
	if n*snapshotEntryLen != int64(len(entries)) {
		return l, misread(path, 6, fmt.Sprintf("%d producers, for that many bytes follow", len(entries)/snapshotEntryLen), fmt.Sprint(n))
	}
	for e := entries; len(e) > 0; e = e[snapshotEntryLen:] {
		last := int64(binary.BigEndian.Uint64(e[14:]))
		l.row(int64(binary.BigEndian.Uint64(e)), int16(binary.BigEndian.Uint16(e[8:])), int32(binary.BigEndian.Uint32(e[10:])),
			last-int64(int32(binary.BigEndian.Uint32(e[22:]))), last, int64(binary.BigEndian.Uint64(e[26:])),
			int32(binary.BigEndian.Uint32(e[34:])), int64(binary.BigEndian.Uint64(e[38:])))
	}
	return l, nil
}

// listAborted lists an index of aborted transactions.
func listAborted(path string, b []byte) (l Listing, err error) {
	l.Columns = []string{"position", "producer", "first-offset", "last-offset", "last-stable-offset"}
	var foreign error
	err = entries(path, b, txnEntryLen, func(pos int, e []byte) {
		if version := binary.BigEndian.Uint16(e); version != 0 && foreign == nil {
			foreign = misread(path, pos, "an entry of version 0", fmt.Sprintf("one of version %d", version))
		}
		l.row(int64(pos), int64(binary.BigEndian.Uint64(e[2:])), int64(binary.BigEndian.Uint64(e[10:])),
			int64(binary.BigEndian.Uint64(e[18:])), int64(binary.BigEndian.Uint64(e[26:])))
	})
	if foreign != nil {
		return l, foreign
	}
	return l, err
}

// listCheckpointed lists offsets of partitions: a version, a count, and a line for
// each.
func listCheckpointed(path string, b []byte) (l Listing, err error) {
	l.Columns = []string{"topic", "partition", "offset"}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	bad := func() error {
		return misread(path, 0, "a version, a count and lines of topic, partition and offset", fmt.Sprintf("%.200q", b))
	}
	var n int
	if len(lines) < 2 || lines[0] != "0" {
		return l, bad()
	}
	if _, err := fmt.Sscan(lines[1], &n); err != nil || n != len(lines)-2 {
		return l, bad()
	}
	for _, line := range lines[2:] {
		var name string
		var partition int32
		var offset int64
		if _, err := fmt.Sscan(line, &name, &partition, &offset); err != nil {
			return l, bad()
		}
		l.row(name, partition, offset)
	}
	return l, nil
}

// listProperties lists a file of names and values, one per line.
func listProperties(b []byte, between string) (l Listing) {
	l.Columns = []string{"field", "value"}
	for line := range bytes.Lines(b) {
		text := strings.TrimSpace(string(line))
		if name, value, ok := strings.Cut(text, between); ok && !strings.HasPrefix(text, "#") {
			l.row(strings.TrimSpace(name), strings.TrimSpace(value))
		}
	}
	return l
}

// listText lists a text file, such as JSON, as a whole.
func listText(b []byte) (l Listing) {
	l.Columns = []string{"text"}
	if text := strings.TrimSpace(string(b)); text != "" { // Runnel's clean-shutdown mark is empty
		l.row(text)
	}
	return l
}
