package backendtest

import (
	"runtime"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// alone runs fn on a goroutine and waits until that has ended, however it ends.
func alone(fn func()) {
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		fn()
	}()
	wg.Wait()
}

// exit ends its goroutine, as a failed require does.
func exit([]record.TopicPartition) { runtime.Goexit() }

var goexitTests = []test{
	{"a rebalance callback that does not return blocks no other member", func(s *suite) {
		for name, option := range map[string]consumer.Option{
			"OnAssigned": consumer.OnAssigned(exit), "OnRevoked": consumer.OnRevoked(exit),
		} {
			orders, group := s.topic(1, topic.Config{}), s.name()
			s.send(orders, 0, "a")
			c := s.newConsumer(consumer.Group(group), consumer.Topics(orders), consumer.ManualCommit(), option)
			alone(func() { _, _ = c.Poll(s.ctx) })
			began := time.Now()
			alone(func() { _ = c.Close() })
			require.Less(s, time.Since(began), patience/2, name)
			next := s.newConsumer(consumer.Group(group), consumer.Topics(orders), consumer.ManualCommit())
			require.Equal(s, []string{"a"}, s.poll(next, 1), name)
			require.NoError(s, next.Close())
		}
	}},
	{"a loop's body that does not return leaves the loop", func(s *suite) {
		orders := s.topic(1, topic.Config{})
		s.send(orders, 0, "a", "b")
		for name, body := range map[string]func(){
			"Goexit": runtime.Goexit,
			"panic":  func() { panic("no") },
		} {
			c := s.newConsumer(consumer.Group(s.name()), consumer.Topics(orders))
			alone(func() {
				defer func() { _ = recover() }()
				for _, err := range c.Records(s.ctx) {
					if err == nil {
						body()
					}
				}
			})
			require.Equal(s, []string{"a", "b"}, s.poll(c, 2), name+": it comes again")
			require.NoError(s, c.Close())
		}
	}},
	{"a function of CommitAsync that does not return is alone in that", func(s *suite) {
		orders := s.topic(1, topic.Config{})
		s.send(orders, 0, "a")
		c := s.newConsumer(consumer.Group(s.name()), consumer.Topics(orders), consumer.ManualCommit())
		s.poll(c, 1)
		told := make(chan error, 10)
		for range 5 {
			c.CommitAsync(func(err error) {
				told <- err
				runtime.Goexit()
			})
		}
		for range 5 {
			require.NoError(s, <-told)
		}
		c.CommitAsync(func(err error) { told <- err })
		require.NoError(s, <-told)
		require.NoError(s, c.Close())
	}},
}
