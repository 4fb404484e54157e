package streams_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/streams/streamstest"
)

// A processor's state is what start's variables hold: here each task's last value of
// each key, and what differs from it is forwarded.
func ExampleProcess() {
	show(func(t *streams.Topology) {
		changes := streams.Process(streams.Stream(t, lines), func(c *streams.ProcessorContext[string, string]) (streams.Processor[string, string], error) {
			last := make(map[string]string)
			return func(r streams.Record[string, string]) error {
				if last[r.Key] == r.Value {
					return nil
				}
				last[r.Key] = r.Value
				return c.Emit(r.Key, r.Value)
			}, nil
		})
		changes.To(out)
	}, "a=1", "a=1", "b=1", "a=2")
	// Output:
	// a=1
	// b=1
	// a=2
}

func ExampleProcessValues() {
	show(func(t *streams.Topology) {
		streams.ProcessValues(streams.Stream(t, lines), func(c *streams.ValueContext[string]) (streams.Processor[string, string], error) {
			return func(r streams.Record[string, string]) error {
				at, _ := c.Position()
				return c.Emit(fmt.Sprintf("%s is at %s", r.Value, at))
			}, nil
		}).To(out)
	}, "a=one", "a=two")
	// Output:
	// a=one is at lines-0@0
	// a=two is at lines-0@1
}

func ExampleTaskContext_Schedule() {
	s, err := streams.NewSimulation("app", func(t *streams.Topology) {
		streams.Process(streams.Stream(t, lines), func(c *streams.ProcessorContext[string, string]) (streams.Processor[string, string], error) {
			seen := 0
			_, err := c.Schedule(time.Minute, streams.WallClock, func(now time.Time) error {
				return c.Emit("seen", fmt.Sprint(seen))
			})
			return func(streams.Record[string, string]) error {
				seen++
				return nil
			}, err
		}).To(out)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	for _, line := range []string{"one", "two"} {
		if err := s.Send(record.Record{Topic: "lines", Value: []byte(line)}); err != nil {
			fmt.Println(err)
		}
	}
	if err := s.Advance(time.Minute); err != nil {
		fmt.Println(err)
	}
	for _, r := range s.Records("out") {
		fmt.Printf("%s=%s at %s\n", r.Key, r.Value, r.Timestamp.UTC().Format(time.TimeOnly))
	}
	// Output: seen=2 at 00:01:00
}

var (
	processIn  = serde.For("in", serde.String, serde.String)
	processOut = serde.For("out", serde.String, serde.Int64)
)

// punctuated forwards the time of each of its punctuations.
func punctuated(every time.Duration, clock streams.Clock) func(*streams.Topology) {
	return func(t *streams.Topology) {
		streams.Process(streams.Stream(t, processIn), func(c *streams.ProcessorContext[string, int64]) (streams.Processor[string, string], error) {
			_, err := c.Schedule(every, clock, func(now time.Time) error {
				if _, ok := c.Position(); ok {
					return errors.New("a punctuation has no record")
				}
				return c.Emit("now", now.UnixMilli())
			})
			return func(streams.Record[string, string]) error { return nil }, err
		}).To(processOut)
	}
}

func times(records []streamstest.Record[string, int64]) (ms []int64) {
	for _, r := range records {
		ms = append(ms, r.Value)
		if r.At.UnixMilli() != r.Value {
			ms = append(ms, -r.At.UnixMilli())
		}
	}
	return ms
}

// By stream time, a call follows the record that made it due, with the time as it is;
// intervals that were passed over are left out.
func TestPunctuationByStreamTime(t *testing.T) {
	d := streamstest.New(t, punctuated(10*time.Millisecond, streams.StreamTime))
	in, outs := streamstest.Input(d, processIn), streamstest.Output(d, processOut)
	for _, step := range []struct {
		at   int64
		want []int64
	}{{5, []int64{5}}, {9, nil}, {10, []int64{10}}, {11, nil}, {55, []int64{55}}, {58, nil}, {60, []int64{60}}, {42, nil}} {
		in.SendAt(time.UnixMilli(step.at), "k", "v")
		require.Equal(t, step.want, times(outs.ReadAll()), "at %d", step.at)
	}
	require.NoError(t, d.Advance(time.Hour))
	require.Empty(t, outs.ReadAll())
}

func TestPunctuationByWallClock(t *testing.T) {
	d := streamstest.New(t, punctuated(50*time.Millisecond, streams.WallClock))
	in, outs := streamstest.Input(d, processIn), streamstest.Output(d, processOut)
	in.SendAt(time.UnixMilli(1_000_000), "k", "v")
	for _, step := range []struct {
		advance int64
		want    []int64
	}{{49, nil}, {1, []int64{50}}, {50, []int64{100}}, {120, []int64{220}}, {29, nil}, {1, []int64{250}}} {
		require.NoError(t, d.Advance(time.Duration(step.advance)*time.Millisecond))
		require.Equal(t, step.want, times(outs.ReadAll()))
	}
}

// A call may cancel itself and schedule others.
func TestPunctuationsChangeEachOther(t *testing.T) {
	var calls []string
	d := streamstest.New(t, func(t *streams.Topology) {
		streams.ProcessValues(streams.Stream(t, processIn), func(c *streams.ValueContext[string]) (streams.Processor[string, string], error) {
			var first, second *streams.Punctuation
			first, err := c.Schedule(time.Second, streams.WallClock, func(time.Time) (err error) {
				calls = append(calls, "first")
				first.Cancel()
				second.Cancel()
				_, err = c.Schedule(time.Second, streams.WallClock, func(time.Time) error {
					calls = append(calls, "third")
					return c.Emit("no key to forward with")
				})
				return err
			})
			if err != nil {
				return nil, err
			}
			second, err = c.Schedule(time.Second, streams.WallClock, func(time.Time) error {
				calls = append(calls, "second")
				return nil
			})
			return func(streams.Record[string, string]) error { return nil }, err
		}).ForEach(func(_, _ string) {})
	})
	require.NoError(t, d.Advance(time.Second))
	require.Equal(t, []string{"first"}, calls)
	err := d.Advance(time.Second)
	require.ErrorIs(t, err, fault.InvalidRequest)
	require.ErrorContains(t, err, "KSTREAM-PROCESSVALUES-0000000001 has no key to forward with")
	require.Equal(t, []string{"first", "third"}, calls)
	require.Equal(t, err, d.Advance(time.Second), "the simulation has failed")
}

// What a processor forwards may have any time and headers, and go to one child.
func TestForward(t *testing.T) {
	at := time.UnixMilli(77)
	d := streamstest.New(t, func(t *streams.Topology) {
		p := streams.Process(streams.Stream(t, processIn), func(c *streams.ProcessorContext[string, int64]) (streams.Processor[string, string], error) {
			return func(r streams.Record[string, string]) error {
				err := errors.Join(
					c.Forward(streams.Record[string, int64]{Key: "both", HasKey: true, Value: 1, HasValue: true, At: at}),
					c.ForwardTo("large", streams.Record[string, int64]{Key: "large", HasKey: true, Headers: r.Headers}),
					c.Emit("both", 2),
				)
				if err := c.ForwardTo("none", streams.Record[string, int64]{}); !errors.Is(err, fault.InvalidRequest) || !strings.Contains(err.Error(), "small, large") {
					return fmt.Errorf("an unknown child: %w", err)
				}
				if err := c.Forward(streams.Record[string, int64]{At: time.UnixMilli(-1)}); !errors.Is(err, fault.InvalidTimestamp) {
					return fmt.Errorf("a time before 1970: %w", err)
				}
				return err
			}, nil
		})
		p.Filter(func(string, int64) bool { return true }).Named("small").To(serde.For("small", serde.String, serde.Int64))
		p.Filter(func(string, int64) bool { return true }).Named("large").To(serde.For("large", serde.String, serde.Int64))
	})
	headers := []record.Header{{Key: "h", Value: []byte("v")}}
	require.NoError(t, streamstest.Input(d, processIn).Try(streamstest.Record[string, string]{Value: "x", HasValue: true, At: time.UnixMilli(5), Headers: headers}))
	type row = streamstest.Record[string, int64]
	both := []row{{Key: "both", HasKey: true, Value: 1, HasValue: true, At: at}, {Key: "both", HasKey: true, Value: 2, HasValue: true, At: time.UnixMilli(5), Headers: headers}}
	require.Equal(t, both, streamstest.Output(d, serde.For("small", serde.String, serde.Int64)).ReadAll())
	require.Equal(t, []row{both[0], {Key: "large", HasKey: true, At: time.UnixMilli(5), Headers: headers}, both[1]},
		streamstest.Output(d, serde.For("large", serde.String, serde.Int64)).ReadAll())
}

// An error of a processor is one of the record; one of a node that it forwards to is
// that node's, and nothing that the processor does hides it.
func TestAProcessorFails(t *testing.T) {
	topology := func(t *streams.Topology) {
		streams.Process(streams.Stream(t, processIn), func(c *streams.ProcessorContext[string, int64]) (streams.Processor[string, string], error) {
			return func(r streams.Record[string, string]) error {
				if r.Value == "reject" {
					return errors.New("rejected")
				}
				_ = c.Emit(r.Key, 1) // its error is dropped
				if r.Value == "late" {
					panic("late")
				}
				return nil
			}, nil
		}).Named("processor").Peek(func(key string, _ int64) {
			if key == "poison" {
				panic("poisoned")
			}
		}).Named("peek").To(processOut)
	}
	for _, c := range []struct{ key, value, node, text string }{
		{"k", "reject", "processor", "rejected"},
		{"poison", "v", "peek", "poisoned"},
		{"k", "late", "processor", "late"},
	} {
		d := streamstest.New(t, topology)
		failed := new(streams.ProcessingError)
		require.ErrorAs(t, streamstest.Input(d, processIn).Try(streamstest.Record[string, string]{Key: c.key, HasKey: true, Value: c.value, HasValue: true}), &failed)
		require.Equal(t, c.node, failed.Node)
		require.ErrorContains(t, failed, c.text)
		require.Equal(t, int64(0), failed.At.Offset)

		d = streamstest.New(t, topology, streams.OnError(streams.Skip()))
		in := streamstest.Input(d, processIn)
		in.Send(c.key, c.value)
		in.Send("k", "v")
		require.Equal(t, int64(1), d.ErrorCounts().Processing.Skipped, "%s %s", c.key, c.value)
		require.NotEmpty(t, streamstest.Output(d, processOut).ReadAll())
	}
	// Where the handler for the node's error says to fail, the handler for the panic
	// that follows does not say otherwise.
	d := streamstest.New(t, topology, streams.OnError(streams.Decide(func(e *streams.ProcessingError) streams.Handler {
		if e.Node == "peek" {
			return streams.Fail()
		}
		return streams.Skip()
	})))
	failed := new(streams.ProcessingError)
	require.ErrorAs(t, streamstest.Input(d, processIn).Try(streamstest.Record[string, string]{Key: "poison", HasKey: true, Value: "late", HasValue: true}), &failed)
	require.Equal(t, "peek", failed.Node)
}

func TestAProcessorDoesNotStart(t *testing.T) {
	start := func(result error, handle streams.Processor[string, string]) error {
		_, err := streams.NewSimulation("app", func(t *streams.Topology) {
			streams.ProcessValues(streams.Stream(t, processIn), func(c *streams.ValueContext[string]) (streams.Processor[string, string], error) {
				if err := c.Emit("early"); !errors.Is(err, fault.InvalidRequest) {
					return nil, fmt.Errorf("forwarded before the start: %w", err)
				}
				return handle, result
			}).Named("mine").ForEach(func(_, _ string) {})
		})
		return err
	}
	err := start(errors.New("no database"), nil)
	failed := new(streams.ProcessingError)
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "mine", failed.Node)
	require.ErrorContains(t, err, "no database")
	require.ErrorIs(t, start(nil, nil), fault.InvalidRequest)

	_, err = streams.NewSimulation("app", func(t *streams.Topology) {
		streams.Process[string, string, string, string](streams.Stream(t, processIn), nil)
	})
	require.ErrorIs(t, err, fault.InvalidRequest)
}

// In an application, processors start with their tasks and are closed with them, and the
// wall clock calls them while no record comes. What they forward then is committed.
func TestProcessorsInAnApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := openMemory(t)
		defer broker.Close()
		create(t, broker, 2, "in", "out")
		started, closedTasks := make(chan streams.TaskID, 9), make(chan streams.TaskID, 9)
		app, err := streams.New(broker, "app", func(t *streams.Topology) {
			streams.Process(streams.Stream(t, processIn), func(c *streams.ProcessorContext[string, int64]) (streams.Processor[string, string], error) {
				started <- c.Task()
				c.OnClose(func() { panic("only logged") })
				c.OnClose(func() { closedTasks <- c.Task() })
				_, err := c.Schedule(time.Second, streams.WallClock, func(now time.Time) error {
					c.Commit()
					return c.Emit(c.Application()+c.Task().String(), now.UnixMilli())
				})
				return func(streams.Record[string, string]) error { return nil }, err
			}).To(processOut)
		}, streams.CommitInterval(time.Hour))
		require.NoError(t, err)
		stop := start(app)
		time.Sleep(3500 * time.Millisecond)
		require.Equal(t, 2, len(started)-len(closedTasks), "a task that moves is closed where it was")
		require.Len(t, readAll(t, broker, processOut), 6)
		require.NoError(t, stop())
		require.Equal(t, len(started), len(closedTasks))
	})
}
