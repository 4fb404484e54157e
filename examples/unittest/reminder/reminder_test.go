package reminder_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/examples/unittest/reminder"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/runneltest"
)

// fixture is the service on a broker in memory.
type fixture struct {
	*testing.T
	broker *runneltest.Broker
	stop   func()
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{T: t, broker: runneltest.New(t)}
	f.start()
	return f
}

func (f *fixture) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- reminder.Run(ctx, f.broker, time.Hour) }()
	synctest.Wait() // until the service waits for orders
	f.stop = func() {
		cancel()
		require.NoError(f, <-done)
	}
}

func (f *fixture) order(number string, status reminder.Status) {
	p, err := producer.New(f.broker)
	require.NoError(f, err)
	defer p.Close()
	_, err = producer.To(p, reminder.Orders).Send(f.Context(), number, status)
	require.NoError(f, err)
}

// reminders returns all that there have been so far.
func (f *fixture) reminders() []string {
	synctest.Wait()
	c, err := consumer.New(f.broker, consumer.Assign(record.TopicPartition{Topic: reminder.Reminders.Name}))
	require.NoError(f, err)
	defer c.Close()
	var all []string
	now, cancel := context.WithCancel(f.Context())
	cancel() // with an ended ctx, Poll returns what is available
	for {
		records, err := consumer.Of(c, reminder.Reminders).Poll(now)
		if err != nil {
			require.ErrorIs(f, err, context.Canceled)
			return all
		}
		for _, r := range records {
			all = append(all, r.Value)
		}
	}
}

func TestRemindsAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time passes only while all goroutines wait
		f := newFixture(t)
		defer func() { f.stop() }()
		f.order("7", reminder.Placed)
		time.Sleep(59 * time.Minute)
		require.Empty(f, f.reminders())
		time.Sleep(time.Minute)
		require.Equal(f, []string{"7"}, f.reminders())
		time.Sleep(24 * time.Hour)
		require.Equal(f, []string{"7"}, f.reminders(), "once is enough")
	})
}

func TestDoesNotRemindOfWhatIsPaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time passes only while all goroutines wait
		f := newFixture(t)
		defer func() { f.stop() }()
		f.order("7", reminder.Placed)
		f.order("8", reminder.Placed)
		time.Sleep(30 * time.Minute)
		f.order("7", reminder.Paid)
		time.Sleep(time.Hour)
		require.Equal(f, []string{"8"}, f.reminders())
	})
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time passes only while all goroutines wait
		f := newFixture(t)
		defer func() { f.stop() }()
		f.order("7", reminder.Placed)
		time.Sleep(time.Hour)
		require.Equal(f, []string{"7"}, f.reminders())
		f.stop()
		f.order("8", reminder.Placed)
		time.Sleep(2 * time.Hour)
		require.Equal(f, []string{"7"}, f.reminders(), "no one is left to remind")
		f.start()
		require.Equal(f, []string{"7", "8"}, f.reminders(), "late, and the other one not again")
	})
}
