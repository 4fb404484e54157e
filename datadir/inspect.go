package datadir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/metadata"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Inspection is what Inspect found in a data directory.
type Inspection struct {
	Holder     string                // who has the directory open, as "process 17"; empty for none
	Clean      bool                  // the last broker has closed it
	Partitions []PartitionInspection // the catalogue's first, then those of all topics, sorted
	Findings   []log.Finding         // about the directory itself, and files that belong to no partition
}

// PartitionInspection is what Inspect found in one partition.
type PartitionInspection struct {
	record.TopicPartition
	log.Inspection
}

// Worst returns the highest grade of all findings.
func (i Inspection) Worst() log.Grade {
	worst := log.Note
	for _, f := range i.Findings {
		worst = max(worst, f.Grade)
	}
	for _, p := range i.Partitions {
		worst = max(worst, p.Worst())
	}
	return worst
}

// Inspect reads a whole data directory and changes nothing: every batch and record of
// every partition with its checksum, every entry of every index, the checkpoints, the
// catalogue, the groups, and the names of all files. If the Inspection has no finding of
// grade log.Damage, the directory can be opened and every record can be read.
//
// Inspect holds no lock, except for the moment in which it checks whether another process
// has the directory open. If one has, it reads only what the partitions' checkpoints call
// durable; Broker.Verify is for the rest. If it finds something there, it reads the
// directory a second time and reports what it found both times, because the program
// changes files meanwhile. If a program opens the directory during the inspection, and
// something was found, it returns fault.Locked. Other errors say that a file could not be
// read, that a newer version wrote it (fault.UnsupportedFormat), or that ctx has ended.
//
// progress may be nil. The goroutine that called Inspect calls it from time to time, with
// the number of bytes read and of all bytes.
func Inspect(ctx context.Context, dir string, progress func(done, total int64)) (Inspection, error) {
	if info, err := os.Stat(dir); err != nil {
		return Inspection{}, err
	} else if !info.IsDir() {
		return Inspection{}, &fs.PathError{Op: "inspect", Path: dir, Err: errors.New("not a directory")}
	}
	disk, err := vfs.OpenDisk(dir, layout.FileMode)
	if err != nil {
		return Inspection{}, err
	}
	defer disk.Close()
	if err := layout.OfKafka(dir); err != nil {
		return Inspection{}, err
	}
	before, err := layout.Holder(dir)
	if err != nil {
		return Inspection{}, err
	}
	found, err := inspect(ctx, disk, dir, before != "", progress)
	if err == nil && before != "" && found.Worst() > log.Note {
		// The program may have changed files meanwhile. It does not change the same ones
		// in the same way twice.
		first := found
		if found, err = inspect(ctx, disk, dir, true, nil); err == nil {
			found.confirm(&first)
		}
	}
	found.Holder = before
	if err != nil || before != "" {
		return found, err
	}
	after, err := layout.Holder(dir)
	if err == nil && after != "" && found.Worst() > log.Note {
		err = fault.Newf(fault.Locked, "%s has opened %s meanwhile, so the findings are not certain", after, dir).Try("inspect it again")
	}
	return found, err
}

// confirm keeps only the findings that are also in before.
func (i *Inspection) confirm(before *Inspection) {
	type finding struct {
		log.Grade
		fault.Corruption
	}
	known := map[finding]bool{}
	unknown := func(f log.Finding) bool { return !known[finding{f.Grade, *f.Corruption}] }
	for _, f := range before.Findings {
		known[finding{f.Grade, *f.Corruption}] = true
	}
	for _, p := range before.Partitions {
		for _, f := range p.Findings {
			known[finding{f.Grade, *f.Corruption}] = true
		}
	}
	i.Findings = slices.DeleteFunc(i.Findings, unknown)
	for n := range i.Partitions {
		p := &i.Partitions[n]
		p.Findings = slices.DeleteFunc(p.Findings, unknown)
	}
}

// inspecting is the work of Inspect.
type inspecting struct {
	Inspection
	ctx      context.Context
	fsys     vfs.FS
	dir      string
	live     bool
	progress func(done, total int64)

	codec       *record.Codec
	catalogue   *catalogue.Catalogue
	next        int64 // the offset at which the catalogue's newest whole snapshot ends; 0 without one
	done, total int64
}

func inspect(ctx context.Context, fsys vfs.FS, dir string, live bool, progress func(done, total int64)) (Inspection, error) {
	n := newInspecting(ctx, fsys, dir, live, progress)
	err := n.run()
	return n.Inspection, err
}

func newInspecting(ctx context.Context, fsys vfs.FS, dir string, live bool, progress func(done, total int64)) *inspecting {
	return &inspecting{ctx: ctx, fsys: fsys, dir: dir, live: live, progress: progress, codec: record.NewCodec(0), catalogue: catalogue.New()}
}

func (n *inspecting) run() error {
	entries, err := n.fsys.ReadDir(n.dir)
	if err != nil {
		return fault.Newf(fault.OfDisk(err), "data directory %s", n.dir).Because(err)
	}
	n.Clean = layout.Has(entries, layout.CleanFile)
	if err := n.measure(entries); err != nil {
		return err
	}
	if err := n.readCatalogue(entries); err != nil {
		return err
	}
	doomed := n.survey(entries)
	for _, name := range n.catalogue.Names() {
		t := n.catalogue.Topic(name)
		for number := range t.Partitions {
			tp := record.TopicPartition{Topic: name, Partition: int32(number)}
			switch {
			case layout.Has(entries, tp.String()) && !doomed[tp]:
				err = n.partition(tp, t)
			case n.Clean:
				n.add(log.Damage, tp, n.path(tp), "the partition's directory", "none", "restore it from a copy; or run `runnel repair --accept-loss`, which recreates the partition, empty")
			default:
				n.add(log.Recoverable, tp, n.path(tp), "the partition's directory", "none",
					"a crash while the topic was created leaves it so, and opening begins the partition; otherwise restore it from a copy")
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *inspecting) path(tp record.TopicPartition) string { return filepath.Join(n.dir, tp.String()) }

// add adds a finding about the directory, unless it is in use: topics may have been
// created and deleted since the durable part of its catalogue was written.
func (n *inspecting) add(g log.Grade, tp record.TopicPartition, path, expected, found, hint string) {
	if n.live && tp != layout.Catalogue {
		return
	}
	n.Findings = append(n.Findings, finding(g, tp, path, expected, found, hint))
}

func finding(g log.Grade, tp record.TopicPartition, path, expected, found, hint string) log.Finding {
	return log.Finding{Grade: g, Corruption: &fault.Corruption{
		Topic: tp.Topic, Partition: tp.Partition, Offset: -1, File: path, Expected: expected, Found: found, Hint: hint,
	}, End: -1, Next: -1}
}

// measure adds up how many bytes there are to read, for progress.
func (n *inspecting) measure(entries []vfs.Entry) error {
	for _, e := range entries {
		if _, suffix, ok := layout.Parse(e.Name); !e.Dir || !ok || suffix != "" {
			continue
		}
		files, err := n.fsys.ReadDir(filepath.Join(n.dir, e.Name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fault.Newf(fault.OfDisk(err), "data directory %s", n.dir).Because(err)
		}
		for _, f := range files {
			if filepath.Ext(f.Name) == ".log" {
				n.total += f.Size
			}
		}
	}
	return nil
}

// said reports to progress how far the reading is.
func (n *inspecting) said(bytes int64) {
	n.done += bytes
	if n.progress != nil {
		n.progress(n.done, max(n.done, n.total))
	}
}

// readCatalogue inspects the catalogue's log and folds it.
func (n *inspecting) readCatalogue(entries []vfs.Entry) error {
	if found, err := layout.CatalogueLost(n.fsys, n.dir, entries); err != nil {
		return err
	} else if found != "" {
		n.add(log.Damage, layout.Catalogue, n.path(layout.Catalogue), layout.ExpectedCatalogue, found, layout.HintCatalogue)
		return nil
	}
	if !layout.Has(entries, layout.Catalogue.String()) {
		return nil
	}
	snapshots := metadata.Snapshots{FS: n.fsys, Dir: n.dir}
	next, damage, err := n.readSnapshots(snapshots)
	if err != nil {
		return err
	}
	n.next = next
	err = n.inspectLog(layout.Catalogue, func(r *record.Record) error {
		if r.Offset < next {
			return nil
		}
		if err := n.catalogue.Apply(r.Value); err != nil {
			return fmt.Errorf("a record at offset %d that does not fit: %w", r.Offset, err)
		}
		return nil
	})
	if len(n.Partitions) == 0 || err != nil {
		return err
	}
	p := &n.Partitions[0]
	if damage == nil && p.Start > next {
		damage = append(damage, &fault.Corruption{
			Topic: topic.ClusterMetadata, Offset: next, File: n.path(layout.Catalogue),
			Expected: fmt.Sprintf("a snapshot of the catalogue up to offset %d or later, where its log begins", p.Start), Found: "none",
			Hint: "restore the directory from a backup",
		})
	}
	if next > p.End && !n.live { // in a live directory the program may have the rest of the log in memory
		id := catalogue.SnapshotID{Offset: next}
		d := snapshots.Damage(id, 0, fmt.Sprintf("a log that reaches to offset %d", next), fmt.Sprintf("one that ends at %d", p.End))
		p.Findings = append(p.Findings, log.Finding{Grade: log.Damage, Corruption: d, End: -1, Next: -1})
	}
	for _, d := range damage {
		grade := log.Damage // even if an older one and the log have everything: then a repair puts it aside
		if d.Offset < p.Start && p.Start <= next {
			grade = log.Note // a newer one replaces it
		}
		p.Findings = append(p.Findings, log.Finding{Grade: grade, Corruption: d, End: -1, Next: -1})
	}
	return nil
}

// readSnapshots reads the newest whole snapshot into the catalogue, as opening does. It
// returns the offset at which that ends, and what is wrong with other snapshots.
func (n *inspecting) readSnapshots(snapshots metadata.Snapshots) (next int64, damage []*fault.Corruption, err error) {
	ids, err := snapshots.List()
	if err != nil {
		return 0, nil, err
	}
	for _, id := range ids {
		s, err := snapshots.Read(id)
		broken, ok := errors.AsType[*fault.Corruption](err)
		switch {
		case ok:
			damage = append(damage, broken)
		case err != nil:
			return 0, nil, err
		case next == 0:
			n.catalogue, next = s.Catalogue, id.Offset
		}
	}
	return next, damage, nil
}

// partition inspects a topic's partition.
func (n *inspecting) partition(tp record.TopicPartition, t *catalogue.Topic) error {
	of, known, err := layout.ReadOwner(n.fsys, n.path(tp), tp)
	path := filepath.Join(n.path(tp), layout.MetadataFile)
	damage, damaged := errors.AsType[*fault.Corruption](err)
	switch {
	case damaged:
		n.Findings = append(n.Findings, log.Finding{Grade: log.Damage, Corruption: damage, End: -1, Next: -1})
	case err != nil:
		return err
	case !known:
		switch empty, err := layout.Emptied(n.fsys, n.path(tp)); {
		case err != nil:
			return fault.At(fault.OfDisk(err), tp.Topic, tp.Partition, -1).Because(err)
		case empty && n.Clean:
			n.add(log.Damage, tp, n.path(tp), "the partition's directory", "one without its files", "restore it from a copy; or run `runnel repair --accept-loss`, which recreates the partition, empty")
		default:
			n.add(log.Recoverable, tp, path, "the ID of the topic", "no file", "opening writes it")
		}
	case of.ID != t.ID && n.live: // confirm drops it if the topic was created again meanwhile
		n.Findings = append(n.Findings, finding(log.Damage, tp, path, "topic ID "+t.ID.String(), of.ID.String(), "close the directory, and see what runnel repair --dry-run says"))
	case of.ID != t.ID:
		n.add(log.Damage, tp, path, "topic ID "+t.ID.String(), of.ID.String(), "move that directory elsewhere, or restore the one that belongs here")
	case !of.Owns(t.ID, tp.Partition):
		_, hint := of.Instead(tp, t.ID)
		n.add(log.Damage, tp, path, fmt.Sprintf("partition %d", tp.Partition), fmt.Sprintf("partition %d", of.Partition), hint)
	}
	if tp.Topic != topic.ConsumerOffsets {
		return n.inspectLog(tp, nil)
	}
	groups := group.New(group.Limits{})
	return n.inspectLog(tp, func(r *record.Record) error {
		if err := groups.Apply(r.Key, r.Value); err != nil {
			return fmt.Errorf("a record at offset %d that no group has: %w", r.Offset, err)
		}
		return nil
	})
}

// inspectLog inspects one log. It calls each, which may be nil, with each record that
// isn't a marker.
func (n *inspecting) inspectLog(tp record.TopicPartition, each func(*record.Record) error) error {
	// Any damage to the catalogue is fatal: without it the topics are unknown.
	how := log.InspectOptions{Live: n.live, Ahead: tp == layout.Catalogue, Progress: n.said}
	if each != nil {
		how.Batch = func(b record.Batch) error {
			if b.Control() {
				return nil
			}
			it, err := b.Records(n.codec)
			if err != nil {
				return err
			}
			for r := (record.Record{}); it.Next(&r); {
				if err := each(&r); err != nil {
					return err
				}
			}
			return it.Err()
		}
	}
	found, err := log.Inspect(n.ctx, log.Config{FS: n.fsys, Dir: n.path(tp), Topic: tp.Topic, Partition: tp.Partition, Codec: n.codec}, how)
	if err != nil && n.live && errors.Is(err, fs.ErrNotExist) {
		return nil // the topic was deleted meanwhile
	}
	n.Partitions = append(n.Partitions, PartitionInspection{tp, found})
	return err
}

const hintRemoval = "opening finishes its removal"

// survey compares the names in the directory with the catalogue, as opening does. It
// returns the partitions whose directory opening would remove.
func (n *inspecting) survey(entries []vfs.Entry) map[record.TopicPartition]bool {
	removed := n.catalogue.RemovedNames()
	doomed := map[record.TopicPartition]bool{}
	for _, e := range entries {
		path := filepath.Join(n.dir, e.Name)
		tp, suffix, ok := layout.Parse(e.Name)
		if !e.Dir {
			switch e.Name {
			case layout.LockFile, layout.CleanFile, attach.SocketName, layout.StartsFile, layout.ReserveFile:
			default:
				if what, hint := layout.Unfinished([]vfs.Entry{e}); what != "" {
					n.add(log.Damage, record.TopicPartition{}, path, "a whole data directory", what, hint)
					break
				}
				n.add(log.Note, record.TopicPartition{}, path, "partitions", "another file", "it is left alone")
			}
			continue
		}
		t := n.catalogue.Topic(tp.Topic)
		switch {
		case ok && tp == layout.Catalogue && suffix == "":
		case ok && suffix == layout.SuffixDelete:
			n.add(log.Recoverable, tp, path, "nothing", "a deleted topic's partition", hintRemoval)
		case ok && suffix == "" && removed[tp.Topic] && n.ofRemoved(tp):
			doomed[tp] = true
			n.add(log.Recoverable, tp, path, "nothing", "a deleted topic's partition", hintRemoval)
		case ok && suffix == "" && t != nil && int(tp.Partition) < len(t.Partitions):
		case ok:
			n.add(log.Note, tp, path, "a topic's partition", "a partition that no topic has", "it is left alone")
		default:
			n.add(log.Note, record.TopicPartition{}, path, "partitions", "another directory", "it is left alone")
		}
	}
	return doomed
}

// ofRemoved reports whether a directory belongs to a topic that was deleted.
func (n *inspecting) ofRemoved(tp record.TopicPartition) bool {
	of, known, err := layout.ReadOwner(n.fsys, n.path(tp), tp)
	if err != nil || !known {
		return false
	}
	_, removed := n.catalogue.Removed(of.ID)
	return removed
}
