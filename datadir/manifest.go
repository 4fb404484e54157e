package datadir

import (
	"archive/tar"
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"strings"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/archive"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// maxManifest is the largest manifest, in bytes: enough for more than a hundred thousand
// logs.
const maxManifest = 64 << 20

// compare reads the manifest, which is the archive's last file, and compares what was
// unpacked with it.
func (n *restoring) compare(files *tar.Reader, size int64) error {
	if err := n.closeFile(); err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(files, min(size, maxManifest)))
	if err != nil {
		return endsEarly(err)
	}
	if err := n.readManifest(text); err != nil {
		return err
	}
	if _, err := files.Next(); err != io.EOF {
		if err != nil {
			return endsEarly(err)
		}
		return notWhole("there are more files behind its list of contents")
	}
	return nil
}

func (n *restoring) readManifest(text []byte) error {
	var version int
	first, _, _ := strings.Cut(string(text[:min(len(text), 100)]), "\n")
	if _, err := fmt.Sscanf(first, "runnel backup %d", &version); err != nil {
		return notWhole("its list of contents begins with %.100q", text)
	}
	if version != archive.Version {
		return fault.Newf(fault.UnsupportedFormat, "a backup of version %d; this program reads version %d", version, archive.Version)
	}
	at := bytes.LastIndexByte(bytes.TrimSuffix(text, []byte("\n")), '\n') + 1
	if want := fmt.Sprintf("complete %08x\n", crc32.Checksum(text[:at], archive.Castagnoli)); string(text[at:]) != want {
		return notWhole("its list of contents is damaged")
	}
	for line := range strings.Lines(string(text[len(first)+1 : at])) {
		if err := n.readListed(strings.TrimSuffix(line, "\n")); err != nil {
			return err
		}
	}
	return nil
}

// readListed compares a log with its line in the manifest.
func (n *restoring) readListed(line string) error {
	var name string
	var start, end, size int64
	var sum uint32
	got, err := fmt.Sscanf(line, "%s %d %d %d %08x", &name, &start, &end, &size, &sum)
	tp, suffix, ok := layout.Parse(name)
	if err != nil || got != 5 || !ok || suffix != "" || start < 0 || end < start {
		return notWhole("its list of contents has the line %.400q", line)
	}
	l := n.logs[tp]
	if l == nil || l.bytes != size || l.sum != sum || l.end != end {
		return notWhole("%s is not what its list of contents says", tp)
	}
	l.listed, l.start = true, start
	return nil
}

// adoptCatalogue makes the catalogue's log ready to be opened, and folds it.
func (n *restoring) adoptCatalogue() (*catalogue.Catalogue, error) {
	l := n.logs[layout.Catalogue]
	if l == nil || !l.listed {
		return nil, notWhole("it has no catalogue")
	}
	if err := n.adopt(l); err != nil {
		return nil, err
	}
	c := catalogue.New()
	codec := record.NewCodec(0)
	found, err := log.Inspect(n.ctx, n.logConfig(l, codec), log.InspectOptions{Batch: func(b record.Batch) error {
		it, err := b.Records(codec)
		if err != nil {
			return err
		}
		for r := (record.Record{}); it.Next(&r); {
			if err := c.Apply(r.Value); err != nil {
				return err
			}
		}
		return it.Err()
	}})
	if err == nil && found.Worst() == log.Damage {
		err = notWhole("%v", found.Findings[0])
	}
	return c, err
}

// adoptTopics makes the logs of all topics ready to be opened, and removes those of topics
// that were deleted during the backup.
func (n *restoring) adoptTopics(c *catalogue.Catalogue) error {
	for _, name := range c.Names() {
		t := c.Topic(name)
		for number := range t.Partitions {
			tp := record.TopicPartition{Topic: name, Partition: int32(number)}
			l := n.logs[tp]
			if l == nil || !l.listed {
				return notWhole("it has topic %s without partition %d", name, number)
			}
			delete(n.logs, tp)
			if err := n.adoptTopic(l, t.ID); err != nil {
				return err
			}
		}
	}
	for tp, l := range n.logs {
		if tp == layout.Catalogue {
			continue
		}
		if l.listed {
			return notWhole("it has %s, which is not in its catalogue", tp)
		}
		if err := n.fsys.RemoveAll(l.dir); err != nil {
			return err
		}
	}
	return nil
}

func (n *restoring) adoptTopic(l *restoredLog, id topic.ID) error {
	if err := vfs.WriteFile(n.fsys, filepath.Join(l.dir, layout.MetadataFile), layout.MetadataText(id, l.Partition)); err != nil {
		return err
	}
	return n.adopt(l)
}

// adopt makes a log ready to be opened.
func (n *restoring) adopt(l *restoredLog) error {
	if err := n.ctx.Err(); err != nil {
		return err
	}
	end, err := log.Adopt(n.logConfig(l, nil), l.start)
	if err == nil && end != l.end {
		err = notWhole("%s ends at offset %d instead of %d", l, end, l.end)
	}
	return err
}

func (n *restoring) logConfig(l *restoredLog, codec *record.Codec) log.Config {
	return log.Config{FS: n.fsys, Dir: l.dir, Topic: l.Topic, Partition: l.Partition, Codec: codec}
}
