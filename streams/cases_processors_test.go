package streams_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/streams"
)

func init() {
	operators["process"] = (*caseBuilder).process
	operators["process_values"] = (*caseBuilder).processValues
}

// caseProcessor is a processor of a case.
type caseProcessor struct {
	Name, Store string
	AddMs       int64 `json:"add_ms"`
	Key, Value  string
	Punctuate   []struct {
		Type     string
		Interval int64 `json:"interval_ms"`
	}
}

// caseEmitter is a context as the processors of the cases use it, whatever they may
// forward.
type caseEmitter struct {
	*streams.TaskContext
	streams.Context
	forward func(r streams.Record[datum, datum]) error
}

type (
	caseHandle = streams.Processor[datum, datum]
	caseStore  = *streams.TaskStore[datum, datum]
)

// caseProcessors starts each processor that a case may name.
var caseProcessors = map[string]func(p caseProcessor, c caseEmitter, s caseStore) caseHandle{
	"forward_twice": func(_ caseProcessor, c caseEmitter, _ caseStore) caseHandle {
		return func(r streams.Record[datum, datum]) error {
			if err := c.forward(r); err != nil {
				return err
			}
			r.Value = text(r.Value.String() + "'")
			return c.forward(r)
		}
	},
	"drop": func(caseProcessor, caseEmitter, caseStore) caseHandle {
		return func(streams.Record[datum, datum]) error { return nil }
	},
	"running_sum": func(_ caseProcessor, c caseEmitter, s caseStore) caseHandle {
		return func(r streams.Record[datum, datum]) error {
			sum, _, err := s.Get(r.Key)
			if err != nil {
				return err
			}
			r.Value = integer(sum.n + r.Value.n)
			if err := s.Put(r.Key, r.Value); err != nil {
				return err
			}
			return c.forward(r)
		}
	},
	"dedup": func(_ caseProcessor, c caseEmitter, s caseStore) caseHandle {
		return func(r streams.Record[datum, datum]) error {
			if _, seen, err := s.Get(r.Key); seen || err != nil {
				return err
			}
			if err := s.Put(r.Key, r.Value); err != nil {
				return err
			}
			return c.forward(r)
		}
	},
	"set_timestamp": func(p caseProcessor, c caseEmitter, _ caseStore) caseHandle {
		return func(r streams.Record[datum, datum]) error {
			r.At = r.At.Add(time.Duration(p.AddMs) * time.Millisecond)
			return c.forward(r)
		}
	},
	"add_header": func(p caseProcessor, c caseEmitter, _ caseStore) caseHandle {
		return func(r streams.Record[datum, datum]) error {
			r.Headers = append(slices.Clone(r.Headers), record.Header{Key: p.Key, Value: []byte(p.Value)})
			return c.forward(r)
		}
	},
	"metadata": func(_ caseProcessor, c caseEmitter, _ caseStore) caseHandle {
		return func(r streams.Record[datum, datum]) error {
			at, _ := c.Position()
			r.Value, r.HasValue = text(fmt.Sprintf("%s/%d/%d", at.Topic, at.Partition, at.Offset)), true
			return c.forward(r)
		}
	},
	"stream_time": func(_ caseProcessor, c caseEmitter, _ caseStore) caseHandle {
		return func(r streams.Record[datum, datum]) error {
			now, _ := c.StreamTime()
			r.Value, r.HasValue = integer(now.UnixMilli()), true
			return c.forward(r)
		}
	},
	"emit_all_on_punctuate": func(_ caseProcessor, _ caseEmitter, s caseStore) caseHandle {
		return func(r streams.Record[datum, datum]) error {
			n, _, err := s.Get(r.Key)
			if err != nil {
				return err
			}
			return s.Put(r.Key, integer(n.n+1))
		}
	},
}

// start starts the processor in a task.
func (p caseProcessor) start(c caseEmitter, store *streams.KeyValueStore[datum, datum]) (caseHandle, error) {
	var s caseStore
	if store != nil {
		var err error
		if s, err = store.In(c.Context); err != nil {
			return nil, err
		}
	}
	for _, every := range p.Punctuate {
		clock := map[string]streams.Clock{"stream_time": streams.StreamTime, "wall_clock": streams.WallClock}[every.Type]
		_, err := c.Schedule(time.Duration(every.Interval)*time.Millisecond, clock, func(now time.Time) error {
			if p.Name == "emit_all_on_punctuate" {
				return emitAll(c, s, now)
			}
			return c.forward(streams.Record[datum, datum]{Key: text(every.Type), Value: integer(now.UnixMilli()), HasKey: true, HasValue: true, At: now})
		})
		if err != nil {
			return nil, err
		}
	}
	return caseProcessors[p.Name](p, c, s), nil
}

// emitAll forwards what the store holds, in the order of the keys.
func emitAll(c caseEmitter, s caseStore, now time.Time) error {
	var rows []streams.Record[datum, datum]
	for row, err := range s.All() {
		if err != nil {
			return err
		}
		rows = append(rows, streams.Record[datum, datum]{Key: row.Key, Value: row.Value, HasKey: true, HasValue: true, At: now})
	}
	slices.SortFunc(rows, func(a, b streams.Record[datum, datum]) int { return caseKey{datum: a.Key}.compare(b.Key) })
	for _, r := range rows {
		if err := c.forward(r); err != nil {
			return err
		}
	}
	return nil
}

func (b *caseBuilder) processor(n caseNode) (p caseProcessor, store *streams.KeyValueStore[datum, datum], stores []streams.ProcessOption) {
	strictly(b, n.Processor, &p)
	require.Contains(b, caseProcessors, p.Name, "unknown processor")
	for _, every := range p.Punctuate {
		require.Contains(b, []string{"stream_time", "wall_clock"}, every.Type)
	}
	if p.Store == "" {
		return p, nil, nil
	}
	b.stores[p.Store], b.untimed[p.Store] = false, true
	store = streams.NewKeyValueStore(b.topology, p.Store, data{}, data{})
	return p, store, []streams.ProcessOption{store}
}

func (b *caseBuilder) process(n caseNode) any {
	p, store, stores := b.processor(n)
	return streams.Process(parent[dataStream](b, n), func(c *streams.ProcessorContext[datum, datum]) (caseHandle, error) {
		return p.start(caseEmitter{&c.TaskContext, c, c.Forward}, store)
	}, stores...).WithSerdes(data{}, data{})
}

func (b *caseBuilder) processValues(n caseNode) any {
	p, store, stores := b.processor(n)
	return streams.ProcessValues(parent[dataStream](b, n), func(c *streams.ValueContext[datum]) (caseHandle, error) {
		forward := func(r streams.Record[datum, datum]) error {
			return c.Forward(streams.Value[datum]{Value: r.Value, HasValue: r.HasValue, At: r.At, Headers: r.Headers})
		}
		return p.start(caseEmitter{&c.TaskContext, c, forward}, store)
	}, stores...).WithSerdes(nil, data{})
}

// extractor returns the options of a source that takes the time from what follows the
// last @ of the value.
func (b *caseBuilder) extractor(n caseNode) []streams.SourceOption[datum, datum] {
	var resolve func(ms int64, partition time.Time) (time.Time, bool)
	switch n.Extractor {
	case "":
		return nil
	case "value_after_at":
		resolve = func(ms int64, _ time.Time) (time.Time, bool) { return time.UnixMilli(ms), true }
	case "value_after_at_log_and_skip":
		resolve = func(ms int64, _ time.Time) (time.Time, bool) { return time.UnixMilli(ms), ms >= 0 }
	case "value_after_at_use_partition_time":
		resolve = func(ms int64, partition time.Time) (time.Time, bool) {
			if ms < 0 {
				return partition, !partition.IsZero()
			}
			return time.UnixMilli(ms), true
		}
	default:
		require.Fail(b, "unknown timestamp extractor", n.Extractor)
	}
	return []streams.SourceOption[datum, datum]{streams.EventTime(func(r streams.Incoming[datum, datum]) (time.Time, bool) {
		ms, err := strconv.ParseInt(r.Value.text[strings.LastIndexByte(r.Value.text, '@')+1:], 10, 64)
		if err != nil {
			panic(err)
		}
		return resolve(ms, r.PartitionTime)
	})}
}
