package processtest

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/pipeline"
	"github.com/runnel-go/runnel/topic"
)

var (
	pipelineRecords = flag.Int("exactly.records", 5_000, "how many records go through the pipeline whose processes are killed; make exactly has 200,000")
	pipelineKills   = flag.Int("exactly.kills", 5, "how often the process that has its directory open is killed; make exactly has 40")
)

// What the parent tells a process of the pipeline.
const (
	pipelineVariable   = "PIPELINE_DIR"
	durabilityVariable = "PIPELINE_DURABILITY"
	recordsVariable    = "PIPELINE_RECORDS"
	untilVariable      = "PIPELINE_UNTIL" // the input up to which record it writes; for a process that attaches: nothing
	seedVariable       = "PIPELINE_SEED"
)

// killedPipeline is the pipeline whose processes are killed, with the members of the process that has the directory open. The
// process that attaches has as many others.
func killedPipeline(records int) pipeline.Pipeline {
	return pipeline.Pipeline{
		Partitions: [4]int{7, 11, 31, 7}, Replicas: 1, Keys: 500, Records: records, Batch: 100,
		Members: 2, Life: time.Second, Excused: pipeline.Closed,
	}
}

// runPipeline is the program of a process of the pipeline. On its output:
//
//	commits O...      what the groups have committed, as pipeline.Committed orders it
//	done              all of the input is at the pipeline's end
//
// It ends when its input does.
func runPipeline() error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	records, err := strconv.Atoi(os.Getenv(recordsVariable))
	if err != nil {
		return err
	}
	seed, err := strconv.ParseUint(os.Getenv(seedVariable), 10, 64)
	if err != nil {
		return err
	}
	l, dir := killedPipeline(records), os.Getenv(pipelineVariable)
	if os.Getenv(untilVariable) == "" {
		return attachPipeline(ctx, l, dir, seed)
	}
	until, err := strconv.Atoi(os.Getenv(untilVariable))
	if err != nil {
		return err
	}
	durability := topic.Fsync
	if os.Getenv(durabilityVariable) == topic.OS.String() {
		durability = topic.OS
	}
	b, err := runnel.Open(dir, runnel.DefaultDurability(durability))
	if err != nil {
		return err
	}
	return errors.Join(ownPipeline(ctx, l, b, until, seed), b.Close())
}

// ownPipeline is the work of the process that has the directory open.
func ownPipeline(ctx context.Context, l pipeline.Pipeline, b *runnel.Broker, until int, seed uint64) error {
	if err := l.Create(ctx, b); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var work sync.WaitGroup
	do := func(f func() error) {
		work.Go(func() {
			if err := f(); err != nil && ctx.Err() == nil {
				end(err)
			}
		})
	}
	do(func() error { return l.Run(ctx, seed, func() pipeline.Backend { return b }) })
	do(func() error { return sayCommits(ctx, &l, b) })
	do(func() error {
		err := l.Load(ctx, b, until)
		if err == nil && until == l.Records {
			if err = l.Await(ctx, b); err == nil {
				fmt.Println("done")
			}
		}
		return err
	})
	work.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func sayCommits(ctx context.Context, l *pipeline.Pipeline, b *runnel.Broker) error {
	look := time.NewTicker(commitsEvery)
	defer look.Stop()
	for {
		commits, err := l.Committed(ctx, b)
		if err != nil {
			return err
		}
		line := []byte("commits")
		for _, c := range commits {
			line = strconv.AppendInt(append(line, ' '), c.Offset, 10)
		}
		fmt.Println(string(line))
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// attachPipeline is the work of a process that attaches to the one that has the directory open, and
// to the next one when that has died.
func attachPipeline(ctx context.Context, l pipeline.Pipeline, dir string, seed uint64) error {
	l.First, l.Excused = l.Members, nil
	for ctx.Err() == nil {
		b, err := runnel.Attach(dir)
		if err == nil {
			err = errors.Join(l.Run(ctx, seed, func() pipeline.Backend { return b }), b.Close())
		}
		switch {
		case err == nil:
		case errors.Is(err, fault.Closed), errors.Is(err, fault.UnknownTopic): // the broker is not there, or a new one
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
			}
		default:
			return err
		}
	}
	return nil
}

// commitsEvery is how often a process says what is committed.
const commitsEvery = 10 * time.Millisecond

// atWorkFor is how often it may say the same while there is work.
const atWorkFor = int(100 * time.Millisecond / commitsEvery)

// worker is a process of the pipeline.
type worker struct {
	command *exec.Cmd
	in      io.WriteCloser
	speaks  chan struct{} // closed when it has said something, and is at work
	heard   sync.WaitGroup
}

// conveyor is a pipeline whose processes the test starts and kills.
type conveyor struct {
	t          *testing.T
	l          pipeline.Pipeline
	dir        string
	durability topic.Durability
	random     *rand.Rand
	commits    []pipeline.Commit // the latest
	quiet      int               // how often they have been the same since they changed
	seen       pipeline.Offsets
	done       chan struct{} // closed when a process has said so

	mu    sync.Mutex
	wrong []error
}

// start starts a process that writes the input up to a record, or, without one, attaches to it.
func (v *conveyor) start(until string) *worker {
	program, err := os.Executable()
	require.NoError(v.t, err)
	w := &worker{command: exec.Command(program), speaks: make(chan struct{})}
	w.command.Env = append(os.Environ(), pipelineVariable+"="+v.dir, durabilityVariable+"="+v.durability.String(),
		recordsVariable+"="+strconv.Itoa(v.l.Records), untilVariable+"="+until, fmt.Sprint(seedVariable, "=", v.random.Uint64()))
	w.command.Stderr = os.Stderr
	w.in, err = w.command.StdinPipe()
	require.NoError(v.t, err)
	out, err := w.command.StdoutPipe()
	require.NoError(v.t, err)
	require.NoError(v.t, w.command.Start())
	w.heard.Go(func() {
		lines := bufio.NewScanner(out)
		for first := true; lines.Scan(); first = false {
			if first {
				close(w.speaks)
			}
			v.hear(lines.Text())
		}
	})
	return w
}

func (v *conveyor) hear(line string) {
	fields := strings.Fields(line)
	if line == "done" {
		close(v.done)
		return
	}
	err := fmt.Errorf("a process says %q", line)
	if len(fields) == len(v.commits)+1 && fields[0] == "commits" {
		err = nil
		v.quiet++
		for i := range v.commits {
			offset, wrong := strconv.ParseInt(fields[i+1], 10, 64)
			err = errors.Join(err, wrong)
			if offset != v.commits[i].Offset {
				v.quiet = 0
			}
			v.commits[i].Offset = offset
		}
		err = errors.Join(err, v.seen.Seen(v.commits))
	}
	if err != nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.wrong = append(v.wrong, err)
	}
}

// kill ends a process as kill -9 does. It must not have ended before.
func (v *conveyor) kill(w *worker) {
	_ = w.command.Process.Kill()
	w.heard.Wait()
	_ = w.command.Wait()
	status := w.command.ProcessState.Sys().(syscall.WaitStatus)
	require.True(v.t, status.Signaled() && status.Signal() == syscall.SIGKILL, "a process ended by itself: %v", w.command.ProcessState)
	v.mu.Lock()
	defer v.mu.Unlock()
	require.Empty(v.t, v.wrong)
}

// stop ends a process in order.
func (v *conveyor) stop(w *worker) {
	_ = w.in.Close()
	w.heard.Wait()
	require.NoError(v.t, w.command.Wait())
}

// TestPipelineOfKilledProcesses runs a pipeline in two processes, one of which has its directory open and one of
// which is attached to that. Both are killed again and again, at any moment, also while they open. Each input has
// its result once, in order, what groups have committed never goes back, and no transaction stays open.
func TestPipelineOfKilledProcesses(t *testing.T) {
	for _, durability := range []topic.Durability{topic.Fsync, topic.OS} {
		t.Run(durability.String(), func(t *testing.T) { killPipeline(t, durability) })
	}
}

func killPipeline(t *testing.T, durability topic.Durability) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	v := &conveyor{t: t, l: killedPipeline(*pipelineRecords), dir: t.TempDir(), durability: durability, random: rand.New(rand.NewPCG(seed, 0)), done: make(chan struct{})}
	nothing, err := runnel.OpenMemory()
	require.NoError(t, err)
	v.commits, err = v.l.Committed(t.Context(), nothing)
	require.NoError(t, errors.Join(err, nothing.Close()))
	began, attachedKills, atWork := time.Now(), 0, 0
	attached := v.start("")
	// As long as processes are killed, there is work: each of them may write a part of the input.
	part := v.l.Records / (*pipelineKills + 1)
	for kill := range *pipelineKills {
		v.quiet = atWorkFor
		owner := v.start(strconv.Itoa((kill + 1) * part))
		if v.random.IntN(4) > 0 { // otherwise it may die while it opens
			select {
			case <-owner.speaks:
			case <-time.After(patience):
				require.FailNow(t, "it takes too long until the directory is open")
			}
		}
		pause(time.Duration(v.random.Int64N(int64(min(time.Duration(part)*100*time.Microsecond, 2*time.Second)))))
		if v.random.IntN(3) == 0 {
			v.kill(attached)
			attached = v.start("")
			attachedKills++
		}
		v.kill(owner)
		if v.quiet < atWorkFor {
			atWork++
		}
	}
	killed := time.Since(began)
	owner := v.start(strconv.Itoa(v.l.Records))
	ended := make(chan struct{})
	go func() {
		owner.heard.Wait()
		close(ended)
	}()
	select {
	case <-v.done:
	case <-ended:
		require.FailNow(t, "the process ended by itself")
	case <-time.After(5 * patience):
		_ = owner.command.Process.Signal(syscall.SIGQUIT) // shows its goroutines
		<-ended
		require.FailNow(t, "it takes too long until all of the input is at the end")
	}
	v.stop(attached)
	v.stop(owner)
	require.Empty(t, v.wrong)

	b, err := runnel.Open(v.dir)
	require.NoError(t, err)
	defer b.Close()
	v.l.Members *= 2 // with those that were attached
	require.NoError(t, v.l.Check(t.Context(), b))
	commits, err := v.l.Committed(t.Context(), b)
	require.NoError(t, err)
	require.NoError(t, v.seen.Seen(commits))
	t.Logf("%d records, through %v partitions, each there once and in order: %d processes with the directory open were killed within %v (%d of them less than 0.1 s after a commit), %d that were attached to them, and all was done after %v",
		v.l.Records, v.l.Partitions, *pipelineKills, killed.Round(time.Millisecond), atWork, attachedKills, time.Since(began).Round(time.Millisecond))
}
