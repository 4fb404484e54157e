package datadir

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// RepairOptions configures Repair. The zero value makes only repairs after which no offset
// can be assigned to a second record.
type RepairOptions struct {
	DryRun bool // change nothing

	// AcceptLoss also makes repairs that lose an unknown number of records, whose
	// offsets may then be assigned again. A partition whose last segment is missing or cut
	// short continues at the lowest possible offset. A partition whose directory is gone
	// is recreated, empty.
	AcceptLoss bool

	// Progress may be nil. Repair inspects the directory first, and calls it as Inspect
	// does.
	Progress func(done, total int64)
}

// Repair repairs what Inspect calls damage in a data directory, as far as a single copy
// allows. It returns the steps that it did or, with DryRun, would do. A step with Refused
// is one that it doesn't do, and says why.
//
// Damaged files are kept under another name, nothing is deleted, and no record changes its
// offset: see log.Repair. The catalogue is repaired only if a snapshot or its log has the
// same records; otherwise restore a backup.
//
// It returns fault.Locked if a program has the directory open. The next Repair finishes
// one that was interrupted or failed.
func Repair(ctx context.Context, dir string, how RepairOptions) ([]log.Step, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	if err := layout.OfKafka(dir); err != nil {
		return nil, err
	}
	if !how.DryRun {
		lock, err := layout.LockDir(dir, layout.FileMode)
		if err != nil {
			return nil, err
		}
		defer lock.Release()
		return repair(ctx, lock.Disk(), dir, how)
	}
	disk, err := vfs.OpenDisk(dir, layout.FileMode)
	if err != nil {
		return nil, err
	}
	defer disk.Close()
	if holder, err := layout.Holder(dir); err != nil {
		return nil, err
	} else if holder != "" {
		return nil, fault.Newf(fault.Locked, "%s has %s open", holder, dir).Try("close it there")
	}
	return repair(ctx, disk, dir, how)
}

func repair(ctx context.Context, fsys vfs.FS, dir string, how RepairOptions) ([]log.Step, error) {
	n := newInspecting(ctx, fsys, dir, false, how.Progress)
	if err := n.run(); err != nil {
		return nil, err
	}
	r := repairing{inspecting: n, how: how, stamp: time.Now().UTC().Format("20060102T150405Z")}
	err := r.run()
	return r.steps, err
}

// repairing is the work of Repair.
type repairing struct {
	*inspecting
	how   RepairOptions
	stamp string
	steps []log.Step
}

func (r *repairing) step(file, what string, refused bool) {
	r.steps = append(r.steps, log.Step{File: file, What: what, Refused: refused})
}

func (r *repairing) run() error {
	if i := slices.IndexFunc(r.Partitions, func(p PartitionInspection) bool { return p.TopicPartition == layout.Catalogue }); i >= 0 && r.Partitions[i].Worst() == log.Damage {
		whole, err := r.mendCatalogue(r.Partitions[i])
		switch {
		case err != nil || len(r.steps) > 0 && r.steps[len(r.steps)-1].Refused:
			return err
		case !r.how.DryRun: // with the catalogue as it is now
			r.inspecting = newInspecting(r.ctx, r.fsys, r.dir, false, nil)
			if err := r.inspecting.run(); err != nil {
				return err
			}
		case !whole:
			r.step(r.path(layout.Catalogue), "then inspect the partitions, with the repaired catalogue", false)
			return nil
		default:
			r.Partitions = slices.Delete(r.Partitions, i, i+1)
		}
	}
	for _, f := range r.Findings {
		if f.Grade >= log.Recoverable {
			if err := r.directory(f); err != nil {
				return err
			}
		}
	}
	for _, p := range r.Partitions {
		if p.Worst() >= log.Recoverable {
			if err := r.repairLog(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// ofReplicas is why a replica's log is not repaired here: what would stand for the lost
// records, or be cut off, is not what the other replicas have.
const ofReplicas = "it is one of several replicas: when its node opens it, it gets from the others what is missing"

func (r *repairing) isReplica(tp record.TopicPartition) bool {
	_, err := r.fsys.Stat(filepath.Join(r.path(tp), layout.ReplicaFile))
	return err == nil
}

// repairLog repairs a partition's log.
func (r *repairing) repairLog(p PartitionInspection) error {
	if r.isReplica(p.TopicPartition) {
		r.step(r.path(p.TopicPartition), ofReplicas, p.Worst() >= log.Damage)
		return nil
	}
	cfg := log.Config{FS: r.fsys, Dir: r.path(p.TopicPartition), Topic: p.Topic, Partition: p.Partition, Codec: r.codec}
	steps, err := log.Repair(r.ctx, cfg, log.RepairOptions{DryRun: r.how.DryRun, AcceptLoss: r.how.AcceptLoss, Stamp: r.stamp})
	r.steps = append(r.steps, steps...)
	if err == nil && len(steps) == 0 {
		for _, f := range p.Findings {
			if f.Grade == log.Damage {
				r.step(f.File, "nothing here can be repaired: "+f.Found, true)
			}
		}
	}
	return err
}

// directory repairs a finding about a partition's directory.
func (r *repairing) directory(f log.Finding) error {
	tp := record.TopicPartition{Topic: f.Topic, Partition: f.Partition}
	t := r.catalogue.Topic(f.Topic)
	dir := r.path(tp)
	metadata := filepath.Join(dir, layout.MetadataFile)
	of, known, ownerErr := layout.ReadOwner(r.fsys, dir, tp)
	switch {
	case tp == layout.Catalogue:
		return r.recreateCatalogue(f)
	case t == nil || f.Hint == hintRemoval:
		r.step(f.File, f.Hint, f.Grade == log.Damage)
		return nil
	case f.File == dir && !r.how.AcceptLoss && f.Grade == log.Damage:
		r.step(f.File, "the partition is gone: restore it from a copy, or accept the loss: then it is recreated, empty", true)
		return nil
	case f.File == dir:
		r.step(f.File, "recreate the partition, empty", false)
	case ownerErr != nil || known && r.misspelt(metadata, t.ID):
		ownerErr = fault.CorruptMessage
		r.step(f.File, "keep it as "+layout.MetadataFile+".damaged-"+r.stamp+" and write the topic's ID again", false)
	case known && of.ID == t.ID:
		r.step(f.File, "it is another partition's: "+f.Hint, true)
		return nil
	case known:
		r.step(f.File, "it belongs to another topic: "+f.Hint, true)
		return nil
	default:
		r.step(f.File, "write the topic's ID", false)
	}
	if r.how.DryRun {
		return nil
	}
	if ownerErr != nil {
		if err := r.fsys.Rename(metadata, metadata+".damaged-"+r.stamp); err != nil {
			return err
		}
	}
	return errors.Join(r.fsys.MkdirAll(dir), vfs.WriteFile(r.fsys, metadata, layout.MetadataText(t.ID, tp.Partition)), r.fsys.SyncDir(r.dir))
}

// misspelt reports whether the topic's ID in a file, which has no checksum, differs from
// the right one in one byte only. IDs are random, so it can't be that of another topic.
func (r *repairing) misspelt(path string, id topic.ID) bool {
	got, err := vfs.ReadFile(r.fsys, path, layout.MetadataLimit)
	want := layout.KafkaMetadata(id)
	if err != nil || len(got) != len(want) {
		return false
	}
	differ := 0
	for i := range want {
		if got[i] != want[i] {
			differ++
		}
	}
	return differ == 1
}
