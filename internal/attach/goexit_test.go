package attach_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// oneRecordOnly runs fn on a goroutine and waits until that has ended, however it ends.
func oneRecordOnly(fn func()) {
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		fn()
	}()
	wg.Wait()
}

// A rebalance callback that does not return ends its consumer, and no goroutine
// keeps waiting: the group continues, and another member gets the records of
// the call.
func TestCallbackThatDoesNotReturn(t *testing.T) {
	b, _, dir := serve(t, topic.Spec{Name: "orders"})
	client := dial(t, dir)
	_, err := newProducer(t, client).Send(t.Context(), record.Record{Topic: "orders", Value: []byte("v")})
	require.NoError(t, err)
	began := time.Now()
	exit := func([]record.TopicPartition) { runtime.Goexit() }
	for _, option := range []consumer.Option{consumer.OnAssigned(exit), consumer.OnRevoked(exit)} {
		c, err := consumer.New(client, consumer.Group("g"), consumer.Topics("orders"), option, consumer.ManualCommit())
		require.NoError(t, err)
		oneRecordOnly(func() {
			_, _ = c.Poll(t.Context())
			_ = c.Close() // here OnRevoked ends the goroutine
		})
		_, err = c.Poll(t.Context())
		require.ErrorIs(t, err, fault.Closed)
		oneRecordOnly(func() { _ = c.Close() })
	}
	c, err := consumer.New(b, consumer.Group("g"), consumer.Topics("orders"))
	require.NoError(t, err)
	batch, err := c.Poll(t.Context())
	require.NoError(t, err)
	require.Len(t, batch, 1)
	require.NoError(t, c.Close())
	require.NoError(t, client.Close())
	require.Less(t, time.Since(began), patience)
}

// exiting is a writer that ends its goroutine, or panics.
type exiting struct{ panics bool }

func (w exiting) Write([]byte) (int, error) {
	if w.panics {
		panic("no")
	}
	runtime.Goexit()
	return 0, nil
}

// A writer that does not return, or panics, does so on its caller's goroutine,
// and its connection ends.
func TestWriterThatDoesNotReturn(t *testing.T) {
	_, server, dir := serve(t)
	client := dial(t, dir)
	oneRecordOnly(func() { _ = client.Stream(t.Context(), "20", exiting{}) })
	require.PanicsWithValue(t, "no", func() { _ = client.Stream(t.Context(), "20", exiting{panics: true}) })
	_, err := client.Topics(t.Context())
	require.NoError(t, err)
	began := time.Now()
	server.Close()
	require.Less(t, time.Since(began), patience)
}
