package datadir

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/metadata"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/topic"
)

// recreateCatalogue replaces a lost catalogue. The partitions' directories have the names
// of topics, their IDs and their numbers of partitions, but not their settings. So no
// record is deleted by age until retention is set again: the topic may have kept its
// records for ever.
func (r *repairing) recreateCatalogue(f log.Finding) error {
	if !r.how.AcceptLoss {
		r.step(f.File, "the catalogue is gone: restore it from a copy, or accept the loss: then it is recreated from the partitions' directories, and the topics' settings are lost", true)
		return nil
	}
	specs, ids, err := r.topicsThere()
	if err != nil {
		return err
	}
	r.step(f.File, fmt.Sprintf("recreate the catalogue from the partitions' directories: %d topics, without their settings; their records stay for ever until retention is set", len(specs)), false)
	if r.how.DryRun {
		return nil
	}
	if err := r.clearCatalogue(); err != nil {
		return err
	}
	m, _, err := metadata.Open(metadata.Config{FS: r.fsys, Dir: r.dir, Fsync: true, Codec: r.codec})
	if err != nil {
		return err
	}
	return errors.Join(recreate(m, specs, ids), m.Close(), r.fsys.SyncDir(r.dir))
}

// clearCatalogue renames what is left of the catalogue.
func (r *repairing) clearCatalogue() error {
	path := r.path(layout.Catalogue)
	if _, err := r.fsys.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := layout.SetAside(r.fsys, path, layout.SuffixStray); err != nil {
		return fault.At(fault.OfDisk(err), topic.ClusterMetadata, 0, -1).Because(err)
	}
	return nil
}

// topicsThere returns the topics that have partitions in the directory, and their IDs.
func (r *repairing) topicsThere() ([]topic.Spec, map[string]topic.ID, error) {
	entries, err := r.fsys.ReadDir(r.dir)
	if err != nil {
		return nil, nil, err
	}
	specs, ids := map[string]topic.Spec{}, map[string]topic.ID{}
	for _, e := range entries {
		tp, suffix, ok := layout.Parse(e.Name)
		if !ok || !e.Dir || suffix != "" || tp == layout.Catalogue || int(tp.Partition) >= catalogue.MaxPartitions {
			continue
		}
		of, known, err := layout.ReadOwner(r.fsys, filepath.Join(r.dir, e.Name), tp)
		if err != nil || !known {
			continue // an orphan: it stays as it is
		}
		s, there := specs[tp.Topic]
		if !there {
			s = topic.Spec{Name: tp.Topic, Replicas: 1, Config: topic.Config{Retention: topic.Forever}}
			if tp.Topic == group.OffsetsTopic.Name {
				s.Config, s.Partitions = group.OffsetsTopic.Config, group.OffsetsTopic.Partitions
			}
			ids[tp.Topic] = of.ID
		}
		s.Partitions = max(s.Partitions, int(tp.Partition)+1)
		specs[tp.Topic] = s
	}
	all := slices.SortedFunc(maps.Values(specs), func(a, b topic.Spec) int { return cmp.Compare(a.Name, b.Name) })
	return all, ids, nil
}

// recreate creates topics with the IDs that they had. It reserves producer IDs beyond any
// that were used before, because partitions may remember sequences of those.
func recreate(m *metadata.Log, specs []topic.Spec, ids map[string]topic.ID) error {
	for _, s := range specs {
		values, err := m.Catalogue.CreateTopics([]topic.Spec{s}, []topic.Node{{ID: metadata.NodeID}}, func() topic.ID { return ids[s.Name] })
		if err == nil {
			err = m.Commit(values)
		}
		if err != nil {
			return err
		}
	}
	_, values, err := m.Catalogue.ProducerIDs(time.Now().UnixMicro(), metadata.NodeID)
	if err != nil {
		return err
	}
	return m.Commit(values)
}
