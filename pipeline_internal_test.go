package runnel

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/pipeline"
	"github.com/runnel-go/runnel/internal/vfs"
)

var pipelineSeeds = flag.Int("exactly.seeds", 6, "on how many simulated disks a pipeline runs; make exactly has 300")

// pipelines are those that run on simulated disks, in turn: one of little work, which losses of power
// often divide, and one over many partitions.
var pipelines = []struct {
	pipeline.Pipeline
	changes int // of the disk, within which it loses power
}{
	{pipeline.Pipeline{Partitions: [4]int{2, 3, 4, 2}, Keys: 5, Records: 200, Batch: 10, Members: 2, Life: 100 * time.Millisecond, Excused: pipeline.Closed}, 400},
	{pipeline.Pipeline{Partitions: [4]int{7, 11, 31, 7}, Keys: 50, Records: 4000, Batch: 50, Members: 3, Life: 100 * time.Millisecond, Excused: pipeline.Closed}, 3000},
}

// TestPipelineOnDisksThatLosePower runs pipelines on disks that lose power several times,
// with any loss, from a seed: in the end each input has its result once, in order, and what groups had
// committed never goes back.
func TestPipelineOnDisksThatLosePower(t *testing.T) {
	for seed := range uint64(*pipelineSeeds) {
		if !t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { runOnFailingDisk(t, seed) }) {
			return
		}
	}
}

func runOnFailingDisk(t *testing.T, seed uint64) {
	l := pipelines[seed%uint64(len(pipelines))]
	random := rand.New(rand.NewPCG(seed, 99))
	disk, seen := vfs.NewCrashable(), &pipeline.Offsets{}
	b, err := openFixture(disk)
	require.NoError(t, err)
	require.NoError(t, l.Create(t.Context(), b))
	require.NoError(t, l.Load(t.Context(), b, l.Records))
	for crash := range 3 {
		seeCommits(t, &l.Pipeline, b, seen)
		require.NoError(t, b.Close())
		disk = crashPipeline(t, &l.Pipeline, disk, random, 1+random.IntN(l.changes), seed*10+uint64(crash), seen)
		b, err = openFixture(disk)
		require.NoError(t, err)
	}
	seeCommits(t, &l.Pipeline, b, seen)
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
	defer stop()
	ran := make(chan error, 1)
	go func() {
		ran <- l.Run(ctx, seed, func() pipeline.Backend { return b })
		stop()
	}()
	awaited := l.Await(ctx, b)
	stop()
	require.NoError(t, <-ran)
	require.NoError(t, awaited)
	require.NoError(t, l.Check(t.Context(), b))
	seeCommits(t, &l.Pipeline, b, seen)
	require.NoError(t, b.Close())
}

// crashPipeline runs a pipeline on a disk until that has changed so many times, and then loses power. It
// returns what the disk has after that.
func crashPipeline(t *testing.T, l *pipeline.Pipeline, disk *vfs.Crashable, random *rand.Rand, changes int, seed uint64, seen *pipeline.Offsets) *vfs.Crashable {
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	var mu sync.Mutex // of changes and after
	var after *vfs.Crashable
	loss := vfs.RandomLoss(random.Uint64())
	fsys := vfs.NewFaulty(disk)
	fsys.Add(vfs.Rule{On: vfs.OpChange, Do: func() {
		mu.Lock()
		defer mu.Unlock()
		if changes--; changes == 0 {
			after = disk.After(loss)
			stop()
		}
	}})
	on := func() bool { // the power is
		mu.Lock()
		defer mu.Unlock()
		return after == nil
	}
	b, err := openFixture(fsys)
	require.NoError(t, err)
	if on() {
		watched := make(chan error, 1)
		go func() { watched <- watchCommits(ctx, l, b, on, seen) }()
		require.NoError(t, l.Run(ctx, seed, func() pipeline.Backend { return b }))
		stop()
		require.NoError(t, <-watched)
	}
	_ = b.Close()
	if on() {
		return disk
	}
	return after
}

func seeCommits(t *testing.T, l *pipeline.Pipeline, b *Broker, seen *pipeline.Offsets) {
	commits, err := l.Committed(t.Context(), b)
	require.NoError(t, err)
	require.NoError(t, seen.Seen(commits))
}

// watchCommits takes down what groups have committed as long as the power is on, since that is to outlive its
// loss.
func watchCommits(ctx context.Context, l *pipeline.Pipeline, b *Broker, on func() bool, seen *pipeline.Offsets) error {
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for ctx.Err() == nil {
		commits, err := l.Committed(ctx, b)
		if err == nil && on() {
			err = seen.Seen(commits)
		}
		if err != nil {
			if !on() {
				return nil
			}
			return err
		}
		select {
		case <-look.C:
		case <-ctx.Done():
		}
	}
	return nil
}
