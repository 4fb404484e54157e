package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// holding is what verify learns from the process that has a directory open.
type holding struct {
	name     string // such as "process 17"; empty: no process has it open
	compared bool   // it has compared every readable batch
}

// askHolder makes the process that has a directory open compare everything
// readable, durable or not, which only that process can, and adds its findings
// to those in the files. The error is about what could not be compared.
func (s *shell) askHolder(ctx context.Context, dir string, found *datadir.Inspection) (holding, error) {
	h := holding{name: found.Holder}
	if h.name == "" {
		return h, nil
	}
	there, err := partitionsIn(dir)
	if err != nil {
		return h, err
	}
	r, err := runnel.Attach(dir)
	if err != nil {
		for _, tp := range there {
			partitionOf(found, tp)
		}
		fmt.Fprintf(s.errs, "%s has %s open and accepts no tools: only what its checkpoints call durable was read.\n", h.name, dir)
		return h, nil
	}
	defer r.Close()
	fmt.Fprintf(s.errs, "%s has %s open: what its checkpoints call durable was read, and that process compares every batch itself.\n", h.name, dir)
	total, failed := describeAll(ctx, r, there, found)
	end := s.waiting(fmt.Sprintf("%s compares %s", h.name, size(total)))
	err = r.Verify(ctx)
	end()
	if ctx.Err() != nil {
		return h, ctx.Err()
	}
	rest := slices.DeleteFunc(append(failed, leaves(err)...), func(err error) bool { return addDamage(found, dir, err) })
	h.compared = len(rest) == 0
	return h, errors.Join(rest...)
}

// partitionsIn returns the partitions that a data directory has directories for.
func partitionsIn(dir string) ([]record.TopicPartition, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var there []record.TopicPartition
	for _, e := range entries {
		if dash := strings.LastIndexByte(e.Name(), '-'); e.IsDir() && partitionDir.MatchString(e.Name()) && dash > 0 {
			tp := record.TopicPartition{Topic: e.Name()[:dash]}
			if _, err := fmt.Sscan(e.Name()[dash+1:], &tp.Partition); err == nil {
				there = append(there, tp)
			}
		}
	}
	return there, nil
}

// partitionOf returns a partition from found, to which it is added if it is
// missing.
func partitionOf(found *datadir.Inspection, tp record.TopicPartition) *datadir.PartitionInspection {
	i, ok := slices.BinarySearchFunc(found.Partitions, tp, func(p datadir.PartitionInspection, tp record.TopicPartition) int {
		return p.Compare(tp)
	})
	if !ok {
		found.Partitions = slices.Insert(found.Partitions, i, datadir.PartitionInspection{TopicPartition: tp})
	}
	return &found.Partitions[i]
}

// describeAll records what the broker reports about its partitions. It returns
// how many bytes they have, and why topics could not be described.
func describeAll(ctx context.Context, r *runnel.Remote, there []record.TopicPartition, found *datadir.Inspection) (total int64, failed []error) {
	names := map[string]bool{}
	for _, tp := range there {
		names[tp.Topic] = tp.Topic != topic.ClusterMetadata
	}
	for name, ask := range names {
		if !ask {
			continue
		}
		ds, err := r.DescribeTopics(ctx, name)
		if errors.Is(err, fault.UnknownTopic) {
			continue // deleted in the meantime, or not of a topic
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		for _, d := range ds[0].Partitions {
			p := partitionOf(found, record.TopicPartition{Topic: name, Partition: d.Number})
			p.Start, p.End, p.Records, p.Bytes = d.StartOffset, d.HighWatermark, d.HighWatermark-d.StartOffset, max(d.Size, 0)
			total += p.Bytes
		}
	}
	return total, failed
}

// leaves returns the errors that were joined to one.
func leaves(err error) (all []error) {
	if err == nil {
		return nil
	}
	var parts []error
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		parts = joined.Unwrap()
	}
	if together := errors.Join(parts...); together == nil || together.Error() != err.Error() {
		return []error{err} // for an error that wraps several, its text counts
	}
	for _, err := range parts {
		all = append(all, leaves(err)...)
	}
	return all
}

// addDamage adds an error of the broker as a finding, unless the files have
// shown it already, and reports whether it is about damage.
func addDamage(found *datadir.Inspection, dir string, err error) bool {
	if !errors.Is(err, fault.CorruptMessage) {
		return false
	}
	k := fault.Corruption{Partition: -1, Offset: -1, File: dir, Expected: "what was written", Found: err.Error()}
	if c, ok := errors.AsType[*fault.Corruption](err); ok {
		k = *c
		// The broker may have a different working directory.
		k.File = filepath.Join(dir, record.TopicPartition{Topic: k.Topic, Partition: k.Partition}.String(), filepath.Base(c.File))
		k.Hint = "close the directory there; then runnel repair --dry-run says what can be done about it"
	} else if f, ok := errors.AsType[*fault.Error](err); ok && f.Topic != "" && f.Partition >= 0 {
		k.Topic, k.Partition, k.Offset = f.Topic, f.Partition, f.Offset
		k.File = filepath.Join(dir, record.TopicPartition{Topic: k.Topic, Partition: k.Partition}.String())
		k.Expected = fmt.Sprintf("the batch of offset %d as it was appended", f.Offset)
		if f.Cause != nil {
			k.Found = "in the program's memory, " + f.Cause.Error()
		}
		k.Hint = "the program writes into records that it received, or its memory is bad: close the directory there, and verify what the disk has"
	}
	f := log.Finding{Grade: log.Damage, Corruption: &k, End: -1, Next: -1}
	if k.Topic == "" {
		found.Findings = append(found.Findings, f)
		return true
	}
	p := partitionOf(found, record.TopicPartition{Topic: k.Topic, Partition: k.Partition})
	known := func(f log.Finding) bool {
		return f.Grade == log.Damage && filepath.Base(f.File) == filepath.Base(k.File) && f.Offset <= k.Offset && (f.Offset == k.Offset || k.Offset < f.Next)
	}
	if !slices.ContainsFunc(p.Findings, known) {
		p.Findings = append(p.Findings, f)
	}
	return true
}
