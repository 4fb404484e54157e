package streams_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/streams/streamstest"
)

// families is how many cases each family in testdata/cases has. toCome are the
// families whose operators do not exist yet: a file of theirs would fail.
var (
	families = map[string]int{"stateless": 6, "aggregate-kstream": 3}
	toCome   = []string{
		"aggregate-ktable", "cogroup", "join-stream-global", "join-stream-stream", "join-stream-table", "join-table-fk",
		"join-table-table", "ktable", "processor", "suppress", "time-and-errors", "window-session", "window-sliding", "window-time",
	}
)

// TestConformance feeds topologies written as data, in the semantics of Kafka
// Streams, and compares every record that comes out.
func TestConformance(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.json")
	require.NoError(t, err)
	ran := make(map[string]int)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		var suite struct {
			Schema, Family, Description string
			Cases                       []conformanceCase
		}
		strictly(t, raw, &suite)
		require.Equal(t, "streams-case/1", suite.Schema)
		require.NotContains(t, toCome, suite.Family, "add the family to families")
		ran[suite.Family] = len(suite.Cases)
		for _, c := range suite.Cases {
			t.Run(suite.Family+"/"+c.ID, c.run)
		}
	}
	require.Equal(t, families, ran)
}

func strictly(t *testing.T, raw []byte, into any) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(into))
}

type conformanceCase struct {
	ID, Title, Notes, Compare string
	Topology                  []caseNode
	OutputTopics              []string `json:"output_topics"`
	Steps                     []struct {
		In  caseRecord
		Out []caseRecord
	}
	FinalState map[string][]caseRow `json:"final_state"`
}

type caseNode struct {
	ID, Op, Topic, Store string
	Topics               []string
	From                 json.RawMessage
	Pred                 function
	Fn                   json.RawMessage
	Branches             []struct {
		ID   string
		Pred function
	}
	Default json.RawMessage
	Init    datum
	Adder   function
}

type function struct {
	Fn, Sep       string
	Mod, Eq, Than int64
}

type caseRecord struct {
	Topic      string
	Key, Value datum
	TS         int64
	Headers    [][2]string
}

type caseRow struct {
	Key, Value datum
	TS         int64
}

// datum is a key or a value of a case: text, an integer, or null.
type datum struct {
	kind byte // 0: null, 's': text, 'i': integer
	text string
	n    int64
}

func text(s string) datum   { return datum{kind: 's', text: s} }
func integer(n int64) datum { return datum{kind: 'i', n: n} }
func (d datum) null() bool  { return d.kind == 0 }
func (d datum) even() bool  { return d.kind == 'i' && d.n%2 == 0 }
func (d datum) String() string {
	switch d.kind {
	case 's':
		return d.text
	case 'i':
		return strconv.FormatInt(d.n, 10)
	}
	return "null"
}

func (d *datum) UnmarshalJSON(b []byte) error {
	switch {
	case string(b) == "null":
		*d = datum{}
		return nil
	case b[0] == '"':
		d.kind = 's'
		return json.Unmarshal(b, &d.text)
	}
	d.kind = 'i'
	return json.Unmarshal(b, &d.n)
}

// data is the serde of datum.
type data struct{}

var _ serde.NullableSerde[datum] = data{}

func (data) IsNull(d datum) bool { return d.null() }

func (data) Append(dst []byte, d datum) ([]byte, error) {
	if d.null() {
		return dst, errors.New("null has no bytes")
	}
	dst = append(dst, d.kind)
	if d.kind == 's' {
		return append(dst, d.text...), nil
	}
	return binary.BigEndian.AppendUint64(dst, uint64(d.n)), nil
}

func (data) Decode(b []byte) (datum, error) {
	switch {
	case len(b) > 0 && b[0] == 's':
		return text(string(b[1:])), nil
	case len(b) == 9 && b[0] == 'i':
		return integer(int64(binary.BigEndian.Uint64(b[1:]))), nil
	}
	return datum{}, fmt.Errorf("no datum: %q", b)
}

func caseTopic(name string) serde.Topic[datum, datum] {
	return serde.For[datum, datum](name, data{}, data{})
}

func (c conformanceCase) run(t *testing.T) {
	require.Equal(t, "exact", c.Compare)
	d := streamstest.New(t, func(topology *streams.Topology) { c.build(t, topology) })
	outputs := make(map[string]*streamstest.TestOutput[datum, datum])
	for _, name := range c.OutputTopics {
		outputs[name] = streamstest.Output(d, caseTopic(name))
	}
	for i, step := range c.Steps {
		in := step.In
		require.NoError(t, streamstest.Input(d, caseTopic(in.Topic)).Try(in.typed()))
		for _, name := range c.OutputTopics {
			var want []streamstest.Record[datum, datum]
			for _, r := range step.Out {
				if r.Topic == name {
					want = append(want, r.typed())
				}
			}
			require.Equal(t, want, outputs[name].ReadAll(), "%s after step %d", name, i)
		}
	}
	for name, want := range c.FinalState {
		require.Equal(t, want, c.rows(t, d, name), "the store %s", name)
	}
}

// rows returns what a store holds; counts are integers, whatever else the case
// has are data.
func (c conformanceCase) rows(t *testing.T, d *streamstest.Driver, store string) (rows []caseRow) {
	for _, n := range c.Topology {
		if n.Store == store && n.Op == "count" {
			for r, err := range streamstest.Store[datum, int64](d, store).All() {
				require.NoError(t, err)
				rows = append(rows, caseRow{r.Key, integer(r.Value), r.At.UnixMilli()})
			}
			return rows
		}
	}
	for r, err := range streamstest.Store[datum, datum](d, store).All() {
		require.NoError(t, err)
		rows = append(rows, caseRow{r.Key, r.Value, r.At.UnixMilli()})
	}
	return rows
}

func (r caseRecord) typed() streamstest.Record[datum, datum] {
	out := streamstest.Record[datum, datum]{
		Key: r.Key, HasKey: !r.Key.null(), Value: r.Value, HasValue: !r.Value.null(), At: time.UnixMilli(r.TS),
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, record.Header{Key: h[0], Value: []byte(h[1])})
	}
	return out
}

// build declares the case's topology with the public DSL.
func (c conformanceCase) build(t *testing.T, topology *streams.Topology) {
	kstreams := make(map[string]*streams.KStream[datum, datum])
	grouped := make(map[string]*streams.KGroupedStream[datum, datum])
	counts := make(map[string]*streams.KTable[datum, int64])
	tables := make(map[string]*streams.KTable[datum, datum])
	for _, n := range c.Topology {
		n := n
		from := func() *streams.KStream[datum, datum] {
			s, ok := kstreams[n.parent(t)]
			require.True(t, ok, "no stream %s", n.From)
			return s
		}
		group := func() streams.Grouped[datum, datum] {
			g, ok := grouped[n.parent(t)]
			require.True(t, ok, "no grouped stream %s", n.From)
			return g
		}
		switch n.Op {
		case "stream":
			s := streams.Stream(topology, caseTopic(n.Topics[0]))
			for _, more := range n.Topics[1:] {
				s = s.Merge(streams.Stream(topology, caseTopic(more)))
			}
			kstreams[n.ID] = s
		case "filter":
			kstreams[n.ID] = from().Filter(n.Pred.predicate(t))
		case "map":
			var f struct{ Key, Value function }
			strictly(t, n.Fn, &f)
			key, value := f.Key.of(t), f.Value.of(t)
			kstreams[n.ID] = streams.Map(from(), func(k, v datum) (datum, datum) { return key(k, v), value(k, v) }).WithSerdes(data{}, data{})
		case "flat_map":
			require.Equal(t, "number_keys", n.fn(t).Fn)
			kstreams[n.ID] = streams.FlatMap(from(), func(k, v datum) (out []streams.KeyValue[datum, datum]) {
				for i := range k.n {
					out = append(out, streams.KeyValue[datum, datum]{Key: integer(10*k.n + i), Value: v})
				}
				return out
			}).WithSerdes(data{}, data{})
		case "map_values":
			f := n.fn(t).of(t)
			kstreams[n.ID] = streams.MapValues(from(), func(v datum) datum { return f(datum{}, v) }, streams.ValueSerde[datum](data{}))
		case "flat_map_values":
			kstreams[n.ID] = streams.FlatMapValues(from(), n.fn(t).splitter(t), streams.ValueSerde[datum](data{}))
		case "merge":
			var parents []string
			strictly(t, n.From, &parents)
			s := kstreams[parents[0]]
			for _, p := range parents[1:] {
				s = s.Merge(kstreams[p])
			}
			kstreams[n.ID] = s
		case "split":
			split := from().Split()
			for _, b := range n.Branches {
				kstreams[b.ID] = split.Branch(b.Pred.predicate(t))
			}
			require.Equal(t, "null", string(n.Default))
		case "group_by_key":
			grouped[n.ID] = from().GroupByKey()
		case "group_by":
			grouped[n.ID] = streams.GroupBy(from(), n.fn(t).of(t), streams.KeySerde[datum](data{}))
		case "count":
			counts[n.ID] = streams.Count(group(), n.Store)
		case "aggregate":
			require.Equal(t, "append", n.Adder.Fn)
			tables[n.ID] = streams.Aggregate(group(), n.Store,
				func() datum { return n.Init },
				func(_, v, a datum) datum { return text(a.String() + n.Adder.Sep + v.String()) },
				streams.ValueSerde[datum](data{}))
		case "to_stream":
			if table, ok := tables[n.parent(t)]; ok {
				kstreams[n.ID] = table.ToStream()
				continue
			}
			kstreams[n.ID] = streams.MapValues(counts[n.parent(t)].ToStream(), integer, streams.ValueSerde[datum](data{}))
		case "to":
			from().To(caseTopic(n.Topic))
		default:
			require.Fail(t, "unknown operator", n.Op)
		}
	}
}

func (n caseNode) parent(t *testing.T) (id string) {
	strictly(t, n.From, &id)
	return id
}

func (n caseNode) fn(t *testing.T) (f function) {
	strictly(t, n.Fn, &f)
	return f
}

func (f function) of(t *testing.T) func(k, v datum) datum {
	switch f.Fn {
	case "value":
		return func(_, v datum) datum { return v }
	case "key":
		return func(k, _ datum) datum { return k }
	case "upper":
		return func(_, v datum) datum { return text(strings.ToUpper(v.text)) }
	}
	require.Fail(t, "unknown function", f.Fn)
	return nil
}

func (f function) predicate(t *testing.T) func(k, v datum) bool {
	switch f.Fn {
	case "key_mod":
		return func(k, _ datum) bool { return k.n%f.Mod == f.Eq }
	case "value_even":
		return func(_, v datum) bool { return v.even() }
	case "value_gt":
		return func(_, v datum) bool { return !v.null() && v.n > f.Than }
	}
	require.Fail(t, "unknown predicate", f.Fn)
	return nil
}

var nonWord = regexp.MustCompile(`\W+`)

func (f function) splitter(t *testing.T) func(v datum) []datum {
	split := func(s string) []string { return strings.Split(s, f.Sep) }
	switch f.Fn {
	case "split":
	case "split_lower_words":
		split = func(s string) []string { return nonWord.Split(strings.ToLower(s), -1) }
	default:
		require.Fail(t, "unknown function", f.Fn)
	}
	return func(v datum) (out []datum) {
		for _, s := range split(v.text) {
			if s != "" {
				out = append(out, text(s))
			}
		}
		return out
	}
}
