package streams_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/streams/streamstest"
)

var casesDir = flag.String("cases", "", "run the conformance cases of this folder instead of those in testdata/cases")

// families is how many cases each family in testdata/cases has. toCome are the
// families whose operators do not exist yet: a file of theirs would fail.
var (
	families = map[string]int{"stateless": 6, "aggregate-kstream": 3, "aggregate-ktable": 5, "ktable": 5, "processor": 4, "join-table-fk": 4, "join-stream-global": 2}
	toCome   = []string{
		"cogroup", "join-stream-stream", "join-stream-table",
		"join-table-table", "suppress", "time-and-errors", "window-session", "window-sliding", "window-time",
	}
)

// TestConformance feeds topologies written as data, in the semantics of Kafka
// Streams, and compares every record that comes out.
func TestConformance(t *testing.T) {
	dir := "testdata/cases"
	if *casesDir != "" {
		dir = *casesDir
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
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
		ran[suite.Family] = len(suite.Cases)
		for _, c := range suite.Cases {
			t.Run(suite.Family+"/"+c.ID, c.run)
		}
	}
	if *casesDir == "" {
		require.Equal(t, families, ran)
		for _, family := range toCome {
			require.NotContains(t, families, family)
		}
	}
}

func strictly(t require.TestingT, raw []byte, into any) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(into), "%s", raw)
}

type conformanceCase struct {
	ID, Title, Notes, Compare string
	Config                    map[string]string
	Topology                  []caseNode
	OutputTopics              []string `json:"output_topics"`
	Steps                     []caseStep
	FinalState                map[string][]caseRow `json:"final_state"`
}

// caseStep is a record or a move of the clock, and what it must produce.
type caseStep struct {
	In      *caseRecord
	Advance int64 `json:"advance_wall_clock_ms"`
	Error   bool
	Out     []caseRecord
}

type caseRecord struct {
	Topic   string
	Key     caseKey
	Value   datum
	TS      int64
	Headers [][2]string
	Corrupt bool `json:"corrupt_value"`
}

type caseRow struct {
	Key   caseKey
	Value datum
	TS    int64
}

func caseTopic(name string) serde.Topic[datum, datum] {
	return serde.For[datum, datum](name, data{}, data{})
}

// caseOutput is what a case observes of a topic: keyed and read as data.
type caseOutput struct {
	topic    string
	out      *streamstest.TestOutput[datum, datum]
	got      []caseRecord // all so far
	expected []caseRecord
}

func (c conformanceCase) run(t *testing.T) {
	require.Contains(t, []string{"exact", "unordered", "table_state"}, c.Compare)
	build := &caseBuilder{T: t, stores: make(map[string]bool), untimed: make(map[string]bool)}
	d := streamstest.New(t, func(topology *streams.Topology) { build.declare(topology, c.Topology) }, c.options(t)...)
	var outputs []*caseOutput
	for _, name := range c.OutputTopics {
		outputs = append(outputs, &caseOutput{topic: name, out: streamstest.Output(d, caseTopic(name))})
	}
	for i, step := range c.Steps {
		err := step.take(d)
		if step.Error {
			require.Error(t, err, "step %d", i)
			return
		}
		require.NoError(t, err, "step %d", i)
		for _, o := range outputs {
			o.compare(t, c.Compare, i, step.Out)
		}
	}
	for name, want := range c.FinalState {
		require.Equal(t, want, build.rows(d, name), "the store %s", name)
	}
}

func (c conformanceCase) options(t *testing.T) (options []streams.Option) {
	for name, value := range c.Config {
		require.Equal(t, "continue", value, "the value of %s", name)
		switch name {
		case "processing_exception_handler":
			options = append(options, streams.OnProcessingError(streams.Skip()))
		case "deserialization_exception_handler":
			options = append(options, streams.OnDeserializationError(streams.Skip()))
		default:
			require.Fail(t, "unknown configuration", name)
		}
	}
	return options
}

// take sends the step's record, or moves the clock.
func (s caseStep) take(d *streamstest.Driver) error {
	if s.In == nil {
		return d.Advance(time.Duration(s.Advance) * time.Millisecond)
	}
	r := record.Record{Topic: s.In.Topic, Timestamp: time.UnixMilli(s.In.TS), Key: s.In.Key.bytes(), Value: s.In.Value.bytes()}
	if s.In.Corrupt {
		r.Value = []byte("corrupt")
	}
	for _, h := range s.In.Headers {
		r.Headers = append(r.Headers, record.Header{Key: h[0], Value: []byte(h[1])})
	}
	return d.Send(r)
}

// compare reads what is new in the topic, and compares it with what step i must
// produce.
func (o *caseOutput) compare(t *testing.T, how string, i int, out []caseRecord) {
	want := []caseRecord{}
	for _, r := range out {
		if r.Topic == o.topic {
			want = append(want, r)
		}
	}
	got := []caseRecord{}
	for _, r := range o.out.ReadAll() {
		c := caseRecord{Topic: o.topic, Key: caseKey{datum: r.Key}, Value: r.Value, TS: r.At.UnixMilli()}
		for _, h := range r.Headers {
			c.Headers = append(c.Headers, [2]string{h.Key, string(h.Value)})
		}
		got = append(got, c)
	}
	o.got, o.expected = append(o.got, got...), append(o.expected, want...)
	switch how {
	case "exact":
		require.Equal(t, want, got, "%s after step %d", o.topic, i)
	case "unordered":
		require.ElementsMatch(t, want, got, "%s after step %d", o.topic, i)
	case "table_state":
		require.Equal(t, caseTable(o.expected), caseTable(o.got), "the table of %s after step %d", o.topic, i)
	}
}

// caseTable reads records as a table's changelog.
func caseTable(all []caseRecord) map[caseKey]caseRow {
	rows := make(map[caseKey]caseRow)
	for _, r := range all {
		if r.Value.null() {
			delete(rows, r.Key)
			continue
		}
		rows[r.Key] = caseRow{r.Key, r.Value, r.TS}
	}
	return rows
}

// rows returns what a store holds, by key.
func (b *caseBuilder) rows(d *streamstest.Driver, store string) []caseRow {
	var rows []caseRow
	if counts := b.stores[store]; counts {
		for r, err := range streamstest.Store[datum, int64](d, store).All() {
			require.NoError(b, err)
			rows = append(rows, caseRow{caseKey{datum: r.Key}, integer(r.Value), r.At.UnixMilli()})
		}
	} else {
		for r, err := range streamstest.Store[datum, datum](d, store).All() {
			require.NoError(b, err)
			rows = append(rows, caseRow{caseKey{datum: r.Key}, r.Value, r.At.UnixMilli()})
		}
	}
	for i := range rows {
		if b.untimed[store] {
			rows[i].TS = 0
		}
	}
	slices.SortStableFunc(rows, func(a, b caseRow) int { return a.Key.compare(b.Key.datum) })
	return rows
}
