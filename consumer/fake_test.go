package consumer

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/leak"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leak.Patient(m)) }

// fake is a backend with one session, over partitions of topic a that are slices of
// records, with offsets that belong to none (see gap). It owns those that have a
// position, from the first Fetch on.
type fake struct {
	cfg     Config
	signal  chan struct{}
	closing chan struct{}

	mu        sync.Mutex
	records   map[record.TopicPartition][]record.Record
	ends      map[record.TopicPartition]int64 // the offset after the last record or gap
	position  map[record.TopicPartition]int64
	paused    map[record.TopicPartition]bool
	committed map[record.TopicPartition]Offset
	commits   int
	before    []func() // run by the next Fetches, one each
	failFetch []error  // returned by the next Fetches
	failOn    error    // returned by Commit
	closed    bool
}

var a0, a1 = record.TopicPartition{Topic: "a"}, record.TopicPartition{Topic: "a", Partition: 1}

func newFake() *fake {
	return &fake{
		signal: make(chan struct{}, 1), closing: make(chan struct{}),
		records: map[record.TopicPartition][]record.Record{}, ends: map[record.TopicPartition]int64{}, position: map[record.TopicPartition]int64{},
		paused: map[record.TopicPartition]bool{}, committed: map[record.TopicPartition]Offset{},
	}
}

// add appends records with the values from..to-1 to a partition.
func (f *fake) add(tp record.TopicPartition, values ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.position[tp]; !ok {
		f.position[tp] = 0
	}
	for _, v := range values {
		f.records[tp] = append(f.records[tp], record.Record{
			Topic: tp.Topic, Partition: tp.Partition, LeaderEpoch: 7,
			Offset: f.ends[tp], Key: []byte("k" + v), Value: []byte(v),
		})
		f.ends[tp]++
	}
	f.wake()
}

// gap adds offsets of control records, or of compacted ones, to a partition.
func (f *fake) gap(tp record.TopicPartition, n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ends[tp] += n
	f.wake()
}

func (f *fake) wake() {
	select {
	case f.signal <- struct{}{}:
	default:
	}
}

// read returns the result of a Fetch from a partition: records up to the next
// gap, with Next after the gap. It moves the position.
func (f *fake) read(tp record.TopicPartition, dst []record.Record) (Fetched, bool) {
	at := f.position[tp]
	if f.paused[tp] || at >= f.ends[tp] {
		return Fetched{}, false
	}
	got := Fetched{TopicPartition: tp, Records: dst[:0], Next: f.ends[tp], LeaderEpoch: 7, HighWatermark: f.ends[tp]}
	for _, r := range f.records[tp] {
		if r.Offset < at {
			continue
		}
		if n := len(got.Records); n == f.cfg.MaxRecords || r.Offset > at+int64(n) {
			got.Next = r.Offset
			break
		}
		got.Records = append(got.Records, r)
	}
	f.position[tp] = got.Next
	return got, true
}

func (f *fake) OpenConsumer(_ context.Context, cfg Config) (Session, error) {
	f.cfg = cfg
	return f, nil
}

func (f *fake) Fetch(ctx context.Context, wait time.Duration, dst []record.Record) (Fetched, error) {
	for {
		f.mu.Lock()
		if len(f.before) > 0 {
			first := f.before[0]
			f.before = f.before[1:]
			f.mu.Unlock()
			first()
			f.mu.Lock()
		}
		if len(f.failFetch) > 0 {
			err := f.failFetch[0]
			f.failFetch = f.failFetch[1:]
			f.mu.Unlock()
			return Fetched{}, err
		}
		for _, tp := range slices.SortedFunc(maps.Keys(f.position), record.TopicPartition.Compare) {
			if got, ok := f.read(tp, dst); ok {
				f.mu.Unlock()
				return got, nil
			}
		}
		f.mu.Unlock()
		if wait <= 0 {
			return Fetched{}, nil
		}
		select {
		case <-f.signal:
		case <-ctx.Done():
			return Fetched{}, ctx.Err()
		case <-f.closing:
			return Fetched{}, fault.Closed
		}
	}
}

func (f *fake) Release(Lease) {}

func (f *fake) Assign(_ context.Context, partitions []record.TopicPartition) error {
	f.mu.Lock()
	for _, tp := range partitions {
		if _, ok := f.position[tp]; !ok {
			f.position[tp] = 0
		}
	}
	f.mu.Unlock()
	f.cfg.OnAssigned(partitions)
	return nil
}

func (f *fake) Assignment() []record.TopicPartition {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.SortedFunc(maps.Keys(f.position), record.TopicPartition.Compare)
}

// take assigns a partition to another member.
func (f *fake) take(tp record.TopicPartition, how func([]record.TopicPartition)) {
	how([]record.TopicPartition{tp})
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.position, tp)
}

func (f *fake) Seek(_ context.Context, tp record.TopicPartition, to topic.OffsetSpec) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.position[tp]; !ok {
		return fault.At(fault.NotAssigned, tp.Topic, tp.Partition, -1)
	}
	offset, ok := to.Offset()
	if !ok && to.IsLatest() {
		offset = f.ends[tp]
	}
	f.position[tp] = offset
	return nil
}

func (f *fake) Position(_ context.Context, tp record.TopicPartition) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.position[tp], nil
}

func (f *fake) Pause(partitions ...record.TopicPartition) error { return f.pause(true, partitions) }

func (f *fake) Resume(partitions ...record.TopicPartition) error { return f.pause(false, partitions) }

func (f *fake) pause(paused bool, partitions []record.TopicPartition) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, tp := range partitions {
		if _, ok := f.position[tp]; !ok {
			return fault.At(fault.NotAssigned, tp.Topic, tp.Partition, -1)
		}
	}
	for _, tp := range partitions {
		f.paused[tp] = paused
	}
	return nil
}

func (f *fake) Commit(_ context.Context, offsets map[record.TopicPartition]Offset) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return fault.Closed
	}
	f.commits++
	if f.failOn != nil {
		return f.failOn
	}
	maps.Copy(f.committed, offsets)
	return nil
}

func (f *fake) GroupMetadata(context.Context) (GroupMetadata, error) {
	return GroupMetadata{Group: f.cfg.Group, MemberEpoch: -1}, nil
}

func (f *fake) Committed(_ context.Context, partitions ...record.TopicPartition) (map[record.TopicPartition]Offset, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := map[record.TopicPartition]Offset{}
	for _, tp := range partitions {
		if o, ok := f.committed[tp]; ok {
			found[tp] = o
		}
	}
	return found, nil
}

func (f *fake) Offsets(_ context.Context, _ topic.OffsetSpec, partitions ...record.TopicPartition) (map[record.TopicPartition]int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ends := map[record.TopicPartition]int64{}
	for _, tp := range partitions {
		ends[tp] = f.ends[tp]
	}
	return ends, nil
}

func (f *fake) Close() error {
	if owned := f.Assignment(); len(owned) > 0 {
		f.cfg.OnRevoked(owned)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.closing)
	}
	return nil
}

// failCommits makes Commit return err.
func (f *fake) failCommits(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failOn = err
}

// offsets returns what was committed, by partition.
func (f *fake) offsets() map[int32]int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[int32]int64{}
	for tp, o := range f.committed {
		all[tp.Partition] = o.Offset
	}
	return all
}

func open(t *testing.T, f *fake, opts ...Option) *Consumer {
	t.Helper()
	c, err := New(f, append([]Option{Group("g"), Topics("a")}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func values(records []record.Record) []string {
	var all []string
	for _, r := range records {
		all = append(all, string(r.Value))
	}
	return all
}

func numbers(from, to int) []string {
	var all []string
	for i := from; i < to; i++ {
		all = append(all, strconv.Itoa(i))
	}
	return all
}

// ended is a ctx that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
