package streams_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/streams/streamstest"
	"github.com/runnel-go/runnel/topic"
)

// order is the JSON content of the records of the topic orders.
type order struct{ Item, Note string }

var (
	orders  = serde.For("orders", serde.String, serde.JSON[order]())
	shipped = serde.For("shipped", serde.String, picky)
	dead    = serde.For("dead", serde.Bytes, serde.Bytes)
)

// picky is text, except that it fails for "unwritable" and panics for
// "dreadful".
var picky = serde.Func(func(dst []byte, s string) ([]byte, error) {
	switch s {
	case "unwritable":
		return dst, errors.New("cannot be written")
	case "dreadful":
		panic("dreadful")
	}
	return append(dst, s...), nil
}, serde.String.Decode)

// ship forwards each word of an order's note. It panics at "boom".
func ship(t *streams.Topology) {
	words := streams.FlatMapValues(streams.Stream(t, orders), func(o order) []string { return strings.Fields(o.Note) }).Named("words")
	streams.MapValues(words, func(word string) string {
		if word == "boom" {
			panic(errors.New("it went boom"))
		}
		return word
	}, streams.ValueSerde(picky)).Named("check").To(shipped)
}

func sendRaw(d *streamstest.Driver, value string) error {
	return d.Send(record.Record{Topic: "orders", Key: []byte("k"), Value: []byte(value)})
}

// A record that cannot be processed stops neither the records after it nor its
// own other results, in whichever phase it fails.
func TestWhatCannotBeProcessedIsSkipped(t *testing.T) {
	for _, c := range []struct {
		bad    string
		phase  func(streams.Handler) streams.Option
		counts func(streams.ErrorCounts) streams.ErrorCount
	}{
		{`not json`, streams.OnDeserializationError, func(c streams.ErrorCounts) streams.ErrorCount { return c.Deserialization }},
		{`{"Note":"one boom two"}`, streams.OnProcessingError, func(c streams.ErrorCounts) streams.ErrorCount { return c.Processing }},
		{`{"Note":"one unwritable two"}`, streams.OnProductionError, func(c streams.ErrorCounts) streams.ErrorCount { return c.Production }},
		{`{"Note":"one dreadful two"}`, streams.OnProductionError, func(c streams.ErrorCounts) streams.ErrorCount { return c.Production }},
	} {
		t.Run(c.bad, func(t *testing.T) {
			d := streamstest.New(t, ship, c.phase(streams.Skip()))
			require.NoError(t, sendRaw(d, c.bad))
			require.NoError(t, sendRaw(d, `{"Note":"three"}`))
			var got []string
			for _, r := range streamstest.Output(d, shipped).ReadAll() {
				got = append(got, r.Value)
			}
			want := []string{"one", "two", "three"}
			if c.bad == "not json" {
				want = want[2:]
			}
			require.Equal(t, want, got)
			require.Equal(t, streams.ErrorCount{Skipped: 1}, c.counts(d.ErrorCounts()))

			others := streamstest.New(t, ship)
			var failed *streams.ProcessingError
			require.ErrorAs(t, sendRaw(others, c.bad), &failed, "by default it fails")
		})
	}
}

// The error of an application that has stopped says which record and node it is
// about, and what to do.
func TestAnErrorSaysWhereItHappenedAndWhatToDo(t *testing.T) {
	for bad, want := range map[string][]string{
		`not json`:              {"KSTREAM-SOURCE-", "OnDeserializationError(", "the value"},
		`{"Note":"boom"}`:       {"check", "OnProcessingError(", "it went boom"},
		`{"Note":"unwritable"}`: {"KSTREAM-SINK-", "OnProductionError(", "cannot be written"},
		`{"Note":"dreadful"}`:   {"KSTREAM-SINK-", "OnProductionError(", "dreadful"},
	} {
		d := streamstest.New(t, ship)
		require.NoError(t, sendRaw(d, `{"Note":"good"}`))
		err := sendRaw(d, bad)
		for _, word := range append(want, "orders-0@1", "0_0", "DeadLetter(") {
			require.ErrorContains(t, err, word, bad)
		}
		var at *streams.ProcessingError
		require.ErrorAs(t, err, &at)
		require.Equal(t, bad, string(at.Raw.Value))
	}
}

func headersOf(r streamstest.Record[[]byte, []byte]) map[string]string {
	headers := make(map[string]string)
	for _, h := range r.Headers {
		headers[h.Key] += string(h.Value)
	}
	return headers
}

// A dead letter is the record as it was read, with its origin and the reason in
// the headers that Kafka Streams writes. It may be read again, and fail again.
func TestADeadLetterIsTheRecordAndItsStory(t *testing.T) {
	d := streamstest.New(t, ship, streams.OnError(streams.DeadLetter("dead")))
	require.NoError(t, sendRaw(d, `{"Note":"good"}`))
	bad := record.Record{
		Topic: "orders", Key: []byte("k"), Value: []byte("not json"), Timestamp: time.UnixMilli(77),
		Headers: []record.Header{{Key: "trace", Value: []byte("17")}},
	}
	require.NoError(t, d.Send(bad))
	require.NoError(t, sendRaw(d, `{"Note":"one boom two"}`))

	letters := streamstest.Output(d, dead).ReadAll()
	require.Len(t, letters, 2)
	require.Equal(t, "not json", string(letters[0].Value))
	require.Equal(t, "k", string(letters[0].Key))
	require.Equal(t, time.UnixMilli(77), letters[0].At)
	story := headersOf(letters[0])
	require.Equal(t, "17", story["trace"])
	require.Equal(t, "orders", story[streams.HeaderTopic])
	require.Equal(t, "0", story[streams.HeaderPartition])
	require.Equal(t, "1", story[streams.HeaderOffset])
	require.Equal(t, "0_0", story[streams.HeaderTask])
	require.Equal(t, "KSTREAM-SOURCE-0000000000", story[streams.HeaderNode])
	require.Contains(t, story[streams.HeaderException], "*json.SyntaxError: ")
	require.Contains(t, story[streams.HeaderMessage], "the value")

	require.Equal(t, `{"Note":"one boom two"}`, string(letters[1].Value), "the input, not what it had become")
	story = headersOf(letters[1])
	require.Equal(t, "*errors.errorString: it went boom", story[streams.HeaderException])
	require.Contains(t, story[streams.HeaderStacktrace], "handler_test.go")
	require.Equal(t, "check", story[streams.HeaderNode])

	bad.Headers = d.Records("dead")[0].Headers
	require.NoError(t, d.Send(bad))
	again := d.Records("dead")[2]
	require.Len(t, again.Headers, len(bad.Headers), "it tells about one failure")
	require.Equal(t, "3", headersOf(streamstest.Record[[]byte, []byte]{Headers: again.Headers})[streams.HeaderOffset])
	require.Equal(t, streams.ErrorCounts{
		Deserialization: streams.ErrorCount{DeadLettered: 2}, Processing: streams.ErrorCount{DeadLettered: 1},
	}, d.ErrorCounts())
}

func TestATimestampBeforeTheEpochIsABadRecord(t *testing.T) {
	d := streamstest.New(t, ship, streams.OnDeserializationError(streams.DeadLetter("dead")))
	require.NoError(t, d.Send(record.Record{Topic: "orders", Value: []byte(`{}`), Timestamp: time.UnixMilli(-1)}))
	letters := d.Records("dead")
	require.Len(t, letters, 1)
	require.Equal(t, `{}`, string(letters[0].Value))
	require.False(t, letters[0].Timestamp.Before(time.UnixMilli(0)))
}

// The program may look at the error first. A failure while it does ends the
// application.
func TestTheProgramDecides(t *testing.T) {
	decide := streams.OnError(streams.Decide(func(e *streams.ProcessingError) streams.Handler {
		switch {
		case e.Phase == streams.Deserialization && string(e.Raw.Value) == "not json":
			return streams.Skip()
		case e.Phase == streams.Production:
			return streams.DeadLetter("dead")
		case strings.Contains(string(e.Raw.Value), "again"):
			return streams.Decide(nil)
		case strings.Contains(string(e.Raw.Value), "worse"):
			panic("the handler failed")
		}
		return streams.Fail()
	}))
	d := streamstest.New(t, ship, decide)
	require.NoError(t, sendRaw(d, "not json"))
	require.NoError(t, sendRaw(d, `{"Note":"unwritable"}`))
	require.Len(t, d.Records("dead"), 1)
	require.Equal(t, streams.ErrorCounts{
		Deserialization: streams.ErrorCount{Skipped: 1}, Production: streams.ErrorCount{DeadLettered: 1},
	}, d.ErrorCounts())
	for note, want := range map[string]string{"boom": "it went boom", "again boom": "returned another", "worse boom": "the handler failed"} {
		d := streamstest.New(t, ship, decide)
		err := sendRaw(d, `{"Note":"`+note+`"}`)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "orders-0@0")
	}
}

func TestHandlersThatCannotWorkAreMistakes(t *testing.T) {
	for _, h := range []streams.Handler{streams.DeadLetter("orders"), streams.DeadLetter("not a name"), streams.Decide(nil)} {
		_, err := streams.NewSimulation("app", ship, streams.OnProcessingError(h))
		require.ErrorIs(t, err, fault.InvalidConfig)
	}
	broker := closed(t, openMemory(t))
	create(t, broker, 1, "orders", "shipped")
	app, err := streams.New(broker, "app", ship, streams.OnError(streams.DeadLetter("dead")))
	require.NoError(t, err)
	err = app.Run(context.Background())
	require.ErrorIs(t, err, fault.UnknownTopic)
	require.ErrorContains(t, err, "dead")
}

func sendOrders(t *testing.T, b streams.Backend, values ...string) {
	p, err := producer.New(b)
	require.NoError(t, err)
	for _, v := range values {
		p.SendAsync(context.Background(), record.Record{Topic: "orders", Key: []byte("k"), Value: []byte(v)}, nil)
	}
	require.NoError(t, p.Flush(context.Background()))
	require.NoError(t, p.Close())
}

// One bad record does not end an application: it is logged and counted, and the
// records after it are processed.
func TestAnApplicationGoesOnBehindABadRecord(t *testing.T) {
	broker := closed(t, openMemory(t))
	create(t, broker, 1, "orders", "shipped", "dead")
	var log bytes.Buffer
	app, err := streams.New(broker, "app", ship, fast, streams.Threads(1), streams.OnError(streams.DeadLetter("dead")),
		streams.OnProcessingError(streams.Skip()), streams.Logger(slog.New(slog.NewTextHandler(&log, nil))))
	require.NoError(t, err)
	sendOrders(t, broker, `{"Note":"a"}`, `not json`, `{"Note":"boom b"}`)
	drain(t, app)
	require.Len(t, readAll(t, broker, shipped), 2)
	letters := readAll(t, broker, dead)
	require.Len(t, letters, 1)
	require.Equal(t, "not json", string(letters[0].Value))
	require.Equal(t, streams.ErrorCounts{
		Deserialization: streams.ErrorCount{DeadLettered: 1}, Processing: streams.ErrorCount{Skipped: 1},
	}, app.ErrorCounts())
	for _, want := range []string{
		`level=WARN msg="record dead-lettered" application=app phase=deserialization`, "to=dead",
		`msg="record skipped" application=app phase=processing node=check task=0_0 topic=orders partition=0 offset=2`,
	} {
		require.Contains(t, log.String(), want)
	}
}

// The offset of a record is committed only when its dead letter is safe.
func TestADeadLetterIsAcknowledgedBeforeItsOffsetIsCommitted(t *testing.T) {
	broker := &slippery{closed(t, openMemory(t)), make(chan struct{}), make(chan map[record.TopicPartition]consumer.Offset, 100)}
	create(t, broker, 1, "orders", "shipped", "dead")
	open := func(b streams.Backend) *streams.App {
		app, err := streams.New(b, "app", ship, fast, streams.OnError(streams.DeadLetter("dead")))
		require.NoError(t, err)
		return app
	}
	close(broker.slip)
	sendOrders(t, broker.Broker, `not json`)
	require.ErrorIs(t, open(broker).Run(context.Background()), errSlip)
	require.Empty(t, broker.commits)
	drain(t, open(broker.Broker))
	require.NotEmpty(t, readAll(t, broker, dead))
}

// A result that its topic refuses is dead-lettered as it was sent, and then its
// offset is committed. A dead letter that is refused ends the application.
func TestAResultThatItsTopicRefuses(t *testing.T) {
	broker := closed(t, openMemory(t))
	create(t, broker, 1, "orders", "dead")
	small := topic.Config{MaxMessageBytes: 300}
	require.NoError(t, broker.CreateTopics(context.Background(), topic.Spec{Name: "shipped", Partitions: 1, Config: small}))
	large := strings.Repeat("x", 400)
	sendOrders(t, broker, `{"Note":"a `+large+` b"}`)

	app, err := streams.New(broker, "app", ship, fast)
	require.NoError(t, err)
	require.ErrorIs(t, app.Run(context.Background()), fault.RecordTooLarge, "by default it fails")

	app, err = streams.New(broker, "app", ship, fast, streams.OnProductionError(streams.DeadLetter("dead")))
	require.NoError(t, err)
	drain(t, app)
	var got []string
	for _, r := range readAll(t, broker, shipped) {
		got = append(got, r.Value)
	}
	require.Subset(t, got, []string{"a", "b"})
	require.NotContains(t, got, large)
	letters := readAll(t, broker, dead)
	require.Len(t, letters, 1)
	require.Equal(t, large, string(letters[0].Value))
	require.Equal(t, "k", string(letters[0].Key))
	headers := make(map[string]string)
	for _, h := range letters[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	require.Equal(t, "shipped", headers[streams.HeaderTopic])
	require.Equal(t, "-1", headers[streams.HeaderOffset])
	require.Contains(t, headers[streams.HeaderNode], "KSTREAM-SINK-")
	require.Equal(t, int64(1), app.ErrorCounts().Production.DeadLettered)

	require.NoError(t, broker.ConfigureTopic(context.Background(), "dead", small))
	sendOrders(t, broker, `{"Note":"`+large+`"}`)
	again, err := streams.New(broker, "app", ship, fast, streams.OnProductionError(streams.DeadLetter("dead")))
	require.NoError(t, err)
	require.ErrorIs(t, again.Run(context.Background()), fault.RecordTooLarge)
}

// A function that ends its goroutine ends the application with an error,
// however many threads there are, and whatever the handlers are.
func TestAFunctionThatExitsFailsTheApplication(t *testing.T) {
	broker := closed(t, openMemory(t))
	create(t, broker, 3, "lines", "totals")
	exit := true
	app, err := streams.New(broker, "app", func(t *streams.Topology) {
		checked := streams.Stream(t, lines).Peek(func(_, line string) {
			if exit && line == "exit" {
				runtime.Goexit()
			}
		}).Named("check")
		streams.Count(streams.SelectKey(checked, func(_, line string) string { return line }).GroupByKey(), "counts").ToStream().To(totals)
	}, fast, streams.Threads(3), streams.OnError(streams.Skip()))
	require.NoError(t, err)
	send(t, broker, "a", "b", "exit", "c")
	err = app.Run(context.Background())
	require.ErrorContains(t, err, "Goexit")
	var at *streams.ProcessingError
	require.ErrorAs(t, err, &at)
	require.Equal(t, "check", at.Node)
	require.Equal(t, "exit", string(at.Raw.Value))
	require.Equal(t, streams.Failed, app.State())
	exit = false
	drain(t, app)
	require.Equal(t, int64(1), table(t, broker, totals)["exit"])
}

func TestASerdeThatExitsDuringRestoreFailsTheApplication(t *testing.T) {
	broker := closed(t, openMemory(t))
	create(t, broker, 1, "lines", "totals")
	exit := false
	exits := serde.Func(serde.Int64.Append, func(b []byte) (int64, error) {
		if exit {
			runtime.Goexit()
		}
		return serde.Int64.Decode(b)
	})
	app, err := streams.New(broker, "app", func(t *streams.Topology) {
		byLine := streams.GroupBy(streams.Stream(t, lines), func(_, line string) string { return line })
		sum := streams.Aggregate(byLine, "sum", func() int64 { return 0 },
			func(_, _ string, n int64) int64 { return n + 1 }, streams.ValueSerde(exits))
		sum.ToStream().To(totals)
	}, fast)
	require.NoError(t, err)
	send(t, broker, "a")
	drain(t, app)
	exit = true
	err = app.Run(context.Background())
	require.ErrorContains(t, err, "Goexit")
	require.ErrorContains(t, err, "restore the store sum")
}

// ratios is a topology whose aggregates cannot be written as JSON after a 0,
// and which panics in the serde after a 13.
func ratios(t *streams.Topology) {
	json := serde.JSON[float64]()
	written := serde.Func(func(dst []byte, f float64) ([]byte, error) {
		if f == 13 {
			panic("thirteen")
		}
		return json.Append(dst, f)
	}, json.Decode)
	byKey := streams.Stream(t, totals).GroupByKey()
	last := streams.Aggregate(byKey, "last", func() float64 { return 1 }, func(_ string, n int64, _ float64) float64 {
		if n == 0 {
			return 1 / float64(n)
		}
		return float64(n)
	}, streams.ValueSerde(written))
	last.ToStream().To(serde.For("out", serde.String, written))
}

// An update of a store that cannot be written is undone: the store continues
// with its previous value, cached or not.
func TestAnUpdateThatCannotBeWrittenIsTakenBack(t *testing.T) {
	broker := closed(t, openMemory(t))
	create(t, broker, 1, "totals", "out", "dead")
	for _, options := range [][]streams.Option{{}, {streams.Uncached()}} {
		app, err := streams.New(broker, "ratios", ratios, append(options, fast, streams.OnError(streams.DeadLetter("dead")))...)
		require.NoError(t, err)
		p, err := producer.New(broker)
		require.NoError(t, err)
		for _, batch := range [][]int64{{2}, {0}, {13}, {4}} {
			for _, n := range batch {
				_, err := producer.To(p, totals).Send(context.Background(), "k", n)
				require.NoError(t, err)
			}
			drain(t, app)
		}
		require.NoError(t, p.Close())
		require.Equal(t, streams.ErrorCount{DeadLettered: 2}, app.ErrorCounts().Processing)
	}
	out := readAll(t, broker, serde.For("out", serde.String, serde.JSON[float64]()))
	var got []float64
	for _, r := range out {
		got = append(got, r.Value)
	}
	require.Equal(t, []float64{2, 4, 2, 4}, got)
	var topics []string
	for _, r := range readAll(t, broker, dead) {
		for _, h := range r.Headers {
			if h.Key == streams.HeaderTopic {
				topics = append(topics, string(h.Value))
			}
		}
		require.Equal(t, "k", string(r.Key))
	}
	require.Equal(t, []string{"ratios-last-changelog", "ratios-last-changelog", "totals", "totals"}, topics)

	d := streamstest.New(t, ratios)
	err := streamstest.Input(d, totals).Try(streamstest.Record[string, int64]{Key: "k", HasKey: true, Value: 0, HasValue: true})
	require.ErrorContains(t, err, "KSTREAM-AGGREGATE-")
	require.ErrorContains(t, err, "a value of the store last")
	require.ErrorContains(t, err, "OnProcessingError(")
}

// A row that fails while a commit forwards it is dead-lettered as the store's
// row.
func TestWhatFailsAtACommitIsTheStoresRow(t *testing.T) {
	broker := closed(t, openMemory(t))
	create(t, broker, 1, "lines", "words", "dead")
	app, err := streams.New(broker, "app", func(t *streams.Topology) {
		counts := streams.Count(streams.Stream(t, lines).GroupByKey(), "counts")
		streams.MapValues(counts.ToStream(), func(n int64) string {
			if n == 2 {
				panic("two")
			}
			return fmt.Sprint(n)
		}).To(words)
	}, fast, streams.OnProcessingError(streams.DeadLetter("dead")))
	require.NoError(t, err)
	p, err := producer.New(broker)
	require.NoError(t, err)
	defer p.Close()
	_, err = p.SendAll(context.Background(), record.Record{Topic: "lines", Key: []byte("a"), Value: []byte("x")},
		record.Record{Topic: "lines", Key: []byte("b"), Value: []byte("x")}, record.Record{Topic: "lines", Key: []byte("a"), Value: []byte("x")})
	require.NoError(t, err)
	drain(t, app)
	letters := readAll(t, broker, dead)
	require.Len(t, letters, 1)
	require.Equal(t, "a", string(letters[0].Key))
	require.Equal(t, []byte{0, 0, 0, 0, 0, 0, 0, 2}, letters[0].Value)
	require.Equal(t, map[string]string{"b": "1"}, table(t, broker, words))
}

// An aggregator that panics leaves no trace of a key that it never gave a value.
func TestAnAggregatorThatPanicsLeavesNoTrace(t *testing.T) {
	d := streamstest.New(t, func(t *streams.Topology) {
		sum := streams.Aggregate(streams.Stream(t, totals).GroupByKey(), "sum", func() int64 { return 0 }, func(_ string, n, sum int64) int64 {
			if n < 0 {
				panic("negative")
			}
			return sum + n
		})
		sum.ToStream().To(serde.For("sums", serde.String, serde.Int64))
	}, streams.OnProcessingError(streams.Skip()))
	in := streamstest.Input(d, totals)
	in.Send("bad", -1)
	in.Send("good", 5)
	in.Send("good", -1)
	in.Send("good", 2)
	store := streamstest.Store[string, int64](d, "sum")
	require.Equal(t, 1, length(t, store))
	require.Len(t, d.Records("test-sum-changelog"), 2)
	require.Equal(t, map[string]int64{"good": 7}, streamstest.Table(streamstest.Output(d, serde.For("sums", serde.String, serde.Int64))))
}

func ExampleDeadLetter() {
	numbers := serde.For("numbers", serde.String, serde.JSON[int]())
	s, err := streams.NewSimulation("app", func(t *streams.Topology) {
		streams.MapValues(streams.Stream(t, numbers), func(n int) string { return fmt.Sprint(100 / n) }).To(out)
	}, streams.OnError(streams.DeadLetter("failed-numbers")))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, value := range []string{"5", "five", "0", "4"} {
		if err := s.Send(record.Record{Topic: "numbers", Value: []byte(value)}); err != nil {
			fmt.Println(err)
		}
	}
	for _, r := range s.Records("out") {
		fmt.Printf("%s\n", r.Value)
	}
	for _, r := range s.Records("failed-numbers") {
		for _, h := range r.Headers {
			if h.Key == streams.HeaderException {
				fmt.Printf("%s: %s\n", r.Value, h.Value)
			}
		}
	}
	fmt.Printf("%+v\n", s.ErrorCounts())
	// Output:
	// 20
	// 25
	// five: *json.SyntaxError: invalid character 'i' in literal false (expecting 'a')
	// 0: runtime.errorString: runtime error: integer divide by zero
	// {Deserialization:{Skipped:0 DeadLettered:1} Processing:{Skipped:0 DeadLettered:1} Production:{Skipped:0 DeadLettered:0} Late:0}
}

func ExampleDecide() {
	_, err := streams.NewSimulation("app", wordCount, streams.OnError(streams.Decide(func(e *streams.ProcessingError) streams.Handler {
		if errors.Is(e, fault.Serialization) {
			return streams.DeadLetter("unreadable")
		}
		return streams.Fail()
	})))
	fmt.Println(err)
	// Output: <nil>
}
