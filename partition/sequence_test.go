package partition_test

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// produced encodes values as a batch of an idempotent producer.
func produced(id int64, epoch int16, sequence int32, values ...string) []byte {
	raw := batchOf(values...)
	record.StampProducer(raw, id, epoch, sequence)
	return raw
}

// produce appends such a batch and waits.
func produce(p *partition.Partition, id int64, epoch int16, sequence int32, values ...string) (int64, error) {
	done := newOutcome()
	p.Append(produced(id, epoch, sequence, values...), nil, done)
	return done.wait()
}

func TestSequences(t *testing.T) {
	p, _ := open(t, configOn(vfs.NewMemory()))
	defer p.Close()
	for _, step := range []struct {
		id       int64
		epoch    int16
		sequence int32
		values   []string
		base     int64
		code     fault.Code
	}{
		{id: 1, sequence: 0, values: []string{"a", "b"}, base: 0},
		{id: 1, sequence: 0, values: []string{"a", "b"}, base: 0}, // again
		{id: 1, sequence: 2, values: []string{"c"}, base: 2},
		{id: 1, sequence: 4, values: []string{"e"}, code: fault.OutOfOrderSequence},
		{id: 1, sequence: 3, values: []string{"d"}, base: 3},
		{id: 1, sequence: 0, values: []string{"a"}, code: fault.DuplicateSequence}, // no batch had these alone
		{id: 2, sequence: 1, values: []string{"x"}, code: fault.UnknownProducer},
		{id: 2, sequence: 0, values: []string{"x"}, base: 4},
		{id: 1, epoch: 2, sequence: 4, values: []string{"e"}, code: fault.OutOfOrderSequence},
		{id: 1, epoch: 2, sequence: 0, values: []string{"e"}, base: 5},
		{id: 1, epoch: 1, sequence: 0, values: []string{"f"}, code: fault.InvalidProducerEpoch},
		{id: 1, epoch: 0, sequence: 4, values: []string{"f"}, code: fault.InvalidProducerEpoch},
		{id: 1, epoch: 2, sequence: 0, values: []string{"e"}, base: 5},
		{id: 1, epoch: 2, sequence: 1, values: []string{"f", "g"}, base: 6},
		{id: 1, epoch: -1, sequence: 3, values: []string{"h"}, code: fault.InvalidRecord},
		{id: 1, epoch: 2, sequence: -1, values: []string{"h"}, code: fault.InvalidRecord},
		{id: -2, epoch: 2, sequence: 0, values: []string{"h"}, code: fault.InvalidRecord},
	} {
		base, err := produce(p, step.id, step.epoch, step.sequence, step.values...)
		if step.code != 0 {
			require.ErrorIs(t, err, step.code, "%+v", step)
			require.EqualValues(t, -1, base)
			continue
		}
		require.NoError(t, err, "%+v", step)
		require.Equal(t, step.base, base, "%+v", step)
	}
	for i := range int32(6) { // the sixth last is remembered as written, but not where
		_, err := produce(p, 1, 2, 3+i, "x")
		require.NoError(t, err)
	}
	base, err := produce(p, 1, 2, 4, "x")
	require.NoError(t, err)
	require.EqualValues(t, 9, base)
	_, err = produce(p, 1, 2, 3, "x")
	require.ErrorIs(t, err, fault.DuplicateSequence)
	require.Equal(t, []string{"a", "b", "c", "d", "x", "e", "f", "g", "x", "x", "x", "x", "x", "x"}, readAll(t, p, 0))
}

// TestSequencesBeginAgain: after 2^31-1 comes 0.
func TestSequencesBeginAgain(t *testing.T) {
	cfg := configOn(vfs.NewMemory())
	l, _, err := log.Open(cfg.Log)
	require.NoError(t, err)
	old := produced(1, 0, math.MaxInt32-1, "a", "b", "c") // the last of very many
	record.Stamp(old, 0, 0)
	require.NoError(t, l.Append(old, nil))
	require.NoError(t, l.Close())

	p, _ := open(t, cfg)
	defer p.Close()
	_, err = produce(p, 1, 0, 2, "x")
	require.ErrorIs(t, err, fault.OutOfOrderSequence)
	base, err := produce(p, 1, 0, math.MaxInt32-1, "a", "b", "c")
	require.NoError(t, err)
	require.Zero(t, base)
	base, err = produce(p, 1, 0, 1, "d")
	require.NoError(t, err)
	require.EqualValues(t, 3, base)
	_, err = produce(p, 1, 0, math.MaxInt32-2, "old")
	require.ErrorIs(t, err, fault.DuplicateSequence)
}

// TestSequencesOfOneWrite: what waits together is written together, and each
// batch is judged as if the ones before it were written.
func TestSequencesOfOneWrite(t *testing.T) {
	fs := &gatedFS{FS: vfs.NewMemory()}
	cfg := configOn(fs)
	cfg.Fsync = true
	p, _ := open(t, cfg)
	defer p.Close()
	_, err := produce(p, 1, 0, 0, "0")
	require.NoError(t, err)

	fs.shut() // whatever comes now waits together
	begun := newOutcome()
	p.Append(batchOf("first"), nil, begun)
	type sent struct {
		*outcome
		base int64
		code fault.Code
	}
	var all []sent
	send := func(base int64, code fault.Code, batch []byte) {
		s := sent{newOutcome(), base, code}
		p.Append(batch, nil, s)
		all = append(all, s)
	}
	send(2, 0, produced(1, 0, 1, "1"))
	send(3, 0, produced(1, 0, 2, "2"))
	send(2, 0, produced(1, 0, 1, "1"))                             // again
	send(-1, fault.OutOfOrderSequence, produced(1, 0, 4, "4"))     // a gap
	send(4, 0, produced(1, 0, 3, "3"))                             // which this closes
	send(5, 0, produced(1, 0, 4, "4"))                             //
	send(6, 0, produced(1, 1, 0, "5"))                             // a new epoch
	send(-1, fault.InvalidProducerEpoch, produced(1, 0, 5, "old")) //
	send(7, 0, produced(2, 0, 0, "6"))                             // a new producer
	send(8, 0, produced(2, 0, 1, "7"))                             //
	send(-1, fault.UnknownProducer, produced(3, 0, 1, "never"))    //
	for i := range int64(200) {
		send(9+i, 0, produced(100+i, 0, 0, fmt.Sprint(i)))
	}
	fs.open()
	_, err = begun.wait()
	require.NoError(t, err)
	for i, s := range all {
		base, err := s.wait()
		require.Equal(t, s.base, base, "batch %d: %v", i, err)
		if s.code != 0 {
			require.ErrorIs(t, err, s.code)
		} else {
			require.NoError(t, err)
		}
	}
	require.Len(t, readAll(t, p, 0), 209)
}

// TestProducersAreForgotten: those who ended at once, those of earlier processes
// with time, those who are there never.
func TestProducersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMemory()
		cfg := configOn(fs)
		cfg.ProducerExpiration = 24 * time.Hour
		p, _ := open(t, cfg)
		sendAs := func(id int64, sequence int32) error {
			b := record.NewBuilder(100)
			b.Add(time.Now().UnixMilli(), nil, []byte("x"), nil)
			batch, err := b.Batch(nil, record.None, 0)
			require.NoError(t, err)
			record.StampProducer(batch.Bytes, id, 0, sequence)
			done := newOutcome()
			p.Append(batch.Bytes, nil, done)
			_, err = done.wait()
			return err
		}
		reopen := func() {
			require.NoError(t, p.Close())
			p, _ = open(t, cfg)
		}
		require.NoError(t, sendAs(1, 0))
		require.NoError(t, sendAs(2, 0))
		p.EndProducer(2)
		time.Sleep(20 * time.Hour)
		reopen()
		require.NoError(t, sendAs(1, 1), "20 hours are not 24")
		require.ErrorIs(t, sendAs(2, 1), fault.UnknownProducer)
		time.Sleep(1000 * time.Hour)
		require.NoError(t, sendAs(1, 2), "it has been here all the time")
		reopen()
		time.Sleep(25 * time.Hour)
		reopen()
		require.ErrorIs(t, sendAs(1, 3), fault.UnknownProducer)

		for id := int64(10); id < 10_000; id++ {
			require.NoError(t, sendAs(id, 0))
			if id != 10 {
				p.EndProducer(id)
			}
		}
		require.NoError(t, sendAs(10, 1))
		require.Less(t, p.Known(), 2050)
		reopen()
		require.Equal(t, 1, p.Known())
		require.NoError(t, p.Close())
	})
}

// TestSequenceModel has producers that retry, skip and fall back, on a disk that
// fills up and loses its power, and holds what was written against a model:
// each sequence once, in order, and acknowledged where it is.
func TestSequenceModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &sequenceModel{disk: vfs.NewCrashable(), producers: map[int64]*modelProducer{}}
		m.cfg.Log.SegmentBytes = 700
		m.open(t)
		t.Repeat(map[string]func(*rapid.T){
			"send":  m.send,
			"retry": m.retry,
			"skip":  m.skip,
			"epoch": m.newEpoch,
			"full":  m.full,
			"crash": m.crash,
			"close": m.close,
			"":      m.check,
		})
		m.fsys.Clear()
		require.NoError(t, m.p.Close())
	})
}

type sequenceModel struct {
	disk      *vfs.Crashable
	fsys      *vfs.Faulty
	cfg       partition.Config
	p         *partition.Partition
	values    []string
	producers map[int64]*modelProducer
}

type modelProducer struct {
	epoch   int16
	next    int32
	batches []modelSent // of this epoch
	known   int         // of so many of the last ones the partition knows for certain where they are
}

type modelSent struct {
	first  int32
	values []string
	base   int64
}

func (m *sequenceModel) open(t *rapid.T) {
	m.fsys = vfs.NewFaulty(m.disk)
	cfg := configOn(m.fsys)
	cfg.Log.SegmentBytes, cfg.Fsync = 700, true
	m.cfg = cfg
	m.p, _ = open(t, cfg)
}

func (m *sequenceModel) producer(t *rapid.T) (int64, *modelProducer) {
	id := rapid.Int64Range(1, 4).Draw(t, "producer")
	if m.producers[id] == nil {
		m.producers[id] = &modelProducer{}
	}
	return id, m.producers[id]
}

func (m *sequenceModel) send(t *rapid.T) {
	id, p := m.producer(t)
	values := make([]string, rapid.IntRange(1, 4).Draw(t, "records"))
	for i := range values {
		values[i] = fmt.Sprintf("%d/%d/%d", id, p.epoch, int(p.next)+i)
	}
	base, err := produce(m.p, id, p.epoch, p.next, values...)
	if err != nil {
		require.ErrorIs(t, err, fault.DiskFull)
		return
	}
	require.EqualValues(t, len(m.values), base)
	m.values = append(m.values, values...)
	p.batches = append(p.batches, modelSent{p.next, values, base})
	p.next += int32(len(values))
	p.known = min(p.known+1, 5)
}

func (m *sequenceModel) retry(t *rapid.T) {
	id, p := m.producer(t)
	if len(p.batches) == 0 {
		return
	}
	i := rapid.IntRange(0, len(p.batches)-1).Draw(t, "batch")
	b := p.batches[i]
	base, err := produce(m.p, id, p.epoch, b.first, b.values...)
	newer := len(p.batches) - i
	if newer > 5 || newer > p.known && err != nil {
		require.ErrorIs(t, err, fault.DuplicateSequence)
		return
	}
	require.NoError(t, err)
	require.Equal(t, b.base, base)
}

func (m *sequenceModel) skip(t *rapid.T) {
	id, p := m.producer(t)
	_, err := produce(m.p, id, p.epoch, p.next+rapid.Int32Range(1, 100).Draw(t, "by"), "skipped")
	if p.epoch == 0 && len(p.batches) == 0 {
		require.ErrorIs(t, err, fault.UnknownProducer)
		return
	}
	require.ErrorIs(t, err, fault.OutOfOrderSequence)
}

func (m *sequenceModel) newEpoch(t *rapid.T) {
	id, p := m.producer(t)
	if len(p.batches) == 0 {
		return
	}
	m.producers[id] = &modelProducer{epoch: p.epoch + 1}
	m.fsys.Clear()
	m.send1(t, id)
	_, err := produce(m.p, id, p.epoch, p.next, "of the old epoch")
	require.ErrorIs(t, err, fault.InvalidProducerEpoch)
}

// send1 sends one record of a producer, which succeeds.
func (m *sequenceModel) send1(t *rapid.T, id int64) {
	p := m.producers[id]
	values := []string{fmt.Sprintf("%d/%d/%d", id, p.epoch, p.next)}
	base, err := produce(m.p, id, p.epoch, p.next, values...)
	require.NoError(t, err)
	m.values = append(m.values, values...)
	p.batches = append(p.batches, modelSent{p.next, values, base})
	p.next++
	p.known = min(p.known+1, 5)
}

func (m *sequenceModel) full(t *rapid.T) {
	if rapid.Bool().Draw(t, "full") {
		m.fsys.SetFree(rapid.Int64Range(0, 600).Draw(t, "bytes"))
		return
	}
	m.fsys.Clear()
}

// crash loses what was not synced. What was acknowledged was, so the producers
// are as before, but that only the last batch's place is certain.
func (m *sequenceModel) crash(t *rapid.T) {
	m.disk = m.disk.Crash(vfs.RandomLoss(rapid.Uint64().Draw(t, "seed")))
	_ = m.p.Close()
	m.reopened(t)
}

func (m *sequenceModel) close(t *rapid.T) {
	m.fsys.Clear()
	require.NoError(t, m.p.Close())
	m.reopened(t)
}

func (m *sequenceModel) reopened(t *rapid.T) {
	m.open(t)
	for id, p := range m.producers {
		if len(p.batches) == 0 {
			continue
		}
		p.known = 1
		last := p.batches[len(p.batches)-1]
		base, err := produce(m.p, id, p.epoch, last.first, last.values...)
		require.NoError(t, err)
		require.Equal(t, last.base, base)
	}
}

func (m *sequenceModel) check(t *rapid.T) {
	require.EqualValues(t, len(m.values), m.p.HighWatermark())
	require.Equal(t, append([]string(nil), m.values...), readAll(t, m.p, 0))
}

// TestProducersThatWroteNothing: nothing is kept for ever of who came and went.
func TestProducersThatWroteNothing(t *testing.T) {
	for _, fsync := range []bool{false, true} {
		p, _ := open(t, smallSegments(fsync))
		for id := range int64(5000) {
			p.EndProducer(id)
		}
		done := newOutcome()
		p.Append(keyedBatch(1, "k", -1, 0), nil, done) // behind what was to be done
		_, err := done.wait()
		require.NoError(t, err)
		require.Less(t, p.Ended(), 1024)
		require.NoError(t, p.Close())
	}
}

// TestForgettingProducers: a partition remembers few of the producers that have
// ended, and never forgets one that goes on.
func TestForgettingProducers(t *testing.T) {
	for _, fsync := range []bool{false, true} {
		cfg := smallSegments(fsync)
		cfg.Crowd = 4
		p, _ := open(t, cfg)
		const stays = int64(1000)
		for n := range int32(40) {
			_, err := produce(p, stays, 0, n, "goes on")
			require.NoError(t, err, "it is the one that wrote first, and is not forgotten")
			_, err = produce(p, int64(n), 0, 0, "comes and goes")
			require.NoError(t, err)
			p.EndProducer(int64(n))
			require.LessOrEqual(t, p.Known(), 2+2*4)
		}
		base, err := produce(p, stays, 0, 39, "goes on")
		require.NoError(t, err)
		require.EqualValues(t, 78, base, "what it sent last is known")
		_, err = produce(p, 3, 0, 1, "it had ended")
		require.ErrorIs(t, err, fault.UnknownProducer)
		require.NoError(t, p.Close())
	}
}

// TestForgettingInACrowd: those who have ended are forgotten when there are many
// who have not, without waiting for more to end.
func TestForgettingInACrowd(t *testing.T) {
	cfg := smallSegments(false)
	cfg.Crowd = 4
	p, _ := open(t, cfg)
	wrote := func(from, to int64) {
		for id := from; id < to; id++ {
			_, err := produce(p, id, 0, 0, "v")
			require.NoError(t, err)
		}
	}
	wrote(0, 5)
	require.Equal(t, 5, p.Known())
	wrote(10, 13)
	for id := int64(10); id < 13; id++ {
		p.EndProducer(id)
	}
	require.Equal(t, 8, p.Known())
	wrote(20, 23)
	require.Equal(t, 8, p.Known(), "11 were more than twice what was left the last time")
	require.Zero(t, p.Ended())
	require.NoError(t, p.Close())
}
