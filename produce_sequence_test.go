package runnel

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
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

// TestBatchesBearSequences: each session has a producer ID of its own, and its
// sequences count the records of each partition, however they are sent.
func TestBatchesBearSequences(t *testing.T) {
	for _, durability := range []topic.Durability{topic.Memory, topic.Fsync} {
		b := openOn(t, vfs.NewMemory())
		defer b.Close()
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2, Config: topic.Config{Durability: durability}}))
		seen := map[int64]bool{}
		for range 3 {
			s, err := b.OpenProducer(t.Context(), producer.Config{BatchBytes: 1000, BufferBytes: 100_000, Idempotent: true})
			require.NoError(t, err)
			w, err := s.Topic(t.Context(), "orders")
			require.NoError(t, err)
			from := len(batchesOf(t, b, record.TopicPartition{Topic: "orders", Partition: 1}))
			for i := range 50 {
				r := record.Record{Topic: "orders", Partition: 1, Value: make([]byte, 100)}
				switch i % 4 {
				case 0:
					_, err = w.Send(t.Context(), r)
				case 1:
					r.Value = make([]byte, 2000) // a batch to itself
					fallthrough
				case 2:
					w.SendAsync(t.Context(), r, nil)
				case 3:
					batch := batchOf(t, "a", "b", "c")
					record.StampProducer(batch.Bytes, 77, 7, 777) // is overwritten
					batch, err = record.Parse(batch.Bytes)
					require.NoError(t, err)
					w.Append(t.Context(), 1, &batch, nil)
				}
				require.NoError(t, err)
			}
			require.NoError(t, s.Flush(t.Context()))
			next, id := int32(0), int64(-1)
			for _, batch := range batchesOf(t, b, record.TopicPartition{Topic: "orders", Partition: 1})[from:] {
				if id < 0 {
					id = batch.ProducerID
					require.False(t, seen[id])
					seen[id] = true
				}
				require.Equal(t, id, batch.ProducerID)
				require.Zero(t, batch.ProducerEpoch)
				require.Equal(t, next, batch.BaseSequence)
				next += batch.Count
			}
			require.EqualValues(t, 13+13+12+3*12, next)
			require.NoError(t, s.Close())
		}
		// Without idempotence, no producer is named, whichever had the batch before.
		s, err := b.OpenProducer(t.Context(), producer.Config{BatchBytes: 1000, BufferBytes: 100_000})
		require.NoError(t, err)
		w, err := s.Topic(t.Context(), "orders")
		require.NoError(t, err)
		batch := batchOf(t, "a", "b")
		record.StampProducer(batch.Bytes, 77, 7, 777)
		batch, err = record.Parse(batch.Bytes)
		require.NoError(t, err)
		w.Append(t.Context(), 0, &batch, nil)
		_, err = w.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("c")})
		require.NoError(t, err)
		for _, batch := range batchesOf(t, b, record.TopicPartition{Topic: "orders"}) {
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

func noHoles(t *testing.T, seed uint64, durability topic.Durability, attached bool) (failures int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	fsys := vfs.NewFaulty(vfs.NewMemory())
	b := openOn(t, fsys)
	backend := producer.Backend(b)
	if attached {
		backend = attachedTo(t, b)
	}
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: topic.Config{Durability: durability, SegmentBytes: 20_000}}))
	compression := record.None
	if seed%3 == 0 {
		compression = record.LZ4
	}
	s, err := backend.OpenProducer(t.Context(), producer.Config{BatchBytes: 1000, BufferBytes: 20_000, Idempotent: true, Compression: compression})
	require.NoError(t, err)
	w, err := s.Topic(t.Context(), "orders")
	require.NoError(t, err)

	const n = 3000
	var clock atomic.Int64 // one more at each callback
	var outcomes [n]error
	var told, sent [n]int64 // when
	for i := range n {
		switch rng.IntN(100) {
		case 0:
			fsys.SetFree(rng.Int64N(3000))
		case 1, 2:
			fsys.SetFree(-1)
		case 3:
			_ = s.Flush(t.Context())
		}
		value := binary.BigEndian.AppendUint32(nil, uint32(i))
		value = append(value, make([]byte, rng.IntN(200))...)
		if rng.IntN(50) == 0 {
			value = append(value, make([]byte, 1500)...)
		}
		done := func(_ record.Position, err error) {
			outcomes[i], told[i] = err, clock.Add(1)
		}
		if rng.IntN(20) == 0 {
			builder := record.NewBuilder(1 << 20)
			builder.Add(0, nil, value, nil)
			batch, err := builder.Batch(nil, record.None, 0)
			require.NoError(t, err)
			w.Append(t.Context(), 0, &batch, done)
		} else {
			w.SendAsync(t.Context(), record.Record{Topic: "orders", Value: value}, done)
		}
		sent[i] = clock.Load()
	}
	fsys.SetFree(-1)
	_ = s.Flush(t.Context())
	require.EqualValues(t, n, clock.Load())

	var want []uint32
	failed := 0 // the one that was told last, so far
	for i, err := range outcomes {
		switch {
		case err != nil:
			require.ErrorIs(t, err, fault.DiskFull)
			if failures++; told[i] > told[failed] {
				failed = i
			}
		default:
			if failures > 0 {
				require.GreaterOrEqual(t, sent[i], told[failed], "seed %d: record %d is behind %d, which failed", seed, i, failed)
			}
			want = append(want, uint32(i))
		}
	}
	var got []uint32
	for _, batch := range batchesOf(t, b, record.TopicPartition{Topic: "orders"}) {
		it, err := batch.Records(b.host.Codec())
		require.NoError(t, err)
		for r := (record.Record{}); it.Next(&r); {
			got = append(got, binary.BigEndian.Uint32(r.Value))
		}
	}
	require.Equal(t, want, got, "seed %d", seed)
	NothingIsHeld(t, b)
	require.NoError(t, s.Close())
	require.NoError(t, b.Close())
	return failures
}

// TestToldFailureIsOver: who has been told that a record failed and sends again
// fails for reasons of its own alone.
func TestToldFailureIsOver(t *testing.T) {
	for _, durability := range []topic.Durability{topic.OS, topic.Fsync} {
		fsys := vfs.NewFaulty(vfs.NewMemory())
		b := openOn(t, fsys)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: topic.Config{Durability: durability}}))
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
// from who waits for all of them.
func TestEnoughReplicas(t *testing.T) {
	b := openOn(t, vfs.NewMemory())
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: topic.Config{MinReplicas: 2}}))
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
// a sequence.
func TestOneBadRecordFailsAlone(t *testing.T) {
	b := openOn(t, vfs.NewMemory())
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: topic.Config{MaxMessageBytes: 1000}}))
	s, err := b.OpenProducer(t.Context(), producer.Config{BatchBytes: 10_000, BufferBytes: 100_000, Idempotent: true, Compression: record.LZ4})
	require.NoError(t, err)
	defer s.Close()
	w, err := s.Topic(t.Context(), "orders")
	require.NoError(t, err)
	random := make([]byte, 2000)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	lying := batchOf(t, "a", "b")
	lying.Count = 3
	var outcomes []string
	refused := 0
	note := func(_ record.Position, err error) {
		if err == nil {
			outcomes = append(outcomes, "good")
			return
		}
		outcomes = append(outcomes, fault.CodeOf(err).Name())
	}
	for range 3 {
		w.SendAsync(t.Context(), record.Record{Topic: "orders", Value: []byte("good")}, note)
		w.SendAsync(t.Context(), record.Record{Topic: "orders", Value: random}, note) // does not compress
		w.Append(t.Context(), 0, &record.Batch{BatchHeader: lying.BatchHeader, Bytes: lying.Bytes[:70]}, func(_ record.Position, err error) {
			require.ErrorIs(t, err, fault.InvalidRecord) // at once: it was not accepted
			refused++
		})
		w.SendAsync(t.Context(), record.Record{Topic: "orders", Value: []byte("good")}, note)
	}
	require.NoError(t, s.Flush(t.Context()))
	require.Equal(t, 3, refused)
	one := []string{"good", "MESSAGE_TOO_LARGE", "good"}
	require.Equal(t, append(append(append([]string(nil), one...), one...), one...), outcomes)
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
	b := openOn(t, fsys)
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: topic.Config{Durability: topic.OS, SegmentBytes: 100}}))
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

// TestClosedProducersAreForgotten: a partition keeps nothing of those who were
// closed cleanly.
func TestClosedProducersAreForgotten(t *testing.T) {
	disk := vfs.NewMemory()
	b := openOn(t, disk)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	for i := range 50 {
		p, err := producer.New(b)
		require.NoError(t, err)
		_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("x")})
		require.NoError(t, err)
		if i%2 == 0 {
			p.SendAsync(t.Context(), record.Record{Topic: "orders", Value: []byte("y")}, nil)
		}
		require.NoError(t, p.Close())
	}
	require.NoError(t, b.Close())
	entries, err := disk.ReadDir(b.host.Path(record.TopicPartition{Topic: "orders"}))
	require.NoError(t, err)
	for _, e := range entries {
		require.NotContains(t, e.Name, ".snapshot")
	}
}
