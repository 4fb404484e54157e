package attach

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

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
	v := newVisit(&Server{backend: stub{}}, far)
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

// What a program has sent behind a record that could not be written, before it
// was told, is not written either: it may lie in a parcel of its own, and come
// when the broker is well again.
func TestNothingIsWrittenBehindAFailure(t *testing.T) {
	for _, idempotent := range []bool{true, false} {
		s, w := visited(t, producer.Config{BatchBytes: 1 << 10, BufferBytes: 1 << 20, Idempotent: idempotent})
		type outcome struct {
			value string
			err   error
		}
		told, failing, hold := make(chan outcome, 10), make(chan struct{}), make(chan struct{})
		send := func(value string, partition int32) {
			w.SendAsync(t.Context(), record.Record{Partition: partition, Value: []byte(value)}, func(_ record.Position, err error) {
				if value == "fail" {
					close(failing)
					<-hold // the program has not heard of it yet
				}
				told <- outcome{value, err}
			})
		}
		send("before", 0)
		require.Equal(t, outcome{"before", nil}, <-told)
		send("fail", 0)
		<-failing
		send("behind", 0)
		send("elsewhere", 1)
		close(hold)
		require.Equal(t, outcome{"fail", fault.DiskFull}, <-told)
		for range 2 {
			o := <-told
			if o.value == "behind" && idempotent {
				require.ErrorIs(t, o.err, fault.DiskFull)
			} else {
				require.NoError(t, o.err)
			}
		}
		require.NoError(t, s.Flush(t.Context()))
		send("afterwards", 0)
		require.Equal(t, outcome{"afterwards", nil}, <-told)
	}
}

// A failed record is alone in what it is alone to blame for.
func TestWhatConcernsOneRecord(t *testing.T) {
	for _, err := range []error{fault.RecordTooLarge, fault.At(fault.InvalidTimestamp, "t", 0, -1), fault.UnknownTopic} {
		require.True(t, alone(err))
	}
	for _, err := range []error{fault.DiskFull, fault.Storage, fault.OutOfOrderSequence, fault.Closed, io.EOF, context.Canceled, errors.New("x")} {
		require.False(t, alone(err))
	}
}
