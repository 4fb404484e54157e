package consumer

import (
	"context"
	"errors"
	"math"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
)

// handling is a handler whose records wait until the test lets them go, and a Run that
// calls it, in a bubble.
type handling struct {
	t      *testing.T
	fake   *fake
	c      *Consumer
	cancel context.CancelFunc
	ended  chan error // Run's result

	mu     sync.Mutex
	began  []string              // the records whose handler was called, in order
	open   map[string]chan error // what their handlers return
	cut    []string              // those whose ctx ended before
	sticky bool                  // handlers ignore the end of their ctx
}

// handle runs a consumer of f.
func handle(t *testing.T, f *fake, opts []Option, runOpts ...RunOption) *handling {
	h := &handling{t: t, fake: f, ended: make(chan error, 1), open: map[string]chan error{}}
	h.c = open(t, f, opts...)
	h.run(runOpts...)
	return h
}

func (h *handling) run(opts ...RunOption) {
	ctx, cancel := context.WithCancel(h.t.Context())
	h.cancel = cancel
	go func() { h.ended <- Run(ctx, h.c, h.handler, opts...) }()
	synctest.Wait()
}

func (h *handling) handler(ctx context.Context, r record.Record) error {
	name := string(r.Value)
	h.mu.Lock()
	h.began = append(h.began, name)
	gate := make(chan error, 1)
	h.open[name] = gate
	h.mu.Unlock()
	select {
	case err := <-gate:
		return err
	case <-ctx.Done():
	}
	h.mu.Lock()
	h.cut = append(h.cut, name)
	sticky := h.sticky
	h.mu.Unlock()
	if sticky {
		return <-gate
	}
	return ctx.Err()
}

// finish lets the handlers of records return.
func (h *handling) finish(err error, names ...string) {
	h.t.Helper()
	for _, name := range names {
		h.mu.Lock()
		gate := h.open[name]
		h.mu.Unlock()
		require.NotNil(h.t, gate, "record %s is not being handled", name)
		gate <- err
	}
	synctest.Wait()
}

// running returns the records whose handlers were called since the last call.
func (h *handling) running() []string {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	began := h.began
	h.began = nil
	return began
}

// committed commits and returns the committed offset of a partition.
func (h *handling) committed(tp record.TopicPartition) int64 {
	h.t.Helper()
	require.NoError(h.t, h.c.Commit(h.t.Context()))
	return h.fake.offsets()[tp.Partition]
}

// end ends Run and returns its error.
func (h *handling) end() error {
	h.cancel()
	return <-h.ended
}

// keyed adds records to a partition, each with the first letter of its value as key, or
// none for an underscore.
func (f *fake) keyed(tp record.TopicPartition, values ...string) {
	f.add(tp, values...)
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.records[tp] {
		r := &f.records[tp][i]
		if r.Key = r.Value[:1]; r.Value[0] == '_' {
			r.Key = nil
		}
	}
}

func TestRunKeepsTheOrderOfKeysAndCommitsUpToTheGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1", "a2", "c1", "b2", "a3")
		h := handle(t, f, nil, Concurrency(10))
		require.ElementsMatch(t, []string{"a1", "b1", "c1"}, h.running())
		require.EqualValues(t, 0, h.committed(a0))
		h.finish(nil, "b1")
		require.Equal(t, []string{"b2"}, h.running())
		h.finish(nil, "b2", "c1")
		require.EqualValues(t, 0, h.committed(a0), "a1 is not done")
		h.finish(nil, "a1")
		require.EqualValues(t, 2, h.committed(a0), "a2 is not done")
		h.finish(nil, "a2")
		require.EqualValues(t, 5, h.committed(a0))
		require.Equal(t, []string{"a2", "a3"}, h.running())
		h.finish(nil, "a3")
		require.EqualValues(t, 6, h.committed(a0))
		require.NoError(t, h.end())
	})
}

func TestRunHandlesAsManyAtOnceAsItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1", "c1", "_1", "_2", "_3")
		h := handle(t, f, nil, Concurrency(2))
		require.ElementsMatch(t, []string{"a1", "b1"}, h.running())
		h.finish(nil, "a1")
		require.Equal(t, []string{"c1"}, h.running())
		h.finish(nil, "b1", "c1")
		require.ElementsMatch(t, []string{"_1", "_2"}, h.running(), "records without a key have no order")
		h.finish(nil, "_2")
		require.Equal(t, []string{"_3"}, h.running())
		h.finish(nil, "_1", "_3")
		require.EqualValues(t, 6, h.committed(a0))
		require.NoError(t, h.end())
	})
}

func TestRunRetriesWithoutBlockingOtherKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1", "a2", "b2")
		h := handle(t, f, nil, Backoff(time.Second, 3*time.Second))
		failed := errors.New("no")
		for i, longest := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second} {
			require.Equal(t, "a1", h.running()[0])
			began := time.Now()
			h.finish(failed, "a1")
			if i == 0 {
				require.Equal(t, []string{"b1"}, h.running(), "a1 waits, and needs no worker")
				h.finish(nil, "b1")
				h.finish(nil, "b2")
				h.running()
			}
			time.Sleep(longest/2 - 1 - time.Since(began))
			require.Empty(t, h.running())
			time.Sleep(longest/2 + 1)
		}
		require.EqualValues(t, 0, h.committed(a0))
		require.Equal(t, []string{"a1"}, h.running())
		h.finish(nil, "a1")
		require.Equal(t, []string{"a2"}, h.running())
		h.finish(nil, "a2")
		require.EqualValues(t, 4, h.committed(a0))
		require.NoError(t, h.end())
	})
}

func TestRunEndsWithARecordThatIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1", "c1", "a2")
		h := handle(t, f, nil, Concurrency(3), Attempts(2), Backoff(1, 1))
		h.running()
		failed := errors.New("no")
		h.finish(nil, "a1")
		h.finish(failed, "b1")
		time.Sleep(time.Nanosecond)
		require.Contains(t, h.running(), "b1")
		h.finish(failed, "b1")
		h.finish(nil, "c1", "a2") // they were running, and are waited for
		err := <-h.ended
		var given *HandlerError
		require.ErrorAs(t, err, &given)
		require.ErrorIs(t, err, failed)
		require.Equal(t, 2, given.Attempts)
		require.Equal(t, "a-0@1: handling it failed, attempt 2 was the last: no", given.Error())
		require.Equal(t, map[int32]int64{0: 1}, f.offsets())
		records, err := h.c.Poll(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"b1", "c1", "a2"}, values(records), "what is not committed comes again")
	})
}

// What is fetched while a record ends Run is not skipped by the next call.
func TestRunEndsWhileItFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1")
		f.keyed(a1, "_1")
		c := open(t, f, MaxRecords(1))
		failing, failed := make(chan struct{}), make(chan struct{})
		f.before = []func(){func() {}, func() {
			close(failing)
			<-failed
		}}
		err := Run(t.Context(), c, func(context.Context, record.Record) error {
			<-failing
			time.AfterFunc(time.Second, func() { close(failed) }) // when this has ended Run
			return Permanent(errors.New("no"))
		})
		require.ErrorContains(t, err, "a-0@0")
		for _, want := range []string{"a1", "_1"} {
			records, err := c.Poll(t.Context())
			require.NoError(t, err)
			require.Equal(t, []string{want}, values(records))
		}
	})
}

func TestBackoffDoubles(t *testing.T) {
	r := &runner{cfg: runConfig{first: time.Second, longest: math.MaxInt64}}
	for failed, longest := range []time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 100: math.MaxInt64} {
		if longest > 0 {
			d := r.backoff(failed)
			require.LessOrEqual(t, d, longest)
			require.GreaterOrEqual(t, d, longest/2)
		}
	}
	r.cfg.longest = 5 * time.Second
	require.LessOrEqual(t, r.backoff(4), 5*time.Second)
	require.LessOrEqual(t, r.backoff(1), time.Second)
}

func TestRunCountsPanicsAndEndedGoroutinesAsFailures(t *testing.T) {
	for name, fails := range map[string]func(){
		"panic":  func() { panic(strconv.ErrRange) },
		"Goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.keyed(a0, "a1", "b1", "a2")
				c := open(t, f)
				var mu sync.Mutex
				calls := map[string]int{}
				letters := &letters{}
				ctx, cancel := context.WithCancel(t.Context())
				err := Run(ctx, c, func(_ context.Context, r record.Record) error {
					mu.Lock()
					calls[string(r.Value)]++
					done := len(calls) == 3 && calls["a1"] == 3
					mu.Unlock()
					if string(r.Value) == "a1" {
						fails()
					}
					if done {
						cancel()
					}
					return nil
				}, Attempts(3), Backoff(1, 1), DeadLetters(letters, "dead"))
				require.NoError(t, err)
				require.Equal(t, map[string]int{"a1": 3, "b1": 1, "a2": 1}, calls)
				require.Equal(t, []string{"a1"}, values(letters.sent))
				if name == "panic" {
					require.ErrorContains(t, exceptionOf(letters.sent[0]), "*errors.errorString: value out of range")
				} else {
					require.ErrorContains(t, exceptionOf(letters.sent[0]), "the handler ended its goroutine")
				}
			})
		})
	}
}

// letters is a Sender that keeps what it is sent, after it has failed as often as it
// has errors.
type letters struct {
	mu   sync.Mutex
	errs []error
	sent []record.Record
}

func (l *letters) Send(_ context.Context, r record.Record) (record.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return record.Position{}, err
	}
	l.sent = append(l.sent, r.Clone())
	return record.Position{}, nil
}

func exceptionOf(r record.Record) error {
	v, _ := r.Header(HeaderException)
	return errors.New(string(v))
}

func TestRunWritesDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1", "a2")
		at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		f.records[a0][0].Timestamp = at
		f.records[a0][0].Headers = []record.Header{{Key: "trace", Value: []byte("7")}, {Key: HeaderOffset, Value: []byte("old")}}
		letters := &letters{errs: []error{fault.UnknownTopic}}
		h := handle(t, f, nil, Attempts(2), Backoff(time.Second, time.Second), DeadLetters(letters, "dead"))
		require.Equal(t, []string{"a1"}, h.running())
		h.finish(errors.New("first"), "a1")
		require.Equal(t, []string{"b1"}, h.running())
		h.finish(nil, "b1")
		time.Sleep(time.Second)
		h.finish(errors.Join(errors.New("second")), "a1")
		require.Equal(t, []string{"a1"}, h.running())
		require.EqualValues(t, 0, h.committed(a0), "the dead letter could not be written yet")
		time.Sleep(time.Second)
		require.Equal(t, []string{"a2"}, h.running(), "it comes after the dead letter, which is not handled again")
		h.finish(nil, "a2")
		require.EqualValues(t, 3, h.committed(a0))
		require.NoError(t, h.end())

		require.Len(t, letters.sent, 1)
		got := letters.sent[0]
		require.Equal(t, record.Record{Topic: "dead", Timestamp: at, Key: []byte("a"), Value: []byte("a1"), Headers: got.Headers}, got)
		var headers []string
		for _, h := range got.Headers {
			headers = append(headers, h.Key+" = "+string(h.Value))
		}
		require.Equal(t, []string{
			"trace = 7",
			"__consumer.errors.exception = *errors.joinError: second",
			"__consumer.errors.message = second",
			"__consumer.errors.stacktrace = a-0@0: handling it failed, attempt 2 was the last: second",
			"__consumer.errors.topic = a", "__consumer.errors.partition = 0", "__consumer.errors.offset = 0",
			"__consumer.errors.attempts = 2", "__consumer.errors.group = g",
		}, headers)
	})
}

func TestRunEndsIfADeadLetterCannotBeWritten(t *testing.T) {
	for name, errs := range map[string][]error{
		"after its attempts":     {fault.UnknownTopic, fault.UnknownTopic, fault.UnknownTopic},
		"at once, if none helps": {fault.RecordTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.keyed(a0, "a1", "a2")
				letters := &letters{errs: errs}
				failed := errors.New("no")
				err := Run(t.Context(), open(t, f), func(context.Context, record.Record) error { return failed },
					Attempts(3), DeadLetters(letters, "dead"))
				require.ErrorIs(t, err, failed)
				require.ErrorIs(t, err, errs[0])
				require.ErrorContains(t, err, "dead: ")
				require.Empty(t, letters.errs)
				require.Empty(t, letters.sent)
				require.Empty(t, f.offsets())
			})
		})
	}
}

// lastLetter ends Run's context with the first dead letter.
type lastLetter struct {
	*letters
	end func()
}

func (l lastLetter) Send(ctx context.Context, r record.Record) (record.Position, error) {
	defer l.end()
	return l.letters.Send(ctx, r)
}

func TestRunWithTypedHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.add(a0, "1", "one", "2")
		letters := &letters{}
		ctx, cancel := context.WithCancel(t.Context())
		var seen []string
		numbers := serde.For("a", serde.String, serde.JSON[int]())
		err := Run(ctx, open(t, f), Handle(numbers, func(_ context.Context, r Record[string, int]) error {
			seen = append(seen, r.Key+"="+strconv.Itoa(r.Value))
			return nil
		}), DeadLetters(lastLetter{letters, cancel}, "dead"))
		require.NoError(t, err)
		require.Equal(t, []string{"k1=1", "k2=2"}, seen)
		require.Equal(t, []string{"one"}, values(letters.sent))
		attempts, _ := letters.sent[0].Header(HeaderAttempts)
		require.Equal(t, "1", string(attempts), "another attempt would not help")
		message, _ := letters.sent[0].Header(HeaderMessage)
		require.Contains(t, string(message), "a-0 at offset 1: ")
		require.Contains(t, string(message), "(DeadLetters keeps such records)")
		require.Equal(t, map[int32]int64{0: 3}, f.offsets())
	})
}

// A consumer that reads more topics than its typed handler knows is a mistake, which
// must not bury the records of the others.
func TestATypedHandlerEndsRunAtAnotherTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.add(a0, "1")
		letters := &letters{}
		others := serde.For("others", serde.String, serde.String)
		err := Run(t.Context(), open(t, f), Handle(others, func(context.Context, Record[string, string]) error { return nil }),
			DeadLetters(letters, "dead"))
		require.ErrorIs(t, err, fault.InvalidRequest)
		require.ErrorContains(t, err, "a-0@0")
		require.Empty(t, letters.sent)
	})
}

func TestPermanentErrorsGetNoOtherAttempt(t *testing.T) {
	require.NoError(t, Permanent(nil))
	failed := errors.New("no")
	require.ErrorIs(t, Permanent(failed), failed)
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1")
		h := handle(t, f, nil)
		h.finish(errors.Join(errors.New("why"), Permanent(failed)), "a1")
		err := <-h.ended
		require.ErrorIs(t, err, failed)
		require.Equal(t, []string{"a1"}, h.running())
	})
}

func TestRunPausesInsteadOfFetchingTooMuch(t *testing.T) {
	for name, limit := range map[string]RunOption{"records": InFlight(4, math.MaxInt), "bytes": InFlight(math.MaxInt, 12)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.keyed(a0, "a1", "b1", "c1", "d1", "e1", "f1", "g1", "h1")
				f.keyed(a1, "_1")
				f.paused[a1] = true // by the program
				h := handle(t, f, []Option{MaxRecords(2)}, Concurrency(8), limit)
				h.c.paused[a1] = true
				require.ElementsMatch(t, []string{"a1", "b1", "c1", "d1"}, h.running())
				require.True(t, f.isPaused(a0))
				h.finish(nil, "b1")
				require.True(t, f.isPaused(a0))
				h.finish(nil, "a1")
				require.ElementsMatch(t, []string{"e1", "f1"}, h.running(), "at a half it goes on")
				require.True(t, f.isPaused(a0))
				h.finish(nil, "c1", "d1", "e1", "f1")
				require.ElementsMatch(t, []string{"g1", "h1"}, h.running())
				require.False(t, f.isPaused(a0))
				require.True(t, f.isPaused(a1), "Run does not resume what the program has paused")
				h.finish(nil, "g1", "h1")
				require.EqualValues(t, 8, h.committed(a0))
				require.NoError(t, h.end())
			})
		})
	}
}

func (f *fake) isPaused(tp record.TopicPartition) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.paused[tp]
}

func TestRunPausesAPartitionThatIsFarAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1", "c1", "d1", "e1", "f1")
		f.keyed(a1, "_1", "_2", "_3", "_4", "_5", "_6", "_7")
		h := handle(t, f, []Option{MaxRecords(1)}, Concurrency(20), Ahead(4))
		require.ElementsMatch(t, []string{"a1", "b1", "c1", "d1", "_1", "_2", "_3", "_4"}, h.running())
		h.finish(nil, "b1", "c1", "d1", "_1", "_2")
		require.ElementsMatch(t, []string{"_5", "_6"}, h.running(), "the other partition is not held up")
		require.True(t, f.isPaused(a0))
		h.finish(nil, "a1")
		require.ElementsMatch(t, []string{"e1", "f1"}, h.running())
		h.finish(nil, "e1", "f1", "_3", "_4", "_5", "_6")
		h.finish(nil, "_7")
		require.EqualValues(t, 6, h.committed(a0))
		require.NoError(t, h.end())
	})
}

func TestRunResumesWhatItPausedAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1")
		h := handle(t, f, nil, InFlight(1, 1))
		require.True(t, f.isPaused(a0))
		h.cancel()
		h.finish(nil, "a1")
		require.NoError(t, <-h.ended)
		records, err := h.c.Poll(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"b1"}, values(records))
	})
}

func TestResumeInACallbackLeavesPausedWhatRunPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1")
		var c *Consumer
		h := handle(t, f, []Option{OnAssigned(func(all []record.TopicPartition) { require.NoError(t, c.Resume(a0)) })}, InFlight(1, 1))
		c = h.c
		f.mu.Lock()
		f.before = append(f.before, func() { f.cfg.OnAssigned([]record.TopicPartition{a1}) })
		f.mu.Unlock()
		f.wake()
		synctest.Wait()
		require.True(t, f.isPaused(a0))
		h.finish(nil, "a1")
		h.finish(nil, "b1")
		require.NoError(t, h.end())
	})
}

// A handler that ends ctx is the last one, however late Run itself hears of it.
func TestRunBeginsNoRecordAfterTheEndOfItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.add(a0, "0", "1", "2")
		c := open(t, f)
		ctx, cancel := context.WithCancel(t.Context())
		var begun []string
		require.NoError(t, Run(ctx, c, func(_ context.Context, r record.Record) error {
			begun = append(begun, string(r.Value))
			cancel()
			return nil
		}, Concurrency(1)))
		require.Equal(t, []string{"0"}, begun)
		require.Equal(t, map[int32]int64{0: 1}, f.offsets())
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1", "c1", "a2", "d1")
		h := handle(t, f, nil, Concurrency(3))
		require.ElementsMatch(t, []string{"a1", "b1", "c1"}, h.running())
		h.cancel()
		synctest.Wait()
		h.finish(nil, "c1")
		h.finish(errors.New("no"), "b1")
		require.Empty(t, h.ended, "a1 is waited for")
		h.finish(nil, "a1")
		require.NoError(t, <-h.ended)
		require.Empty(t, h.running(), "nothing was begun")
		require.Empty(t, h.cut)
		require.Equal(t, map[int32]int64{0: 1}, f.offsets())

		h.run(Concurrency(10))
		require.ElementsMatch(t, []string{"b1", "c1", "a2", "d1"}, h.running(), "what is not done comes again")
		h.finish(nil, "b1", "c1", "a2", "d1")
		require.NoError(t, h.end())
		require.Equal(t, map[int32]int64{0: 5}, f.offsets())
	})
}

func TestRunWaitsNoLongerThanItShould(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1")
		h := handle(t, f, nil, Concurrency(2), DrainTimeout(3*time.Second))
		h.finish(nil, "b1")
		began := time.Now()
		require.NoError(t, h.end())
		require.Equal(t, 3*time.Second, time.Since(began))
		require.Equal(t, []string{"a1"}, h.cut)
		require.Empty(t, f.offsets())
	})
}

func TestRunWaitsForHandlersThatIgnoreTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "a2")
		h := handle(t, f, nil)
		h.sticky = true
		h.finish(nil, "a1")
		h.cancel()
		time.Sleep(time.Hour)
		require.Empty(t, h.ended)
		require.Equal(t, map[int32]int64{0: 1}, f.offsets(), "what was finished is committed after the DrainTimeout")
		h.finish(nil, "a2")
		require.NoError(t, <-h.ended)
		require.NoError(t, h.c.Commit(t.Context()))
		require.Equal(t, map[int32]int64{0: 1}, f.offsets(), "a2 was too late")
	})
}

func TestCloseDrainsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1", "a2")
		h := handle(t, f, nil, Concurrency(2))
		closed := make(chan error)
		go func() { closed <- h.c.Close() }()
		time.Sleep(time.Second)
		h.finish(nil, "a1", "b1")
		require.NoError(t, <-closed)
		require.ErrorIs(t, <-h.ended, fault.Closed)
		require.Equal(t, map[int32]int64{0: 2}, f.offsets())
		require.ElementsMatch(t, []string{"a1", "b1"}, h.running())
	})
}

func TestRunBeginsWithTheRestOfABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "b1", "c1")
		h := &handling{t: t, fake: f, ended: make(chan error, 1), open: map[string]chan error{}}
		h.c = open(t, f)
		for r, err := range h.c.Records(t.Context()) {
			require.NoError(t, err)
			if string(r.Value) == "b1" {
				break
			}
		}
		h.run(Concurrency(10))
		require.ElementsMatch(t, []string{"b1", "c1"}, h.running())
		require.EqualValues(t, 1, h.committed(a0))
		h.finish(nil, "b1", "c1")
		require.NoError(t, h.end())
		require.Equal(t, map[int32]int64{0: 3}, f.offsets())
	})
}

func TestRunClonesWhatAReusedBufferWouldLose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keyed(a0, "a1", "a2")
		c := open(t, f, ReuseBuffers())
		ctx, cancel := context.WithCancel(t.Context())
		var seen []string
		require.NoError(t, Run(ctx, c, func(_ context.Context, r record.Record) error {
			copy(f.records[a0][1].Value, "b2") // a2 is in flight
			if seen = append(seen, string(r.Value)); len(seen) == 2 {
				cancel()
			}
			return nil
		}))
		require.Equal(t, []string{"a1", "a2"}, seen)
	})
}

func TestOptionsOfRun(t *testing.T) {
	nothing := func(context.Context, record.Record) error { return nil }
	for name, opts := range map[string][]RunOption{
		"Concurrency":          {Concurrency(0)},
		"Attempts":             {Attempts(0)},
		"Backoff":              {Backoff(2, 1)},
		"InFlight":             {InFlight(0, 1)},
		"Ahead":                {Ahead(0)},
		"DrainTimeout":         {DrainTimeout(DefaultRebalanceTimeout)},
		"OnError":              {OnError(nil)},
		"without a producer":   {DeadLetters(nil, "dead")},
		"the dead-letter topi": {DeadLetters(&letters{}, "..")},
		"would fail again":     {DeadLetters(&letters{}, "a")},
	} {
		err := Run(t.Context(), open(t, newFake()), nothing, opts...)
		require.ErrorIs(t, err, fault.InvalidConfig, name)
		require.ErrorContains(t, err, name)
	}
	c, err := New(newFake(), Group("g"), TopicsMatching("dea."))
	require.NoError(t, err)
	defer c.Close()
	require.ErrorContains(t, Run(t.Context(), c, nothing, DeadLetters(&letters{}, "dead")), "would fail again")
	require.ErrorIs(t, Run(t.Context(), c, nil), fault.InvalidRequest)
	require.NoError(t, Run(ended(), c, nothing, DeadLetters(&letters{}, "buried"), Attempts(Unlimited)))
}
