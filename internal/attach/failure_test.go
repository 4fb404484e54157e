package attach

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// visited returns a client's session with a stub for a backend, and ends both
// with the test.
func visited(t *testing.T, cfg producer.Config) (*sending, *writer) {
	t.Helper()
	near, far := net.Pipe()
	v := newVisit(newServer(stub{}), far)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		v.run()
	}()
	c, r, err := meet(near)
	require.NoError(t, err)
	s := newSending(&Client{control: c}, c, cfg)
	c.start(r)
	t.Cleanup(func() {
		c.close()
		<-ended
	})
	require.NoError(t, c.call(t.Context(), openProducer, func(c *coder) { c.producerConfig(&cfg) }, none))
	w, err := s.Topic(t.Context(), "orders")
	require.NoError(t, err)
	return s, w.(*writer)
}

// Records that a client sent behind one that could not be written, before it
// knew that, are not written either, even if they are in a parcel of their own
// that arrives when the broker has recovered.
func TestNothingIsWrittenBehindAFailure(t *testing.T) {
	for _, idempotent := range []bool{true, false} {
		near, far := net.Pipe()
		v := newVisit(newServer(stub{}), far)
		cfg := producer.Config{BatchBytes: 1 << 10, BufferBytes: 1 << 20, Idempotent: idempotent}
		require.NoError(t, v.intake.open(t.Context(), stub{}, cfg))
		number, _, err := v.intake.topic(t.Context(), "orders")
		require.NoError(t, err)
		send := func(value string, partition int32, heard uint32) run {
			b := record.NewBuilder(1 << 10)
			b.Add(record.NoTimestamp, nil, []byte(value), nil)
			batch, err := b.Batch(nil, record.None, 0)
			require.NoError(t, err)
			c := writing()
			(&arrival{target: number, partition: partition, heard: heard}).fields(c)
			require.NoError(t, v.intake.parcel(frame{kind: kindParcel, body: append(c.w.B, batch.Bytes...)}, hold{}))
			runs := v.intake.runs
			v.intake.runs = nil
			require.Len(t, runs, 1)
			return runs[0]
		}
		require.NoError(t, send("before", 0, 0).err)
		failed := send("fail", 0, 0)
		require.ErrorIs(t, failed.err, fault.DiskFull)
		behind := send("behind", 0, 0)
		if require.NoError(t, send("elsewhere", 1, 0).err); idempotent {
			require.EqualValues(t, 1, failed.failure)
			require.ErrorIs(t, behind.err, fault.DiskFull)
			require.EqualValues(t, 1, behind.failure)
		} else {
			require.NoError(t, behind.err)
		}
		require.NoError(t, send("afterwards", 0, failed.failure).err)
		require.NoError(t, near.Close())
	}
}

// A record that reaches the session at the moment at which a record before it
// fails comes with a context that the failure has ended.
func TestFailureEndsWhatWaits(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	in := &newVisit(newServer(stub{}), far).intake
	require.NoError(t, in.open(t.Context(), stub{}, producer.Config{BatchBytes: 1, BufferBytes: 1, Idempotent: true}))
	number, _, err := in.topic(t.Context(), "orders")
	require.NoError(t, err)
	first, second := &arrival{id: 1, target: number}, &arrival{id: 2, target: number}
	_, before := in.passGate(first, 0)
	_, waiting := in.passGate(second, 0)
	require.NoError(t, waiting.Err())
	in.outcome(first, 0, record.Position{Offset: -1}, fault.DiskFull)
	require.Error(t, before.Err())
	require.Error(t, waiting.Err())
	in.outcome(second, 0, record.Position{Offset: -1}, waiting.Err())
	require.ErrorIs(t, in.runs[1].err, fault.DiskFull, "which is why")
	require.Greater(t, in.runs[1].failure, in.runs[0].failure)
	_, after := in.passGate(&arrival{target: number, heard: in.runs[1].failure}, 0)
	require.NoError(t, after.Err())
}

// While a program is being told that records failed, its sends wait. Otherwise
// they would be written between two holes, one of them still unknown.
func TestSendingWaitsUntilFailuresAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := visited(t, producer.Config{BatchBytes: 1 << 10, BufferBytes: 1 << 20, Idempotent: true})
		var told []string
		hold := make(chan struct{})
		send := func(ctx context.Context, value string, partition int32) {
			w.SendAsync(ctx, record.Record{Partition: partition, Value: []byte(value)}, func(_ record.Position, err error) {
				if value == "fail" {
					<-hold
				}
				if err != nil {
					value += " failed"
				}
				told = append(told, value)
			})
		}
		send(t.Context(), "fail", 0)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		go send(ctx, "impatient", 0)
		go send(t.Context(), "patient", 0)
		send(t.Context(), "elsewhere", 1)
		synctest.Wait()
		cancel()
		synctest.Wait()
		require.Equal(t, []string{"impatient failed"}, told)
		close(hold)
		synctest.Wait()
		require.ElementsMatch(t, []string{"impatient failed", "fail failed", "elsewhere", "patient"}, told)
		require.NoError(t, s.Flush(t.Context()))
		nothingIsHeld(t, s)
	})
}

// An error that concerns one record only leaves the records after it alone.
func TestWhatConcernsOneRecord(t *testing.T) {
	for _, err := range []error{fault.RecordTooLarge, fault.At(fault.InvalidTimestamp, "t", 0, -1), fault.UnknownTopic} {
		require.True(t, oneRecordOnly(err))
	}
	for _, err := range []error{fault.DiskFull, fault.Storage, fault.OutOfOrderSequence, fault.Closed, io.EOF, context.Canceled, errors.New("x")} {
		require.False(t, oneRecordOnly(err))
	}
}
