package streams_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/streams/state"
	"github.com/runnel-go/runnel/streams/streamstest"
)

func ExampleNewKeyValueStore() {
	show(func(t *streams.Topology) {
		lengths := streams.NewKeyValueStore[string, int64](t, "lengths", nil, nil)
		streams.ProcessValues(streams.Stream(t, lines), func(c *streams.ValueContext[string]) (streams.Processor[string, string], error) {
			store, err := lengths.In(c)
			return func(r streams.Record[string, string]) error {
				total, _, err := store.Get(r.Key)
				if err != nil {
					return err
				}
				total += int64(len(r.Value))
				if err := store.Put(r.Key, total); err != nil {
					return err
				}
				return c.Emit(fmt.Sprint(total))
			}, err
		}, lengths).To(out)
	}, "a=one", "b=four", "a=three")
	// Output:
	// a=3
	// b=4
	// a=8
}

// register puts values, deletes those that are empty, and lists what there is.
func register(store *streams.KeyValueStore[string, string]) func(c *streams.ProcessorContext[string, int64]) (streams.Processor[string, string], error) {
	return func(c *streams.ProcessorContext[string, int64]) (streams.Processor[string, string], error) {
		s, err := store.In(c)
		return func(r streams.Record[string, string]) error {
			if r.Value == "" {
				return errors.Join(s.Delete(r.Key), s.Delete("never there"))
			}
			if r.Value != "list" {
				return s.Put(r.Key, r.Value)
			}
			n := int64(0)
			for row, err := range s.Range("b", "y", state.Descending) {
				if err != nil {
					return err
				}
				if err := c.Emit(row.Key+row.Value, n); err != nil {
					return err
				}
				n++
			}
			rows := int64(0)
			for _, err := range s.All() {
				if err != nil {
					return err
				}
				rows++
			}
			return c.Emit("rows", rows)
		}, err
	}
}

// Two processors of a sub-topology share a store, with its order.
func TestProcessorsShareAStore(t *testing.T) {
	topology := func(t *streams.Topology) {
		store := streams.NewKeyValueStore(t, "shared", serde.String, serde.String)
		streams.Process(streams.Stream(t, processIn), register(store), store)
		streams.Process(streams.Stream(t, serde.For("ask", serde.String, serde.String)), register(store), store).To(processOut)
	}
	require.NotContains(t, newApp(t, topology).Describe(), "Sub-topology: 1", "a shared store joins what uses it")
	d := streamstest.New(t, topology)
	in := streamstest.Input(d, processIn)
	for _, key := range []string{"z", "c", "x", "a", "d"} {
		in.Send(key, key)
	}
	in.Send("d", "")
	streamstest.Input(d, serde.For("ask", serde.String, serde.String)).Send("", "list")
	var got []string
	for _, r := range streamstest.Output(d, processOut).ReadAll() {
		got = append(got, fmt.Sprint(r.Key, r.Value))
	}
	require.Equal(t, []string{"xx0", "cc1", "rows4"}, got)
	require.Len(t, d.Records(streamstest.Application+"-shared-changelog"), 6, "a deletion of nothing is none")
}

// A processor has the stores that it was given, and a store has a processor.
func TestStoresThatProcessorsLack(t *testing.T) {
	_, err := streams.NewSimulation("app", func(t *streams.Topology) {
		store := streams.NewKeyValueStore(t, "s", serde.String, serde.String)
		other := streams.NewKeyValueStore(t, "other", serde.String, serde.String)
		in := streams.Stream(t, processIn)
		streams.Process(in, register(store)).Named("without").To(processOut)
		streams.Process(in, register(other), other, store)
	})
	require.ErrorIs(t, err, fault.InvalidRequest)
	require.ErrorContains(t, err, `without uses the store "s" without having been given it`)

	_, err = streams.NewSimulation("app", func(t *streams.Topology) {
		streams.NewKeyValueStore(t, "s", serde.String, serde.String)
		streams.Stream(t, processIn)
	})
	require.ErrorContains(t, err, `the store "s": no processor was given it`)

	_, err = streams.NewSimulation("app", func(t *streams.Topology) {
		store := streams.NewKeyValueStore[string, []string](t, "s", nil, nil)
		streams.Process(streams.Stream(t, processIn), func(*streams.ProcessorContext[string, string]) (streams.Processor[string, string], error) {
			return nil, nil
		}, store)
	})
	require.ErrorContains(t, err, "no serde for its values")
}

// choosy cannot write "bad".
type choosy struct{ serde.Serde[string] }

func (p choosy) Append(dst []byte, s string) ([]byte, error) {
	if s == "bad" {
		return nil, errors.New("it is bad")
	}
	return p.Serde.Append(dst, s)
}

// A value that cannot be written is an error of the record that put it, or of the
// commit, and the store keeps what it had.
func TestAProcessorPutsWhatCannotBeWritten(t *testing.T) {
	topology := func(t *streams.Topology) {
		store := streams.NewKeyValueStore[string, string](t, "s", serde.String, choosy{serde.String})
		streams.Process(streams.Stream(t, processIn), func(c *streams.ProcessorContext[string, int64]) (streams.Processor[string, string], error) {
			s, err := store.In(c)
			return func(r streams.Record[string, string]) error {
				_ = s.Put(r.Key, r.Value) // its error is dropped, and counts all the same
				return nil
			}, err
		}, store).Named("putter").To(processOut)
	}
	d := streamstest.New(t, topology)
	failed := new(streams.ProcessingError)
	require.ErrorAs(t, streamstest.Input(d, processIn).Try(streamstest.Record[string, string]{Key: "k", HasKey: true, Value: "bad", HasValue: true}), &failed)
	require.Equal(t, "putter", failed.Node)

	d = streamstest.New(t, topology, streams.OnError(streams.Skip()))
	in := streamstest.Input(d, processIn)
	in.Send("k", "good")
	in.Send("k", "bad")
	require.Equal(t, int64(1), d.ErrorCounts().Processing.Skipped)
	v, _, ok, err := streamstest.Store[string, string](d, "s").Get("k")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "good", v)
}

// What processors stored is there when the application starts again, and each task has
// its own part.
func TestProcessorsStoresAreRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := openMemory(t)
		defer broker.Close()
		create(t, broker, 3, "in", "out")
		run := func(options ...streams.Option) {
			app, err := streams.New(broker, "app", func(t *streams.Topology) {
				sums := streams.NewKeyValueStore(t, "sums", serde.String, serde.Int64)
				streams.Process(streams.Stream(t, processIn), func(c *streams.ProcessorContext[string, int64]) (streams.Processor[string, string], error) {
					s, err := sums.In(c)
					return func(r streams.Record[string, string]) error {
						n, _, err := s.Get(r.Key)
						return errors.Join(err, s.Put(r.Key, n+1), c.Emit(r.Key, n+1))
					}, err
				}, sums).To(processOut)
			}, append(options, fast)...)
			require.NoError(t, err)
			drain(t, app)
		}
		for round := range 4 {
			p, err := producer.New(broker)
			require.NoError(t, err)
			for i := range 100 {
				_, err := producer.To(p, processIn).Send(context.Background(), fmt.Sprint("key", i%10), "v")
				require.NoError(t, err)
			}
			require.NoError(t, p.Close())
			if round%2 == 0 {
				run(streams.Uncached())
			} else {
				run(streams.Threads(2))
			}
		}
		want := make(map[string]int64)
		for i := range 10 {
			want[fmt.Sprint("key", i)] = 40
		}
		require.Equal(t, want, table(t, broker, processOut))
	})
}
