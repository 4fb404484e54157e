package runnel

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// openOn opens a broker on a file system, as Open does on a disk.
func openOn(t *testing.T, fsys vfs.FS) *Broker {
	t.Helper()
	b, err := openFixture(fsys)
	require.NoError(t, err)
	return b
}

// batchesOf returns all batches of a partition.
func batchesOf(t *testing.T, b *Broker, tp record.TopicPartition) (all []record.Batch) {
	t.Helper()
	p, err := b.host.Partition(tp)
	require.NoError(t, err)
	for offset := p.StartOffset(); offset < p.HighWatermark(); {
		s, err := p.Read(offset, 1<<20, nil)
		require.NoError(t, err)
		for rest := s.Bytes; len(rest) > 0; {
			batch, err := record.Parse(rest)
			require.NoError(t, err)
			all = append(all, batch)
			rest, offset = rest[batch.Size():], batch.NextOffset()
		}
	}
	return all
}

// orders opens a broker with a topic of that name on a file system.
func orders(t *testing.T, fsys vfs.FS, partitions int, cfg topic.Config) *Broker {
	t.Helper()
	b := openOn(t, fsys)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: partitions, Config: cfg}))
	return b
}

// session opens a producer's session and its way into the topic orders.
func session(t *testing.T, b producer.Backend, cfg producer.Config) (producer.Session, producer.Writer) {
	t.Helper()
	s, err := b.OpenProducer(t.Context(), cfg)
	require.NoError(t, err)
	w, err := s.Topic(t.Context(), "orders")
	require.NoError(t, err)
	return s, w
}

// sendEveryWay sends records to a partition in each of the ways that there are, and
// returns how many. Some have to wait in one batch for others, some are a batch each.
func sendEveryWay(t *testing.T, w producer.Writer, partition int32) (records int32) {
	t.Helper()
	small := record.Record{Topic: "orders", Partition: partition, Value: make([]byte, 100)}
	large := record.Record{Topic: "orders", Partition: partition, Value: make([]byte, 2000)}
	_, err := w.Send(t.Context(), small)
	require.NoError(t, err)
	w.SendAsync(t.Context(), large, nil)
	w.SendAsync(t.Context(), small, nil)
	whole := ofAnotherProducer(t, "a", "b", "c")
	w.Append(t.Context(), partition, &whole, nil)
	return 6
}

// ofAnotherProducer returns a batch as it was read from a partition, where producer 77
// had written it.
func ofAnotherProducer(t *testing.T, values ...string) record.Batch {
	t.Helper()
	batch := batchOf(t, values...)
	record.StampProducer(batch.Bytes, 77, 7, 777)
	batch, err := record.Parse(batch.Bytes)
	require.NoError(t, err)
	return batch
}

// TestBatchesBearSequences: they count a producer's records in a partition from 0 on
// without gaps, however the records are sent, and each producer has an ID of its own.
func TestBatchesBearSequences(t *testing.T) {
	for _, durability := range []topic.Durability{topic.Memory, topic.Fsync} {
		b := orders(t, vfs.NewMemory(), 2, topic.Config{Durability: durability})
		defer b.Close()
		seen := map[int64]bool{}
		earlier := map[int32]int{} // batches of the producers before, by partition
		for range 3 {
			s, w := session(t, b, producer.Config{BatchBytes: 1000, BufferBytes: 100_000, Idempotent: true})
			sent := map[int32]int32{} // records, by partition
			for range 13 {
				sent[0] += sendEveryWay(t, w, 0)
				sent[1] += sendEveryWay(t, w, 1)
			}
			require.NoError(t, s.Flush(t.Context()))
			ids := map[int64]bool{}
			for number := range int32(2) {
				batches := batchesOf(t, b, record.TopicPartition{Topic: "orders", Partition: number})
				next := int32(0)
				for _, batch := range batches[earlier[number]:] {
					ids[batch.ProducerID] = true
					require.Zero(t, batch.ProducerEpoch)
					require.Equal(t, next, batch.BaseSequence)
					next += batch.Count
				}
				require.Equal(t, sent[number], next)
				earlier[number] = len(batches)
			}
			require.Len(t, ids, 1, "one producer, one ID")
			for id := range ids {
				require.NotEqual(t, record.NoProducerID, id)
				require.False(t, seen[id], "and not that of another")
				seen[id] = true
			}
			require.NoError(t, s.Close())
		}
	}
}

// TestWithoutIdempotenceBatchesNameNoProducer: not even the one that a whole batch had
// before.
func TestWithoutIdempotenceBatchesNameNoProducer(t *testing.T) {
	for _, durability := range []topic.Durability{topic.Memory, topic.Fsync} {
		b := orders(t, vfs.NewMemory(), 1, topic.Config{Durability: durability})
		defer b.Close()
		s, w := session(t, b, producer.Config{BatchBytes: 1000, BufferBytes: 100_000})
		sendEveryWay(t, w, 0)
		require.NoError(t, s.Flush(t.Context()))
		batches := batchesOf(t, b, record.TopicPartition{Topic: "orders"})
		require.NotEmpty(t, batches)
		for _, batch := range batches {
			require.Equal(t, record.NoProducerID, batch.ProducerID)
			require.Equal(t, record.NoSequence, batch.BaseSequence)
		}
		require.NoError(t, s.Close())
	}
}

func batchOf(t *testing.T, values ...string) record.Batch {
	t.Helper()
	b := record.NewBuilder(1 << 20)
	for _, v := range values {
		b.Add(0, nil, []byte(v), nil)
	}
	batch, err := b.Batch(nil, record.None, 0)
	require.NoError(t, err)
	return batch
}

// TestProducerIDsAreNeverGivenTwice: not in another process, and not after a
// crash.
func TestProducerIDsAreNeverGivenTwice(t *testing.T) {
	disk := vfs.NewCrashable()
	seen := map[int64]bool{}
	for round := range uint64(4) {
		b := openOn(t, disk)
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 4 {
			wg.Go(func() {
				for range 400 {
					id, err := b.newProducerID(t.Context())
					mu.Lock()
					if err != nil || seen[id] {
						t.Errorf("producer ID %d: %v", id, err)
					}
					seen[id] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if round%2 == 0 {
			disk = disk.Crash(vfs.RandomLoss(round))
			_ = b.Close()
		} else {
			require.NoError(t, b.Close())
		}
	}
	require.Len(t, seen, 4*1600)
}

// TestNoHoles has one goroutine send, without waiting, to a disk that is full from
// time to time. What was written is in order and acknowledged, and behind a
// record that failed comes only what was sent when that was known. The same
// holds through the socket.
func TestNoHoles(t *testing.T) {
	for _, attached := range []bool{false, true} {
		failed := 0
		for seed := range uint64(16) {
			for _, durability := range []topic.Durability{topic.OS, topic.Fsync} {
				failed += noHoles(t, seed, durability, attached)
			}
		}
		require.Greater(t, failed, 16*100, "the disk should have been full more often")
	}
}

// attachedTo returns the broker as another process sees it.
func attachedTo(t *testing.T, b *Broker) *attach.Client {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, root.Close()) })
	l, err := attach.Listen(dir, root)
	require.NoError(t, err)
	server := attach.Serve(l, served{b})
	t.Cleanup(server.Close)
	client, err := attach.Dial(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// attempt is a record that was sent, on a clock that each callback moves by one.
type attempt struct {
	sent int64 // when the call returned
	told int64 // when its callback ran
	err  error // the outcome
}

// noHoles sends records, checks what has become of them, and returns how many failed.
func noHoles(t *testing.T, seed uint64, durability topic.Durability, attached bool) (failures int) {
	fsys := vfs.NewFaulty(vfs.NewMemory())
	b := orders(t, fsys, 1, topic.Config{Durability: durability, SegmentBytes: 20_000})
	backend := producer.Backend(b)
	if attached {
		backend = attachedTo(t, b)
	}
	compression := record.None
	if seed%3 == 0 {
		compression = record.LZ4
	}
	s, w := session(t, backend, producer.Config{BatchBytes: 1000, BufferBytes: 20_000, Idempotent: true, Compression: compression})
	attempts := sendToADiskThatFillsUp(t, rand.New(rand.NewPCG(seed, 1)), fsys, s, w)

	var acknowledged []uint32
	lastFailed := int64(0) // when the last failure so far was told
	for i, a := range attempts {
		if a.err != nil {
			require.ErrorIs(t, a.err, fault.DiskFull)
			failures++
			lastFailed = max(lastFailed, a.told)
			continue
		}
		require.GreaterOrEqual(t, a.sent, lastFailed, "seed %d, %v, attached %v: record %d is behind one whose failure was not known", seed, durability, attached, i)
		acknowledged = append(acknowledged, uint32(i))
	}
	require.Equal(t, acknowledged, numbersIn(t, b), "seed %d", seed)
	NothingIsHeld(t, b)
	require.NoError(t, s.Close())
	require.NoError(t, b.Close())
	return failures
}

// sendToADiskThatFillsUp sends records that bear their number, in every size and way, while
// the disk is full at times. It returns when all have their outcome.
func sendToADiskThatFillsUp(t *testing.T, rng *rand.Rand, fsys *vfs.Faulty, s producer.Session, w producer.Writer) []attempt {
	t.Helper()
	attempts := make([]attempt, 3000)
	var clock atomic.Int64
	oneIn := func(n int) bool { return rng.IntN(n) == 0 }
	for i := range attempts {
		switch {
		case oneIn(100):
			fsys.SetFree(rng.Int64N(3000))
		case oneIn(50):
			fsys.SetFree(-1) // there is room again
		case oneIn(100):
			_ = s.Flush(t.Context())
		}
		size := rng.IntN(200)
		if oneIn(50) {
			size += 1500 // more than a batch
		}
		value := append(binary.BigEndian.AppendUint32(nil, uint32(i)), make([]byte, size)...)
		told := func(_ record.Position, err error) {
			attempts[i].err, attempts[i].told = err, clock.Add(1)
		}
		if oneIn(20) {
			whole := batchOf(t, string(value))
			w.Append(t.Context(), 0, &whole, told)
		} else {
			w.SendAsync(t.Context(), record.Record{Topic: "orders", Value: value}, told)
		}
		attempts[i].sent = clock.Load()
	}
	fsys.SetFree(-1)
	_ = s.Flush(t.Context())
	require.EqualValues(t, len(attempts), clock.Load(), "each has its outcome, once")
	return attempts
}

// numbersIn returns the numbers that the records of the topic orders bear.
func numbersIn(t *testing.T, b *Broker) (all []uint32) {
	t.Helper()
	for _, batch := range batchesOf(t, b, record.TopicPartition{Topic: "orders"}) {
		it, err := batch.Records(b.host.Codec())
		require.NoError(t, err)
		for r := (record.Record{}); it.Next(&r); {
			all = append(all, binary.BigEndian.Uint32(r.Value))
		}
		require.NoError(t, it.Err())
	}
	return all
}

// TestToldFailureIsOver: a record that is sent when an earlier failure is known fails for
// reasons of its own alone.
func TestToldFailureIsOver(t *testing.T) {
	for _, durability := range []topic.Durability{topic.OS, topic.Fsync} {
		fsys := vfs.NewFaulty(vfs.NewMemory())
		b := orders(t, fsys, 1, topic.Config{Durability: durability})
		p, err := producer.New(b)
		require.NoError(t, err)
		send := func() error {
			_, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: make([]byte, 10_000)})
			return err
		}
		for range 500 {
			full := fsys.Add(vfs.Rule{On: vfs.OpWrite, Match: vfs.Named(".log"), Err: syscall.ENOSPC})
			require.ErrorIs(t, send(), fault.DiskFull)
			full()
			require.NoError(t, send())
		}
		require.NoError(t, p.Close())
		require.NoError(t, b.Close())
	}
}

// TestEnoughReplicas: a topic that wants more copies than there are takes nothing
// from a producer that waits for all of them.
func TestEnoughReplicas(t *testing.T) {
	b := orders(t, vfs.NewMemory(), 1, topic.Config{MinReplicas: 2})
	defer b.Close()
	all, err := producer.New(b)
	require.NoError(t, err)
	defer all.Close()
	_, err = all.Send(t.Context(), record.Record{Topic: "orders"})
	require.ErrorIs(t, err, fault.NotEnoughReplicas)
	require.False(t, fault.Retriable(err))
	all.SendAsync(t.Context(), record.Record{Topic: "orders"}, nil)
	require.ErrorIs(t, all.Flush(t.Context()), fault.NotEnoughReplicas)
	leader, err := producer.New(b, producer.RequireAcks(producer.AcksLeader))
	require.NoError(t, err)
	defer leader.Close()
	_, err = leader.Send(t.Context(), record.Record{Topic: "orders"})
	require.NoError(t, err)
	require.NoError(t, b.ConfigureTopic(t.Context(), "orders", topic.Config{}))
	_, err = all.Send(t.Context(), record.Record{Topic: "orders"})
	require.NoError(t, err)
}

// TestReportsPrintWhatTheySay, not only which partition they are of.
func TestReportsPrintWhatTheySay(t *testing.T) {
	tp := record.TopicPartition{Topic: "orders"}
	for want, report := range map[string]fmt.Stringer{
		"orders-0: closed cleanly": PartitionRecovery{TopicPartition: tp, Recovery: log.Recovery{Clean: true}},
		"orders-0: 2 batches, 200 bytes verified; 7 bytes cut: zeros; indexes rebuilt: 1": PartitionRecovery{TopicPartition: tp, Recovery: log.Recovery{Batches: 2, Bytes: 200, Cut: 7, Reason: "zeros", Indexes: 1}},
		"orders-0: it is closed": PartitionRecovery{TopicPartition: tp, Err: fault.At(fault.Closed, "orders", 0, -1)},
		"orders-0: 3 segments and 500 bytes given back, 4 records compacted away": CleanStats{tp, partition.CleanStats{Segments: 3, Bytes: 500, Records: 4}},
	} {
		require.Equal(t, want, fmt.Sprint(report))
		require.Contains(t, fmt.Sprintf("%+v", []any{report}), want)
	}
}

// TestOneBadRecordFailsAlone: what is wrong with a record is found before it has
// a sequence, so those behind it do not fail with it.
func TestOneBadRecordFailsAlone(t *testing.T) {
	b := orders(t, vfs.NewMemory(), 1, topic.Config{MaxMessageBytes: 1000})
	defer b.Close()
	s, w := session(t, b, producer.Config{BatchBytes: 10_000, BufferBytes: 100_000, Idempotent: true, Compression: record.LZ4})
	defer s.Close()

	var outcomes []string
	note := func(_ record.Position, err error) {
		if err != nil {
			outcomes = append(outcomes, fault.CodeOf(err).Name())
			return
		}
		outcomes = append(outcomes, "good")
	}
	good := record.Record{Topic: "orders", Value: []byte("good")}
	tooLarge := record.Record{Topic: "orders", Value: make([]byte, 2000)}
	for i := range tooLarge.Value {
		tooLarge.Value[i] = byte(rand.Uint32()) // and it does not compress
	}
	cut := batchOf(t, "a", "b")
	cut.Bytes = cut.Bytes[:70]
	for range 3 {
		w.SendAsync(t.Context(), good, note)
		w.SendAsync(t.Context(), tooLarge, note)
		refused := false
		w.Append(t.Context(), 0, &cut, func(_ record.Position, err error) {
			require.ErrorIs(t, err, fault.InvalidRecord)
			refused = true
		})
		require.True(t, refused, "at once: it was not accepted")
		w.SendAsync(t.Context(), good, note)
	}
	require.NoError(t, s.Flush(t.Context()))
	require.Equal(t, slices.Repeat([]string{"good", "MESSAGE_TOO_LARGE", "good"}, 3), outcomes)
}

// movingFS calls moved when a directory has got another name.
type movingFS struct {
	vfs.FS
	moved func(from string)
}

func (m *movingFS) Rename(from, to string) error {
	err := m.FS.Rename(from, to)
	m.moved(from)
	return err
}

// TestDeletedTopicTakesNothingMore: not from the moment at which its files are
// moved out of the way, when an append would fail for want of a directory.
func TestDeletedTopicTakesNothingMore(t *testing.T) {
	moved := make(chan func(), 1) // the broker renames files of its own on another goroutine
	fsys := &movingFS{FS: vfs.NewMemory(), moved: func(from string) {
		if filepath.Base(from) == "orders-0" {
			(<-moved)()
		}
	}}
	b := orders(t, fsys, 1, topic.Config{Durability: topic.OS, SegmentBytes: 100})
	defer b.Close()
	p, err := b.host.Partition(record.TopicPartition{Topic: "orders"})
	require.NoError(t, err)
	send := func() error { // as a session does that has found the topic before
		return p.AppendAwait(batchOf(t, string(make([]byte, 80))).Bytes)
	}
	require.NoError(t, send())
	refused := 0
	moved <- func() {
		require.ErrorIs(t, send(), fault.UnknownTopic)
		refused++
	}
	require.NoError(t, b.DeleteTopics(t.Context(), "orders"))
	require.Equal(t, 1, refused)
}

// TestClosedProducersAreForgotten: a partition keeps nothing of producers that were
// closed cleanly, with or without records on their way.
func TestClosedProducersAreForgotten(t *testing.T) {
	disk := vfs.NewMemory()
	b := orders(t, disk, 1, topic.Config{})
	r := record.Record{Topic: "orders", Value: []byte("x")}
	for range 25 {
		idle, err := producer.New(b)
		require.NoError(t, err)
		_, err = idle.Send(t.Context(), r)
		require.NoError(t, err)
		require.NoError(t, idle.Close())

		busy, err := producer.New(b)
		require.NoError(t, err)
		_, err = busy.Send(t.Context(), r)
		require.NoError(t, err)
		busy.SendAsync(t.Context(), r, nil)
		require.NoError(t, busy.Close())
	}
	require.NoError(t, b.Close())
	entries, err := disk.ReadDir(b.host.Path(record.TopicPartition{Topic: "orders"}))
	require.NoError(t, err)
	for _, e := range entries {
		require.NotContains(t, e.Name, ".snapshot")
	}
}
