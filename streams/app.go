package streams

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/runnel-go/runnel/fault"
)

// App is a topology that runs on a backend under an application's name. Its
// methods may be called from any goroutine.
type App struct {
	backend  Backend
	plan     *plan
	config   config
	progress progress
}

// State is what an App is doing.
type State int

// The states of an App, which are those of Kafka Streams.
const (
	Created         State = iota // Run has not been called
	Rebalancing                  // tasks are being assigned and their stores restored
	Running                      // records are processed
	PendingShutdown              // the context of Run has ended, the last commit is in progress
	NotRunning                   // Run has returned
	Failed                       // Run has returned an error
)

// String returns Kafka's name of the state, such as PENDING_SHUTDOWN.
func (s State) String() string {
	switch s {
	case Created:
		return "CREATED"
	case Rebalancing:
		return "REBALANCING"
	case Running:
		return "RUNNING"
	case PendingShutdown:
		return "PENDING_SHUTDOWN"
	case NotRunning:
		return "NOT_RUNNING"
	case Failed:
		return "ERROR"
	}
	return fmt.Sprintf("State(%d)", int(s))
}

// New declares an application's topology and checks it. It starts nothing and
// does not use the backend. The name is that of the application's consumer
// group and the prefix of its internal topics: an application that restarts
// under its name continues where it stopped.
//
// Mistakes in the topology are reported together as fault.InvalidRequest, each
// under the name of its node.
func New(backend Backend, name string, define func(*Topology), options ...Option) (*App, error) {
	if backend == nil {
		return nil, fault.Newf(fault.InvalidRequest, "no backend")
	}
	p, c, err := compile(name, define, options)
	if err != nil {
		return nil, err
	}
	return &App{backend: backend, plan: p, config: c, progress: newProgress()}, nil
}

// Describe returns the topology in the format of Kafka's TopologyDescription.
func (a *App) Describe() string { return a.plan.describe() }

// Mermaid returns the topology as a Mermaid flowchart.
func (a *App) Mermaid() string { return a.plan.mermaid() }

// ErrorCounts returns how many records this App's handlers have skipped and
// dead-lettered since New.
func (a *App) ErrorCounts() ErrorCounts { return a.config.handling.counted() }

// State returns the App's current state.
func (a *App) State() State { return a.progress.current() }

// Run runs the application until ctx ends; then it commits and returns nil. The
// topics that the topology names must exist (fault.UnknownTopic); internal ones
// are created. Run returns a *ProcessingError if a record cannot be processed
// and no handler says what else to do (see OnError). It has then committed only
// what was processed before the last commit of that record's thread. An App
// that is running cannot be run again (fault.InvalidRequest); it can after Run
// has returned.
func (a *App) Run(ctx context.Context) error {
	if !a.progress.begin() {
		return fault.Newf(fault.InvalidRequest, "the application is running")
	}
	err := a.run(ctx)
	a.progress.end(err)
	return err
}

func (a *App) run(ctx context.Context) error {
	found, err := a.prepare(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	// Tasks write under a context that outlives ctx, for the last commit.
	work, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	stop, fail := context.WithCancel(ctx)
	defer fail()

	globals, err := a.loadGlobals(ctx, work, found)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	threads, err := a.openThreads(work, found)
	if err == nil {
		errs := make([]error, len(threads)+1)
		var running sync.WaitGroup
		if globals != nil {
			running.Go(func() {
				defer fail()
				errs[len(threads)] = globals.follow(stop)
			})
		}
		for i, t := range threads {
			running.Go(func() {
				defer fail() // run returned because stop has finished, or because of an error
				back := false
				defer func() {
					if !back {
						errs[i] = t.exited()
					}
				}()
				errs[i] = t.run(stop)
				back = true
			})
		}
		running.Wait()
		err = errors.Join(errs...)
	}
	if globals != nil {
		err = errors.Join(err, globals.close())
	}
	for _, t := range threads {
		err = errors.Join(err, t.close())
	}
	return err
}

// openThreads opens as many threads as there is work for.
func (a *App) openThreads(work context.Context, found layout) ([]*thread, error) {
	most := 0
	for _, sub := range a.plan.subs {
		most = max(most, a.plan.tasks(sub, found.partitions))
	}
	var threads []*thread
	for range min(a.config.threads, most) {
		t, err := openThread(work, a, found, len(threads))
		if err != nil {
			return threads, err
		}
		threads = append(threads, t)
	}
	return threads, nil
}
