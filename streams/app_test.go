package streams_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/leak"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leak.Patient(m)) }

// fast keeps tests from waiting for commits.
var fast = streams.CommitInterval(time.Millisecond)

func openMemory(t require.TestingT) *runnel.Broker {
	broker, err := runnel.OpenMemory()
	require.NoError(t, err)
	return broker
}

// closed closes a broker at the end of a test.
func closed(t testing.TB, broker *runnel.Broker) *runnel.Broker {
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	return broker
}

func create(t require.TestingT, b streams.Backend, partitions int, names ...string) {
	for _, name := range names {
		require.NoError(t, b.CreateTopics(context.Background(), topic.Spec{Name: name, Partitions: partitions}))
	}
}

// send writes lines without keys.
func send(t require.TestingT, b streams.Backend, lines ...string) {
	p, err := producer.New(b, producer.Partitioner(topic.RoundRobinPartitioner))
	require.NoError(t, err)
	for _, line := range lines {
		p.SendAsync(context.Background(), record.Record{Topic: "lines", Value: []byte(line)}, nil)
	}
	require.NoError(t, p.Flush(context.Background()))
	require.NoError(t, p.Close())
}

// readAll returns what a topic holds, record by record.
func readAll[K, V any](t require.TestingT, b streams.Backend, from serde.Topic[K, V]) (all []consumer.Record[K, V]) {
	ctx := context.Background()
	described, err := b.DescribeTopics(ctx, from.Name)
	require.NoError(t, err)
	var left int64
	for _, p := range described[0].Partitions {
		left += p.HighWatermark - p.StartOffset
	}
	c, err := consumer.New(b, consumer.Assign(described[0].TopicPartitions()...))
	require.NoError(t, err)
	defer c.Close()
	for ; left > 0; left -= int64(len(all)) {
		left += int64(len(all))
		batch, err := consumer.Of(c, from).Poll(ctx)
		require.NoError(t, err)
		all = append(all, batch...)
	}
	return all
}

// table returns the last value of each key of a topic.
func table[K comparable, V any](t require.TestingT, b streams.Backend, from serde.Topic[K, V]) map[K]V {
	rows := make(map[K]V)
	for _, r := range readAll(t, b, from) {
		if r.HasValue {
			rows[r.Key] = r.Value
		} else {
			delete(rows, r.Key)
		}
	}
	return rows
}

// start runs an App; what it returns stops it and returns Run's error.
func start(app *streams.App) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- app.Run(ctx) }()
	return func() error {
		cancel()
		return <-ran
	}
}

// drain runs an App until it has caught up.
func drain(t require.TestingT, app *streams.App) {
	stop := start(app)
	for app.State() == streams.Failed { // CaughtUp would return the error of the Run before
		runtime.Gosched()
	}
	require.NoError(t, app.CaughtUp(context.Background()))
	require.NoError(t, stop())
	require.Equal(t, streams.NotRunning, app.State())
}

// counted is the expected result of a word count.
func counted(lines []string) map[string]int64 {
	counts := make(map[string]int64)
	for _, line := range lines {
		for _, word := range strings.Fields(strings.ToLower(line)) {
			counts[word]++
		}
	}
	return counts
}

var someLines = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
	word := rapid.SampledFrom([]string{"a", "A", "all", "streams", "lead", "to", "Kafka", "kafka", "ß", "流", ""})
	return strings.Join(rapid.SliceOfN(word, 0, 12).Draw(t, "words"), " ")
}), 0, 60)

// Whatever the number of partitions and threads, and wherever the application
// is stopped and started again, the counts are those of a plain loop.
func TestWordCountEqualsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		broker := openMemory(t)
		defer broker.Close()
		create(t, broker, rapid.IntRange(1, 5).Draw(t, "partitions"), "lines")
		create(t, broker, rapid.IntRange(1, 3).Draw(t, "totals"), "totals")
		options := []streams.Option{fast, streams.Threads(rapid.IntRange(1, 4).Draw(t, "threads"))}
		if rapid.Bool().Draw(t, "uncached") {
			options = append(options, streams.Uncached())
		}
		var sent []string
		for range rapid.IntRange(1, 3).Draw(t, "runs") {
			app, err := streams.New(broker, "wordcount", wordCount, options...)
			require.NoError(t, err)
			stop := start(app)
			lines := someLines.Draw(t, "lines")
			send(t, broker, lines...)
			sent = append(sent, lines...)
			if rapid.Bool().Draw(t, "catch up") {
				require.NoError(t, app.CaughtUp(context.Background()))
				require.Equal(t, counted(sent), table(t, broker, totals))
			}
			require.NoError(t, stop())
		}
		app, err := streams.New(broker, "wordcount", wordCount, options...)
		require.NoError(t, err)
		drain(t, app)
		require.Equal(t, counted(sent), table(t, broker, totals))
	})
}

func TestADirectoryKeepsCountsAndOffsets(t *testing.T) {
	dir := t.TempDir()
	var sent []string
	for run := range 3 {
		broker, err := runnel.Open(dir)
		require.NoError(t, err)
		if run == 0 {
			create(t, broker, 2, "lines", "totals")
		}
		app, err := streams.New(broker, "wordcount", wordCount, fast)
		require.NoError(t, err)
		lines := []string{"all streams lead", fmt.Sprint("to kafka ", run)}
		send(t, broker, lines...)
		sent = append(sent, lines...)
		drain(t, app)
		require.Equal(t, counted(sent), table(t, broker, totals))
		require.NoError(t, broker.Close())
	}
}

// One commit writes a key once, however often it was counted.
func TestACommitWritesEachKeyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := closed(t, openMemory(t))
		create(t, broker, 1, "lines", "totals")
		app, err := streams.New(broker, "wordcount", wordCount)
		require.NoError(t, err)
		for range 100 {
			send(t, broker, "a b a")
		}
		began := time.Now()
		drain(t, app)
		require.LessOrEqual(t, time.Since(began), time.Second)
		all := readAll(t, broker, totals)
		require.Len(t, all, 2)
		require.Equal(t, int64(200), all[0].Value)
		require.Len(t, readAll(t, broker, serde.For("wordcount-counts-changelog", serde.String, serde.Int64)), 2)
	})
}

// A waiting application costs nothing: an hour passes, and then it continues.
func TestAnHourWithoutRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := closed(t, openMemory(t))
		create(t, broker, 2, "lines", "totals")
		app, err := streams.New(broker, "wordcount", wordCount, streams.Threads(2))
		require.NoError(t, err)
		stop := start(app)
		send(t, broker, "before")
		time.Sleep(time.Hour)
		send(t, broker, "after")
		require.NoError(t, app.CaughtUp(context.Background()))
		require.Equal(t, streams.Running, app.State())
		require.Equal(t, map[string]int64{"before": 1, "after": 1}, table(t, broker, totals))
		require.NoError(t, stop())
	})
}

func TestInternalTopics(t *testing.T) {
	broker := closed(t, openMemory(t))
	create(t, broker, 3, "lines", "totals")
	app, err := streams.New(broker, "wordcount", wordCount, fast)
	require.NoError(t, err)
	require.Equal(t, streams.Created, app.State())
	send(t, broker, "a")
	drain(t, app)
	found, err := broker.DescribeTopics(context.Background(), "wordcount-counts-changelog", "wordcount-counts-repartition")
	require.NoError(t, err)
	require.Len(t, found[0].Partitions, 3)
	require.Equal(t, topic.Compact, found[0].Config.Cleanup)
	require.Len(t, found[1].Partitions, 3)
	require.Equal(t, topic.Forever, found[1].Config.Retention)
}

// TestRestoreFromCompactedChangelog compacts changelogs between runs, also up
// to their ends: the counts continue where they were.
func TestRestoreFromCompactedChangelog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := closed(t, openMemory(t))
		create(t, broker, 2, "lines", "totals")
		changelog := "wordcount-counts-changelog"
		want := map[string]int64{}
		for round := range int64(4) {
			app, err := streams.New(broker, "wordcount", wordCount, fast, streams.Uncached())
			require.NoError(t, err)
			send(t, broker, "a b a c", "b a", fmt.Sprint("only ", round))
			for word, n := range map[string]int64{"a": 3, "b": 2, "c": 1, "only": 1} {
				want[word] += n
			}
			want[fmt.Sprint(round)]++
			drain(t, app)
			require.Equal(t, want, table(t, broker, totals))
			require.NoError(t, broker.ConfigureTopic(context.Background(), changelog, topic.Config{
				Cleanup: topic.Compact, SegmentBytes: 100, MinCleanableRatio: 0.01, MaxCompactionLag: time.Minute,
			}))
			before := size(t, broker, changelog)
			time.Sleep(2 * time.Minute) // in a bubble
			require.Less(t, size(t, broker, changelog), before)
		}
	})
}

// size returns how many bytes a topic's partitions take.
func size(t require.TestingT, b streams.Backend, name string) (bytes int64) {
	found, err := b.DescribeTopics(context.Background(), name)
	require.NoError(t, err)
	for _, p := range found[0].Partitions {
		bytes += p.Size
	}
	return bytes
}

func TestResetBeginsAnew(t *testing.T) {
	broker := closed(t, openMemory(t))
	create(t, broker, 2, "lines", "totals")
	app, err := streams.New(broker, "wordcount", wordCount, fast)
	require.NoError(t, err)
	require.NoError(t, app.Reset(context.Background()), "there is nothing yet")
	send(t, broker, "a b", "a")
	drain(t, app)
	require.NoError(t, app.Reset(context.Background()))
	_, err = broker.DescribeTopics(context.Background(), "wordcount-counts-changelog")
	require.ErrorIs(t, err, fault.UnknownTopic)
	drain(t, app)
	require.Equal(t, map[string]int64{"a": 2, "b": 1}, table(t, broker, totals))

	send(t, broker, "c")
	stop := start(app)
	require.NoError(t, app.CaughtUp(context.Background()))
	require.ErrorIs(t, app.Reset(context.Background()), fault.InvalidRequest)
	require.ErrorIs(t, app.Run(context.Background()), fault.InvalidRequest)
	require.NoError(t, stop())
}

func TestRunNamesWhatIsMissing(t *testing.T) {
	broker := closed(t, openMemory(t))
	app, err := streams.New(broker, "wordcount", wordCount, fast)
	require.NoError(t, err)
	require.ErrorIs(t, app.Run(context.Background()), fault.UnknownTopic)
	require.Equal(t, streams.Failed, app.State())

	create(t, broker, 2, "lines", "totals")
	create(t, broker, 1, "wordcount-counts-changelog")
	err = app.Run(context.Background())
	require.ErrorIs(t, err, fault.InvalidPartitions)
	require.ErrorContains(t, err, "wordcount-counts-changelog")

	over, cancel := context.WithCancel(context.Background())
	cancel()
	require.NoError(t, app.Reset(context.Background()))
	require.NoError(t, app.Run(over))
}

func TestWhatRetentionDeletedIsPassedOver(t *testing.T) {
	broker := closed(t, openMemory(t))
	create(t, broker, 1, "lines", "totals")
	app, err := streams.New(broker, "wordcount", wordCount, fast)
	require.NoError(t, err)
	send(t, broker, "a", "b")
	drain(t, app)
	send(t, broker, "c", "c", "c")
	_, err = broker.DeleteRecords(context.Background(), map[record.TopicPartition]int64{{Topic: "lines"}: 4})
	require.NoError(t, err)
	drain(t, app)
	require.Equal(t, map[string]int64{"a": 1, "b": 1, "c": 1}, table(t, broker, totals))
	require.NoError(t, app.Reset(context.Background()))
	drain(t, app)
	require.Equal(t, int64(1), table(t, broker, totals)["c"])
}

func TestMorePartitionsAreTakenUpByTheNextRun(t *testing.T) {
	broker := closed(t, openMemory(t))
	create(t, broker, 1, "lines", "upper")
	app, err := streams.New(broker, "upper", func(t *streams.Topology) {
		streams.MapValues(streams.Stream(t, lines), strings.ToUpper).To(serde.For("upper", serde.String, serde.String))
	}, fast, streams.Threads(3))
	require.NoError(t, err)
	drain(t, app)
	require.NoError(t, broker.AddPartitions(context.Background(), "lines", 4))
	send(t, broker, "a", "b", "c", "d")
	drain(t, app)
	require.Len(t, readAll(t, broker, serde.For("upper", serde.String, serde.String)), 4)
}

// poisoned counts words, but panics at one of them while bad is true.
func poisoned(bad *bool) func(*streams.Topology) {
	return func(t *streams.Topology) {
		checked := streams.Stream(t, lines).Peek(func(_, line string) {
			if *bad && line == "poison" {
				panic("poisoned")
			}
		}).Named("check")
		words := streams.FlatMapValues(checked, func(line string) []string { return strings.Fields(line) })
		byWord := streams.GroupBy(words, func(_, word string) string { return word })
		streams.Count(byWord, "counts").ToStream().To(totals)
	}
}

// An application that fails commits nothing more. The next one repeats what was
// not committed: at least once.
func TestAPanicFailsTheApplicationNotTheProgram(t *testing.T) {
	broker := closed(t, openMemory(t))
	create(t, broker, 2, "lines", "totals")
	bad := true
	app, err := streams.New(broker, "wordcount", poisoned(&bad), fast, streams.Threads(2))
	require.NoError(t, err)
	sent := []string{"a b", "b c", "poison", "a", "c c"}
	send(t, broker, sent...)
	err = app.Run(context.Background())
	var failed *streams.ProcessingError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "check", failed.Node)
	require.Equal(t, int64(1), failed.At.Offset)
	require.Equal(t, streams.Failed, app.State())
	require.ErrorIs(t, app.CaughtUp(context.Background()), err, "it failed before the call")

	caughtUp := make(chan error)
	go func() { caughtUp <- app.CaughtUp(context.Background()) }()
	for err = nil; err == nil; { // CaughtUp waits for a Run that returns after its call
		require.ErrorAs(t, app.Run(context.Background()), &failed, "the record is still there")
		select {
		case err = <-caughtUp:
			require.ErrorAs(t, err, &failed)
		default:
		}
	}

	bad = false
	drain(t, app)
	for word, n := range counted(sent) {
		require.GreaterOrEqual(t, table(t, broker, totals)[word], n, word)
	}
}

// slippery is a broker whose producers fail to flush once slip is closed, and
// which counts the commits that follow.
type slippery struct {
	*runnel.Broker
	slip    chan struct{}
	commits chan map[record.TopicPartition]consumer.Offset
}

var errSlip = errors.New("slipped")

func (b *slippery) OpenProducer(ctx context.Context, cfg producer.Config) (producer.Session, error) {
	s, err := b.Broker.OpenProducer(ctx, cfg)
	return slipperyProducer{s, b}, err
}

func (b *slippery) OpenConsumer(ctx context.Context, cfg consumer.Config) (consumer.Session, error) {
	s, err := b.Broker.OpenConsumer(ctx, cfg)
	return slipperyConsumer{s, b}, err
}

type slipperyProducer struct {
	producer.Session
	of *slippery
}

func (s slipperyProducer) Flush(ctx context.Context) error {
	select {
	case <-s.of.slip:
		return errSlip
	default:
		return s.Session.Flush(ctx)
	}
}

type slipperyConsumer struct {
	consumer.Session
	of *slippery
}

func (s slipperyConsumer) Commit(ctx context.Context, offsets map[record.TopicPartition]consumer.Offset) error {
	select {
	case <-s.of.slip:
		s.of.commits <- offsets
	default:
	}
	return s.Session.Commit(ctx, offsets)
}

func TestOffsetsAreCommittedOnlyBehindTheOutputs(t *testing.T) {
	broker := &slippery{closed(t, openMemory(t)), make(chan struct{}), make(chan map[record.TopicPartition]consumer.Offset, 100)}
	create(t, broker, 1, "lines", "totals")
	app, err := streams.New(broker, "wordcount", wordCount, fast)
	require.NoError(t, err)
	send(t, broker, "a", "b")
	drain(t, app)
	close(broker.slip)
	send(t, broker.Broker, "c")
	require.ErrorIs(t, app.Run(context.Background()), errSlip)
	require.Empty(t, broker.commits)

	again, err := streams.New(broker.Broker, "wordcount", wordCount, fast)
	require.NoError(t, err)
	drain(t, again)
	require.Equal(t, []string{"a", "b", "c"}, sortedKeys(table(t, broker, totals)))
}

// loose is a broker whose producers fail to flush what was written to totals.
type loose struct{ *slippery }

func (b loose) OpenProducer(ctx context.Context, cfg producer.Config) (producer.Session, error) {
	s, err := b.Broker.OpenProducer(ctx, cfg)
	return &looseProducer{Session: s}, err
}

type looseProducer struct {
	producer.Session
	wrote bool // to totals
}

func (s *looseProducer) Topic(ctx context.Context, name string) (producer.Writer, error) {
	w, err := s.Session.Topic(ctx, name)
	if name == totals.Name {
		w = looseWriter{w, s}
	}
	return w, err
}

func (s *looseProducer) Flush(ctx context.Context) error {
	if s.wrote {
		return errSlip
	}
	return s.Session.Flush(ctx)
}

type looseWriter struct {
	producer.Writer
	of *looseProducer
}

func (w looseWriter) Append(ctx context.Context, partition int32, b *record.Batch, fn producer.Callback) {
	w.of.wrote = true
	w.Writer.Append(ctx, partition, b, fn)
}

// Changes that a store held back until the commit are acknowledged before the
// offsets of the records they came from are committed.
func TestOffsetsAreCommittedBehindWhatStoresHeldBack(t *testing.T) {
	broker := loose{&slippery{closed(t, openMemory(t)), make(chan struct{}), make(chan map[record.TopicPartition]consumer.Offset, 100)}}
	close(broker.slip) // its commits are counted
	create(t, broker, 1, "lines", "totals")
	app, err := streams.New(broker, "keyed", func(t *streams.Topology) {
		streams.Count(streams.Stream(t, lines).GroupByKey(), "counts").ToStream().To(totals)
	}, fast)
	require.NoError(t, err)
	p, err := producer.New(broker.Broker)
	require.NoError(t, err)
	_, err = producer.To(p, lines).Send(t.Context(), "a", "x")
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.ErrorIs(t, app.Run(t.Context()), errSlip)
	require.Empty(t, broker.commits)
}

func sortedKeys(m map[string]int64) (keys []string) {
	for _, k := range []string{"a", "b", "c"} {
		if _, ok := m[k]; ok {
			keys = append(keys, k)
		}
	}
	return keys
}

// Two processes share an application; one joins later, and the first leaves
// while records come in. Nothing is lost, and nothing is doubled.
func TestTasksMoveWithTheirState(t *testing.T) {
	broker := closed(t, openMemory(t))
	create(t, broker, 4, "lines", "totals")
	first, err := streams.New(broker, "wordcount", wordCount, fast, streams.Threads(2))
	require.NoError(t, err)
	second, err := streams.New(broker, "wordcount", wordCount, fast, streams.Threads(1))
	require.NoError(t, err)

	var sent []string
	more := func() {
		for i := range 50 {
			line := fmt.Sprintf("word%d all streams", i%7)
			send(t, broker, line)
			sent = append(sent, line)
		}
	}
	stopFirst := start(first)
	more()
	stopSecond := start(second)
	more()
	require.NoError(t, stopFirst())
	more()
	require.NoError(t, stopSecond())
	drain(t, first)
	require.Equal(t, counted(sent), table(t, broker, totals))
}

func TestABrokerThatClosesEndsTheApplication(t *testing.T) {
	broker := openMemory(t)
	create(t, broker, 1, "lines", "totals")
	app, err := streams.New(broker, "wordcount", wordCount, fast)
	require.NoError(t, err)
	send(t, broker, "a")
	ran := make(chan error, 1)
	go func() { ran <- app.Run(context.Background()) }()
	require.NoError(t, app.CaughtUp(context.Background()))
	require.NoError(t, broker.Close())
	require.ErrorIs(t, <-ran, fault.Closed)
}

func ExampleNew() {
	broker, _ := runnel.OpenMemory()
	defer broker.Close()
	ctx := context.Background()
	broker.CreateTopics(ctx, topic.Spec{Name: lines.Name}, topic.Spec{Name: totals.Name})
	p, _ := producer.New(broker)
	defer p.Close()
	producer.To(p, lines).SendValue(ctx, "all streams lead to Kafka")

	app, err := streams.New(broker, "wordcount", wordCount)
	if err != nil {
		fmt.Println(err)
		return
	}
	running, stop := context.WithCancel(ctx)
	ran := make(chan error)
	go func() { ran <- app.Run(running) }()
	app.CaughtUp(ctx)
	stop()
	fmt.Println(<-ran, app.State())
	// Output: <nil> NOT_RUNNING
}
