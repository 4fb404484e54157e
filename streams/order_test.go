package streams_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
)

// seen collects what a topology over the topics a and b processes.
type seen struct {
	mu     sync.Mutex
	values []string
}

func (s *seen) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.values)
}

func (s *seen) topology(t *streams.Topology) {
	a := streams.Stream(t, serde.For("a", serde.String, serde.String))
	a.Merge(streams.Stream(t, serde.For("b", serde.String, serde.String))).ForEach(func(_, value string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.values = append(s.values, value)
	})
}

// writeAt writes records to a topic, one for each of times, in milliseconds.
func writeAt(t require.TestingT, b streams.Backend, topic string, times ...int64) {
	p, err := producer.New(b)
	require.NoError(t, err)
	for _, ms := range times {
		p.SendAsync(context.Background(), record.Record{Topic: topic, Value: fmt.Append(nil, topic, ms), Timestamp: time.UnixMilli(ms)}, nil)
	}
	require.NoError(t, p.Flush(context.Background()))
	require.NoError(t, p.Close())
}

// A task that reads several topics processes what they hold in the order of the
// timestamps, however unevenly they are spread, and however often it is stopped.
func TestTopicsAreReadInTheOrderOfTime(t *testing.T) {
	const records = 20_000
	synctest.Test(t, func(t *testing.T) {
		broker := openMemory(t)
		defer broker.Close()
		create(t, broker, 1, "a", "b")
		var a, b []int64
		var want []string
		for ms := range int64(records) {
			// Stretches of thousands of records of one topic fill its queue.
			if ms/3000%2 == 0 && ms%7 != 0 {
				a, want = append(a, ms), append(want, fmt.Sprint("a", ms))
			} else {
				b, want = append(b, ms), append(want, fmt.Sprint("b", ms))
			}
		}
		writeAt(t, broker, "a", a...)
		writeAt(t, broker, "b", b...)

		one := new(seen)
		app, err := streams.New(broker, "once", one.topology)
		require.NoError(t, err)
		drain(t, app)
		require.Equal(t, want, one.all())

		// What was not processed when it stopped is processed next time.
		stopped := new(seen)
		for len(stopped.all()) < records {
			ctx, cancel := context.WithCancel(context.Background())
			more := len(stopped.all()) + 1500
			app, err := streams.New(broker, "stopped", func(t *streams.Topology) {
				a := streams.Stream(t, serde.For("a", serde.String, serde.String))
				a.Merge(streams.Stream(t, serde.For("b", serde.String, serde.String))).ForEach(func(_, value string) {
					stopped.mu.Lock()
					defer stopped.mu.Unlock()
					stopped.values = append(stopped.values, value)
					if len(stopped.values) == min(more, records) {
						cancel()
					}
				})
			})
			require.NoError(t, err)
			require.NoError(t, app.Run(ctx))
		}
		require.Equal(t, want, stopped.all())
	})
}

// A topic without records holds nothing up; nor does one whose records were deleted.
func TestAnEmptyTopicHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := openMemory(t)
		defer broker.Close()
		create(t, broker, 1, "a", "b")
		writeAt(t, broker, "b", 1, 2, 3)
		_, err := broker.DeleteRecords(context.Background(), map[record.TopicPartition]int64{{Topic: "b"}: 3})
		require.NoError(t, err)
		writeAt(t, broker, "a", 5, 4)
		got := new(seen)
		app, err := streams.New(broker, "app", got.topology)
		require.NoError(t, err)
		drain(t, app)
		require.Equal(t, []string{"a5", "a4"}, got.all())
	})
}

// With TaskIdle, a task waits that long for records of a topic that it has read to
// its end; a negative one does not even wait for what is there.
func TestTaskIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := openMemory(t)
		defer broker.Close()
		create(t, broker, 1, "a", "b")
		got := new(seen)
		app, err := streams.New(broker, "app", got.topology, streams.TaskIdle(time.Second))
		require.NoError(t, err)
		stop := start(app)
		writeAt(t, broker, "a", 10, 20)
		time.Sleep(900 * time.Millisecond)
		require.Empty(t, got.all())
		writeAt(t, broker, "b", 15)
		time.Sleep(time.Millisecond)
		require.Equal(t, []string{"a10", "b15"}, got.all(), "a20 may still come after another record of b")
		time.Sleep(1100 * time.Millisecond)
		require.Equal(t, []string{"a10", "b15", "a20"}, got.all())
		writeAt(t, broker, "b", 12) // a is idle, and has been waited for
		time.Sleep(1100 * time.Millisecond)
		require.Equal(t, "b12", got.all()[3])
		require.NoError(t, stop())

		impatient := new(seen)
		app, err = streams.New(broker, "impatient", impatient.topology, streams.TaskIdle(-1))
		require.NoError(t, err)
		drain(t, app)
		require.Len(t, impatient.all(), 4)
	})
}

// A record that fails is named, also if others wait in queues.
func TestARecordFromAQueueFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := openMemory(t)
		defer broker.Close()
		create(t, broker, 1, "a", "b")
		writeAt(t, broker, "a", 1, 4)
		writeAt(t, broker, "b", 2, 3, 5)
		app, err := streams.New(broker, "app", func(t *streams.Topology) {
			a := streams.Stream(t, serde.For("a", serde.String, serde.String))
			a.Merge(streams.Stream(t, serde.For("b", serde.String, serde.String))).ForEach(func(_, value string) {
				if value == "b3" {
					panic("no")
				}
			})
		})
		require.NoError(t, err)
		failed := new(streams.ProcessingError)
		require.ErrorAs(t, app.Run(context.Background()), &failed)
		require.Equal(t, record.Position{Topic: "b", Offset: 1}, failed.At)
		require.NotErrorIs(t, failed, fault.InvalidRequest)
	})
}
