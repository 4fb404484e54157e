package runnel

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/topic"
)

// catalogueAnew makes a catalogue of what the partitions' directories say, in
// place of one that is lost: names, IDs and how many partitions there are. Nothing
// of the topics is deleted by age until somebody says so again, for some of them
// may have been kept for ever.
func (r *repairing) catalogueAnew(f log.Finding) error {
	if !r.how.AcceptLoss {
		r.step(f.File, "the catalogue is gone: restore it from a copy, or accept the loss: then one is made of the partitions' directories, and the topics' settings are lost", true)
		return nil
	}
	specs, ids, err := r.topicsThere()
	if err != nil {
		return err
	}
	r.step(f.File, fmt.Sprintf("make a catalogue of the partitions' directories: %d topics, without their settings, whose records stay for ever until retention is set", len(specs)), false)
	if r.how.DryRun {
		return nil
	}
	b := &Broker{
		config: defaults(topic.Fsync), home: home{fsys: r.fsys, dir: r.dir, disk: true},
		codec: r.codec, catalogue: catalogue.New(),
	}
	if err := b.clear(layout.Catalogue); err != nil {
		return err
	}
	err = b.loadCatalogue(true)
	if err == nil {
		err = b.recreate(specs, ids)
	}
	if b.metadata != nil {
		err = errors.Join(err, b.metadata.Close())
	}
	return errors.Join(err, r.fsys.SyncDir(r.dir))
}

// topicsThere returns the topics of which partitions are there, and their IDs.
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
			continue // an orphan, which stays as it is
		}
		s, there := specs[tp.Topic]
		if !there {
			s = topic.Spec{Name: tp.Topic, Replicas: 1, Config: topic.Config{Retention: topic.Forever}}
			if tp.Topic == offsetsSpec.Name {
				s.Config, s.Partitions = offsetsSpec.Config, offsetsSpec.Partitions
			}
			ids[tp.Topic] = of.ID
		}
		s.Partitions = max(s.Partitions, int(tp.Partition)+1)
		specs[tp.Topic] = s
	}
	all := slices.SortedFunc(maps.Values(specs), func(a, b topic.Spec) int { return cmp.Compare(a.Name, b.Name) })
	return all, ids, nil
}

// recreate enters topics with the IDs that they had. Producers get IDs that none
// can have had before, for partitions may know those.
func (b *Broker) recreate(specs []topic.Spec, ids map[string]topic.ID) error {
	for _, s := range specs {
		values, err := b.catalogue.CreateTopics([]topic.Spec{s}, nodeID, func() topic.ID { return ids[s.Name] })
		if err == nil {
			err = b.commit(values)
		}
		if err != nil {
			return err
		}
	}
	_, values, err := b.catalogue.ProducerIDs(time.Now().UnixMicro(), nodeID)
	if err != nil {
		return err
	}
	return b.commit(values)
}
