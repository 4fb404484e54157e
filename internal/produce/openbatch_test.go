package produce

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// Many goroutines fill a batch that is sealed at any moment: exactly one of them,
// or the one who seals, finds it ready, and it holds exactly what was reserved,
// in the order of the reservations.
func TestOpenBatchIsReadyOnceAndWhole(t *testing.T) {
	s := &Session{cfg: producer.Config{}, codec: record.NewCodec(0)}
	l := &lane{session: s}
	b := newBatch(l)
	for round := range 200 {
		const senders = 8
		limit := 100 + round*20
		b.state = stateSettled // whatever the round before has left it in
		b.beginLocked(&buffer{bytes: make([]byte, limit)}, limit, 1000, 1000)
		var ready atomic.Int32
		var reservations [senders][]int32
		var wg sync.WaitGroup
		for sender := range senders {
			wg.Go(func() {
				for n := uint32(0); ; n++ {
					key := binary.BigEndian.AppendUint32([]byte{byte(sender)}, n)
					r := record.Record{Key: key, Value: key[:n%4]}
					at, outcome := b.reserve(&r, 1000+int64(n))
					if outcome != gotRoom {
						return
					}
					reservations[sender] = append(reservations[sender], at.number)
					if b.fill(at, &r, nil, false) {
						ready.Add(1)
					}
				}
			})
		}
		if round%2 == 0 {
			wg.Wait() // sealed when full, by the sender that finds it full
		}
		b.sealLocked()
		if b.state == stateReady {
			ready.Add(1)
		}
		wg.Wait()
		require.EqualValues(t, 1, ready.Load())
		_, outcome := b.reserve(&record.Record{}, 0)
		require.Equal(t, isSealed, outcome)

		total, owner := 0, map[int32]int{}
		for sender, numbers := range reservations {
			total += len(numbers)
			for _, number := range numbers {
				owner[number] = sender
			}
		}
		require.EqualValues(t, total, b.count)
		if total == 0 {
			continue
		}
		encoded, _, err := s.pack(b)
		require.NoError(t, err)
		b.lane.seal(b, encoded)
		batch, err := record.Parse(encoded)
		require.NoError(t, err)
		it, err := batch.Records(nil)
		require.NoError(t, err)
		var next [senders]uint32
		latest, number := int64(0), int32(0)
		for r := (record.Record{}); it.Next(&r); number++ {
			sender := owner[number]
			require.EqualValues(t, sender, r.Key[0])
			require.Equal(t, next[sender], binary.BigEndian.Uint32(r.Key[1:]))
			require.EqualValues(t, 1000+next[sender], r.Timestamp.UnixMilli())
			latest = max(latest, r.Timestamp.UnixMilli())
			next[sender]++
		}
		require.NoError(t, it.Err())
		require.EqualValues(t, total, number)
		require.Equal(t, latest, batch.MaxTimestamp)
	}
}

// A batch that is sealed while a record is still being copied is not ready: the
// copier says so when it is.
func TestSealedBatchWaitsForItsCopiers(t *testing.T) {
	b := newBatch(&lane{session: &Session{}})
	b.beginLocked(&buffer{bytes: make([]byte, 1000)}, 1000, 0, 0)
	r := record.Record{Value: []byte("v")}
	first, _ := b.reserve(&r, 1)
	second, _ := b.reserve(&r, 1)
	require.False(t, b.fill(second, &r, nil, false))
	b.sealLocked()
	require.Equal(t, stateSealed, b.state)
	require.True(t, b.fill(first, &r, nil, false), "which has the lane make it ready")
}

// A batch has the limit that it was opened with, though its buffer be larger.
func TestOpenBatchKeepsItsLimit(t *testing.T) {
	b := newBatch(&lane{session: &Session{}})
	r := record.Record{Value: make([]byte, 50)}
	one := record.Size(0, 0, nil, r.Value, nil)
	b.beginLocked(&buffer{bytes: make([]byte, 1000)}, record.HeaderLen+2*one, 0, 0)
	for range 2 {
		_, outcome := b.reserve(&r, 0)
		require.Equal(t, gotRoom, outcome)
	}
	_, outcome := b.reserve(&record.Record{}, 0)
	require.Equal(t, isFull, outcome)
}

// A sender that was held up over a whole life of the batch reserves nothing in
// the next one by accident.
func TestOpenBatchGenerations(t *testing.T) {
	b := newBatch(nil)
	buf := &buffer{bytes: make([]byte, 1000)}
	b.beginLocked(buf, 1000, 0, 0)
	stale := b.word.Load()
	b.sealLocked()
	b.state = stateSettled
	b.beginLocked(buf, 1000, 0, 0)
	require.Equal(t, countOf(stale), countOf(b.word.Load()))
	require.Equal(t, positionOf(stale), positionOf(b.word.Load()))
	require.False(t, b.word.CompareAndSwap(stale, stale+1))
}

func TestOpenBatchLimits(t *testing.T) {
	b := newBatch(&lane{session: &Session{}})
	b.beginLocked(&buffer{bytes: make([]byte, maxBatchBytes)}, maxBatchBytes, 0, 0)
	for n := range maxBatchRecords {
		at, outcome := b.reserve(&record.Record{}, record.NoTimestamp)
		require.Equal(t, gotRoom, outcome)
		require.EqualValues(t, n, at.number)
	}
	_, outcome := b.reserve(&record.Record{}, record.NoTimestamp)
	require.Equal(t, isFull, outcome)
	b.sealLocked()
	require.EqualValues(t, maxBatchRecords, b.count)
}
