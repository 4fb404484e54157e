package runneltest_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/leak"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/runneltest"
	"github.com/runnel-go/runnel/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leak.Patient(m)) }

// recorder is a testing.TB that records its calls, and lets a test end when
// the test says so.
type recorder struct {
	testing.TB
	cleanups []func()
	errors   []string
	fatal    bool

	mu   sync.Mutex // the broker's logger has a goroutine of its own
	logs []string
}

func (r *recorder) Helper()      {}
func (r *recorder) Name() string { return "TestRecorded" }
func (r *recorder) Failed() bool { return len(r.errors) > 0 }
func (r *recorder) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs = append(r.logs, fmt.Sprintf(format, args...))
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	r.fatal = true
	panic(r)
}

// end runs the cleanups, the last one first.
func (r *recorder) end() {
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
}

// brokerWith returns a fixture of a recorded test, with one topic and record.
func brokerWith(t *testing.T) (*recorder, *runneltest.Broker) {
	r := &recorder{TB: t}
	b := runneltest.New(r)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	p, err := producer.New(b)
	require.NoError(t, err)
	_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("read-only")})
	require.NoError(t, err)
	require.NoError(t, p.Close())
	return r, b
}

func TestCleanTestPasses(t *testing.T) {
	r, b := brokerWith(t)
	r.end()
	require.Empty(t, r.errors)
	_, err := b.Topics(t.Context())
	require.ErrorIs(t, err, fault.Closed)
}

func TestClosedByTheTestItself(t *testing.T) {
	r, b := brokerWith(t)
	require.NoError(t, b.Close())
	r.end()
	require.Empty(t, r.errors)
}

func TestOpenSessionsFailTheTest(t *testing.T) {
	r, b := brokerWith(t)
	_, err := producer.New(b)
	require.NoError(t, err)
	_, err = consumer.New(b, consumer.Assign(record.TopicPartition{Topic: "orders"}))
	require.NoError(t, err)
	r.end()
	require.Len(t, r.errors, 1)
	require.Contains(t, r.errors[0], "still open at the end of the test: 2")
}

func TestWritingIntoARecordFailsTheTest(t *testing.T) {
	r, b := brokerWith(t)
	c, err := consumer.New(b, consumer.Assign(record.TopicPartition{Topic: "orders"}))
	require.NoError(t, err)
	batch, err := c.Poll(t.Context())
	require.NoError(t, err)
	batch[0].Value[0] = 'R'
	require.NoError(t, c.Close())
	r.end()
	require.Len(t, r.errors, 1)
	require.Contains(t, r.errors[0], "Record.Clone")
	require.Contains(t, r.errors[0], "orders-0")
}

func TestBadOptionsFailTheTest(t *testing.T) {
	r := &recorder{TB: t}
	require.Panics(t, func() { runneltest.New(r, runnel.DefaultPartitions(-1)) })
	require.True(t, r.fatal)
	require.Contains(t, r.errors[0], "DefaultPartitions(-1)")
}

func TestInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := runneltest.New(t)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		c, err := consumer.New(b, consumer.Topics("orders"), consumer.Group("g"))
		require.NoError(t, err)
		defer c.Close()
		p, err := producer.New(b)
		require.NoError(t, err)
		defer p.Close()
		time.AfterFunc(time.Hour, func() {
			p.SendAsync(t.Context(), record.Record{Topic: "orders", Value: []byte("late")}, nil)
		})
		began := time.Now()
		batch, err := c.Poll(t.Context())
		require.NoError(t, err)
		require.Len(t, batch, 1)
		require.Equal(t, time.Hour, time.Since(began))
	})
}
