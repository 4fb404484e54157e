package streams_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/streams"
)

var (
	tortureSeed = flag.Uint64("torture.seed", 0, "run the random topology of this seed alone")
	tortureOn   = flag.Bool("torture.on", false, "go on with random topologies until one fails or the test is stopped")
)

// randomSeeds is how many random topologies a test run checks.
const randomSeeds = 40

// tellingSeeds found bugs when partitions were assigned instead of tasks, each
// in some of its runs.
var tellingSeeds = []uint64{10774443569027887835, 12598091569485164249, 5978147590958874679, 5420950577021557189, 9589269305301223960}

// Random topologies run on several instances, which come, go and, for every
// other seed, crash, while records arrive. In the end the outputs equal those
// of a plain loop over all records; after crashes they include them.
func TestRandomTopologies(t *testing.T) {
	if *tortureSeed != 0 {
		randomTopology(t, *tortureSeed)
		return
	}
	for range 3 { // the schedule differs between runs
		for _, seed := range tellingSeeds {
			randomTopology(t, seed)
		}
	}
	for n := uint64(1); (n <= randomSeeds || *tortureOn) && !t.Failed(); n++ {
		randomTopology(t, rand.Uint64()&^1|n&1)
		if *tortureOn && n%1000 == 0 {
			fmt.Fprintf(os.Stderr, "%d random topologies\n", n)
		}
	}
}

func randomTopology(t *testing.T, seed uint64) {
	passed := t.Run(fmt.Sprint(seed), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			w := &troupe{T: t, r: r, g: plant(r, 2+r.IntN(14)), crashes: seed%2 == 0, inputs: make(map[int][]pair)}
			defer func() {
				if t.Failed() {
					t.Logf("%s\n%s", w.g, w.story)
				}
			}()
			w.play()
		})
	})
	if !passed {
		t.Logf("again: go test -run TestRandomTopologies ./streams -torture.seed=%d", seed)
	}
}

// troupe is an application with its instances.
type troupe struct {
	*testing.T
	r       *rand.Rand
	g       graph
	crashes bool // crashes are allowed
	crashed bool // there was one
	broker  *runnel.Broker
	inputs  map[int][]pair
	playing []*instance
	story   []string
}

// instance is an application in one process.
type instance struct {
	app    *streams.App
	mortal *mortal
	stop   func() error
}

func (w *troupe) play() {
	w.broker = closed(w, openMemory(w))
	for i, o := range w.g {
		if o.op == "input" || o.op == "out" {
			create(w, w.broker, int(o.arg), topicAt(i).Name)
		}
	}
	for range 4 + w.r.IntN(20) {
		steps := []func(){w.send, w.send, w.send, w.start, w.start, w.leave, w.grow}
		if w.crashes {
			steps = append(steps, w.crash)
		}
		steps[w.r.IntN(len(steps))]()
		if w.r.IntN(3) > 0 {
			w.wait()
		}
	}
	w.finish()
	w.compare()
}

func (w *troupe) tell(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf(format, args...))
}

// input returns one of the inputs.
func (w *troupe) input() int {
	var inputs []int
	for i, o := range w.g {
		if o.op == "input" {
			inputs = append(inputs, i)
		}
	}
	return inputs[w.r.IntN(len(inputs))]
}

// send writes records to an input.
func (w *troupe) send() {
	in := w.input()
	p, err := producer.New(w.broker)
	require.NoError(w, err)
	to, n := producer.To(p, topicAt(in)), 1+w.r.IntN(40)
	for range n {
		rec := pair{fmt.Sprint("k", w.r.IntN(5)), w.r.Int64N(100)}
		w.inputs[in] = append(w.inputs[in], rec)
		to.SendAsync(context.Background(), rec.key, rec.value, nil)
	}
	require.NoError(w, p.Flush(context.Background()))
	require.NoError(w, p.Close())
	w.tell("send %d to %d", n, in)
}

func (w *troupe) wait() {
	if w.r.IntN(2) == 0 {
		time.Sleep(time.Duration(w.r.IntN(300)) * time.Millisecond)
	}
	synctest.Wait()
	w.tell("wait")
}

// grow adds a partition to an input, unless a store is partitioned by it.
func (w *troupe) grow() {
	in := w.input()
	if !w.g.mayGrow(in) {
		return
	}
	name := topicAt(in).Name
	found, err := w.broker.DescribeTopics(context.Background(), name)
	require.NoError(w, err)
	grow(w, w.broker, name, len(found[0].Partitions)+1)
	w.tell("grow %d", in)
}

// start starts an instance, which may be one that will crash.
func (w *troupe) start() {
	if len(w.playing) == 4 {
		return
	}
	threads, interval := 1+w.r.IntN(2), time.Duration(1+w.r.IntN(200))*time.Millisecond
	options := []streams.Option{streams.Threads(threads), streams.CommitInterval(interval)}
	if w.r.IntN(4) == 0 {
		options = append(options, streams.Uncached())
	}
	m := &mortal{Broker: w.broker}
	m.left.Store(1 << 40)
	if w.crashes && w.r.IntN(2) == 0 {
		m.left.Store(w.r.Int64N(60))
	}
	m.life, m.die = context.WithCancel(context.Background())
	app, err := streams.New(m, "random", w.g.declare, options...)
	require.NoError(w, err)
	w.playing = append(w.playing, &instance{app, m, start(app)})
	w.tell("start with %d threads, %s, %d calls to live", threads, interval, m.left.Load())
}

// take removes a random instance.
func (w *troupe) take() *instance {
	if len(w.playing) == 0 {
		return nil
	}
	at := w.r.IntN(len(w.playing))
	one := w.playing[at]
	w.playing = slices.Delete(w.playing, at, at+1)
	return one
}

func (w *troupe) leave() {
	if one := w.take(); one != nil {
		w.end(one)
		w.tell("one leaves")
	}
}

// end stops an instance, unless that crashed before.
func (w *troupe) end(one *instance) {
	err := one.stop()
	var panicked *streams.PanicError
	if errors.As(err, &panicked) {
		w.Logf("%s", panicked.Stack)
	}
	if one.mortal.dead() != nil {
		w.crashed = true
		return
	}
	require.NoError(w, err)
	one.mortal.die()
}

func (w *troupe) crash() {
	if one := w.take(); one != nil {
		one.mortal.die()
		_ = one.stop()
		w.crashed = true
		w.tell("one crashes")
	}
}

// finish lets the running instances catch up, and stops all.
func (w *troupe) finish() {
	for _, one := range w.playing {
		if one.mortal.dead() == nil {
			one.mortal.left.Store(1 << 40)
		}
	}
	last, err := streams.New(w.broker, "random", w.g.declare)
	require.NoError(w, err)
	stop := start(last)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	require.NoError(w, last.CaughtUp(ctx))
	for _, one := range w.playing {
		w.end(one)
	}
	require.NoError(w, stop())
}

// compare compares the outputs with those of a plain loop.
func (w *troupe) compare() {
	crashed := w.crashed
	for i, want := range w.g.evaluate(w.inputs) {
		o := w.g[i]
		if o.table {
			got := table(w, w.broker, topicAt(i))
			rows := make(map[string]int64)
			for _, p := range want {
				rows[p.key] = p.value
			}
			if o.final && !o.repeated {
				maps.DeleteFunc(got, emptied)
			}
			if !crashed || o.repeated {
				require.Equal(w, rows, got, "table %d", i)
				continue
			}
			if o.final {
				continue // what is subtracted twice is too little
			}
			require.ElementsMatch(w, slices.Collect(maps.Keys(rows)), slices.Collect(maps.Keys(got)), "keys of table %d", i)
			for k, v := range rows {
				require.GreaterOrEqual(w, got[k], v, "%s in table %d", k, i)
			}
			continue
		}
		var got []pair
		for _, r := range readAll(w, w.broker, topicAt(i)) {
			got = append(got, pair{r.Key, r.Value})
		}
		w.compareRecords(i, want, got, crashed)
	}
}

func (w *troupe) compareRecords(i int, want, got []pair, crashed bool) {
	order := func(a, b pair) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.value, b.value)) }
	slices.SortFunc(got, order)
	want = slices.SortedFunc(slices.Values(want), order)
	if !crashed {
		require.Equal(w, want, got, "records of %d", i)
		return
	}
	require.Equal(w, slices.Compact(slices.Clone(want)), slices.Compact(slices.Clone(got)), "records of %d", i)
	require.GreaterOrEqual(w, len(got), len(want))
}

// mortal is a broker for a process that may die. From then on its calls have no
// effect, and its sessions stay as they are until others take over.
type mortal struct {
	*runnel.Broker
	left atomic.Int64 // calls to live
	life context.Context
	die  context.CancelFunc
}

var errDead = errors.New("dead")

func (m *mortal) step() error {
	if m.left.Add(-1) <= 0 {
		m.die()
	}
	return m.dead()
}

func (m *mortal) dead() error {
	if m.life.Err() != nil {
		return errDead
	}
	return nil
}

func (m *mortal) OpenProducer(ctx context.Context, cfg producer.Config) (producer.Session, error) {
	s, err := m.Broker.OpenProducer(ctx, cfg)
	return mortalProducer{s, m}, err
}

func (m *mortal) OpenConsumer(ctx context.Context, cfg consumer.Config) (consumer.Session, error) {
	s, err := m.Broker.OpenConsumer(ctx, cfg)
	return mortalConsumer{s, m}, err
}

type mortalProducer struct {
	producer.Session
	of *mortal
}

func (s mortalProducer) Topic(ctx context.Context, name string) (producer.Writer, error) {
	w, err := s.Session.Topic(ctx, name)
	return mortalWriter{w, s.of}, err
}

func (s mortalProducer) Flush(ctx context.Context) error {
	if err := s.of.step(); err != nil {
		return err
	}
	return errors.Join(s.Session.Flush(ctx), s.of.dead())
}

func (s mortalProducer) Close() error {
	if s.of.dead() != nil {
		return nil
	}
	return s.Session.Close()
}

type mortalWriter struct {
	producer.Writer
	of *mortal
}

func (w mortalWriter) Append(ctx context.Context, partition int32, b *record.Batch, fn producer.Callback) {
	if w.of.step() == nil {
		w.Writer.Append(ctx, partition, b, fn)
	}
}

type mortalConsumer struct {
	consumer.Session
	of *mortal
}

func (s mortalConsumer) Fetch(ctx context.Context, wait time.Duration, dst []record.Record) (consumer.Fetched, error) {
	if err := s.of.step(); err != nil {
		return consumer.Fetched{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.of.life, cancel)()
	f, err := s.Session.Fetch(ctx, wait, dst)
	if dead := s.of.dead(); dead != nil {
		return f, dead
	}
	return f, err
}

func (s mortalConsumer) Commit(ctx context.Context, offsets map[record.TopicPartition]consumer.Offset) error {
	if err := s.of.step(); err != nil {
		return err
	}
	return errors.Join(s.Session.Commit(ctx, offsets), s.of.dead())
}

func (s mortalConsumer) Close() error {
	if s.of.dead() != nil {
		return nil
	}
	return s.Session.Close()
}
