package datadir

import (
	"fmt"
	"path/filepath"

	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/topic"
)

// catalogueRefused is why a repair stops at the catalogue.
const catalogueRefused = "the catalogue is damaged, and without it the topics are unknown: restore the directory from a backup"

// mendCatalogue repairs the catalogue if that loses none of its records: the newest whole
// snapshot and the log behind it are enough for that. It reports whether the catalogue
// that was read is the whole one.
func (r *repairing) mendCatalogue(p PartitionInspection) (whole bool, err error) {
	refuse := func(why string) (bool, error) {
		r.steps = nil
		r.step(p.Findings[0].File, why, true)
		return false, nil
	}
	if r.isReplica(layout.Catalogue) {
		return refuse(ofReplicas)
	}
	var broken []catalogue.SnapshotID
	whole = true
	for _, f := range p.Findings {
		id, snapshot := catalogue.ParseSnapshotName(filepath.Base(f.File))
		switch {
		case f.Grade < log.Damage:
		case snapshot && id.Offset != r.next:
			broken = append(broken, id)
		case snapshot || f.File == r.path(layout.Catalogue): // the log is shorter than it, or there is none
			return refuse(catalogueRefused)
		case f.Next > r.next:
			whole = false
		}
	}
	if p.Start > r.next {
		return refuse(catalogueRefused)
	}
	cfg := log.Config{FS: r.fsys, Dir: r.path(layout.Catalogue), Topic: topic.ClusterMetadata, Codec: r.codec}
	how := log.RepairOptions{DryRun: true, Stamp: r.stamp}
	planned, err := log.Repair(r.ctx, cfg, how)
	if err != nil {
		return false, err
	}
	superseded := false
	for _, s := range planned {
		if s.Refused || s.Lost[1] > r.next {
			return refuse(catalogueRefused)
		}
		superseded = superseded || s.Lost[1] > 0
	}
	for _, id := range broken {
		if err := r.putAside(id); err != nil {
			return false, err
		}
	}
	if superseded {
		// This comes first. Once the log begins there, no older snapshot is used that would need
		// what is given up.
		r.step(cfg.Dir, fmt.Sprintf("let the catalogue's log begin at offset %d: a snapshot has everything before it", r.next), false)
		if err := r.beginAt(cfg, r.next); err != nil {
			return refuse(catalogueRefused + " (" + err.Error() + ")")
		}
	}
	if !r.how.DryRun {
		how.DryRun = false
		if planned, err = log.Repair(r.ctx, cfg, how); err != nil {
			return false, err
		}
	}
	r.steps = append(r.steps, planned...)
	return whole, nil
}

// putAside renames a damaged snapshot.
func (r *repairing) putAside(id catalogue.SnapshotID) error {
	path := filepath.Join(r.path(layout.Catalogue), id.FileName())
	kept := path + ".damaged-" + r.stamp
	what := fmt.Sprintf("the snapshot of offset %d and the log have", r.next)
	if r.next == 0 {
		what = "the log has"
	}
	r.step(path, "keep it as "+filepath.Base(kept)+": "+what+" everything", false)
	if r.how.DryRun {
		return nil
	}
	if err := r.fsys.Rename(path, kept); err != nil {
		return err
	}
	return r.fsys.SyncDir(r.path(layout.Catalogue))
}

func (r *repairing) beginAt(cfg log.Config, start int64) error {
	if r.how.DryRun {
		return nil
	}
	l, _, err := log.Open(cfg)
	if err != nil {
		return err
	}
	if err := l.SetStart(start); err != nil {
		_ = l.Close()
		return err
	}
	return l.Close()
}
