package backendtest

import (
	"context"
	"io"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Closer is a backend that a test may close.
type Closer interface {
	Backend
	io.Closer
}

// RunClosing runs the tests that close a backend under the sessions of
// consumers. open returns a new backend every time.
func RunClosing(t *testing.T, open func(t *testing.T) Closer) {
	for _, test := range closingBackendTests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			test.run(newSuite(t, b, Features{}), b)
		})
	}
}

// told records the callbacks of a session. It has no lock, so that the race
// detector sees callbacks that run on another goroutine than the one that
// fetches.
type told struct {
	fetching bool
	kinds    []string
	assigned chan struct{}
	during   func(kind string, partitions []record.TopicPartition)
}

func (n *told) note(cfg *consumer.Config) {
	on := func(kind string) func([]record.TopicPartition) {
		return func(partitions []record.TopicPartition) {
			if n.fetching {
				n.kinds = append(n.kinds, kind)
			} else {
				n.kinds = append(n.kinds, kind+" elsewhere")
			}
			if n.during != nil {
				n.during(kind, partitions)
			}
			if kind == "assigned" {
				n.assigned <- struct{}{}
			}
		}
	}
	cfg.OnAssigned, cfg.OnRevoked, cfg.OnLost = on("assigned"), on("revoked"), on("lost")
}

// reader fetches on a goroutine of its own, until the first error.
func (s *suite) reader(group string, n *told) (c consumer.Session, failed <-chan error) {
	name := s.topic(1, topic.Config{})
	n.assigned = make(chan struct{}, 10)
	c = s.consumer(inGroup(group, name), n.note)
	done := make(chan error, 1)
	go func() {
		n.fetching = true
		_, err := s.fetchOnce(s.ctx, c, consumer.UntilDone, nil)
		n.fetching = false
		done <- err
	}()
	select {
	case <-n.assigned:
	case <-s.ctx.Done():
		s.Fatal("nothing was assigned")
	}
	return c, done
}

var closingTests = []test{
	{"from elsewhere has the goroutine that fetches call back", func(s *suite) {
		var n told
		c, failed := s.reader(s.name(), &n)
		require.NoError(s, c.Close())
		require.ErrorIs(s, <-failed, fault.Closed)
		require.Equal(s, []string{"assigned", "revoked"}, n.kinds)
		require.NoError(s, c.Close())
		require.Len(s, n.kinds, 2)
	}},
	{"may be done twice at once", func(s *suite) {
		var n told
		c, failed := s.reader(s.name(), &n)
		closed := make(chan error, 2)
		for range 2 {
			go func() { closed <- c.Close() }()
		}
		require.NoError(s, <-closed)
		require.NoError(s, <-closed)
		require.ErrorIs(s, <-failed, fault.Closed)
		require.Equal(s, []string{"assigned", "revoked"}, n.kinds)
	}},
	{"within a callback ends the session behind it", func(s *suite) {
		var n told
		var c consumer.Session
		name := s.topic(1, topic.Config{})
		n.assigned = make(chan struct{}, 10)
		n.during = func(kind string, _ []record.TopicPartition) {
			if kind == "assigned" {
				if err := c.Close(); err != nil {
					s.Errorf("Close: %v", err)
				}
			}
		}
		c = s.consumer(inGroup(s.name(), name), n.note)
		n.fetching = true
		_, err := c.Fetch(s.ctx, consumer.UntilDone, nil)
		require.ErrorIs(s, err, fault.Closed)
		require.Equal(s, []string{"assigned", "revoked"}, n.kinds)
		require.Empty(s, c.Assignment())
	}},
	{"by the goroutine that fetches calls back there, and offsets can be committed", func(s *suite) {
		var n told
		var c consumer.Session
		name, group := s.topic(1, topic.Config{}), s.name()
		n.assigned = make(chan struct{}, 10)
		s.send(name, 0, "a")
		n.during = func(kind string, partitions []record.TopicPartition) {
			if kind != "revoked" {
				return
			}
			err := c.Commit(s.ctx, map[record.TopicPartition]consumer.Offset{partitions[0]: {Offset: 1, LeaderEpoch: -1}})
			if err != nil {
				s.Errorf("Commit: %v", err)
			}
		}
		c = s.consumer(inGroup(group, name), n.note)
		n.fetching = true
		s.fetch(c, 1)
		require.NoError(s, c.Close())
		require.Equal(s, []string{"assigned", "revoked"}, n.kinds)
		committed, err := s.GroupOffsets(s.ctx, group)
		require.NoError(s, err)
		require.EqualValues(s, 1, committed[tp(name, 0)].Offset)
	}},
	{"of a consumer has its loop end it, and calls back there", func(s *suite) {
		name := s.topic(1, topic.Config{})
		s.send(name, 0, "a", "b")
		var n told
		var cfg consumer.Config
		n.assigned = make(chan struct{}, 10)
		n.note(&cfg)
		c := s.newConsumer(consumer.Group(s.name()), consumer.Topics(name),
			consumer.OnAssigned(cfg.OnAssigned), consumer.OnRevoked(cfg.OnRevoked), consumer.OnLost(cfg.OnLost))
		inBody, goOn, over := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() {
			n.fetching = true
			for _, err := range c.Records(s.ctx) {
				if err != nil {
					over <- err
					return
				}
				if !slices.Contains(n.kinds, "body") { // else Close came before the first record
					close(inBody)
					<-goOn
				}
				n.kinds = append(n.kinds, "body")
			}
		}()
		<-inBody
		closed := make(chan error)
		go func() { closed <- c.Close() }()
		time.AfterFunc(20*time.Millisecond, func() { close(goOn) })
		require.NoError(s, <-closed)
		require.ErrorIs(s, <-over, fault.Closed)
		require.Equal(s, []string{"assigned", "body", "revoked"}, slices.Compact(n.kinds))
	}},
	{"of a consumer within the body of its own loop calls back there", func(s *suite) {
		name := s.topic(1, topic.Config{})
		s.send(name, 0, "a")
		var n told
		var cfg consumer.Config
		n.assigned, n.fetching = make(chan struct{}, 10), true
		n.note(&cfg)
		c := s.newConsumer(consumer.Group(s.name()), consumer.Topics(name),
			consumer.OnAssigned(cfg.OnAssigned), consumer.OnRevoked(cfg.OnRevoked), consumer.OnLost(cfg.OnLost))
		for _, err := range c.Records(s.ctx) {
			require.NoError(s, err)
			require.NoError(s, c.Close())
			break
		}
		require.Equal(s, []string{"assigned", "revoked"}, n.kinds)
	}},
	{"of a consumer whose loop is pulled does not wait for it", func(s *suite) {
		s.still()
		name, group := s.topic(1, topic.Config{}), s.name()
		s.send(name, 0, "a", "b")
		var n told
		var cfg consumer.Config
		n.assigned, n.fetching = make(chan struct{}, 10), true
		n.note(&cfg)
		c := s.newConsumer(consumer.Group(group), consumer.Topics(name),
			consumer.OnAssigned(cfg.OnAssigned), consumer.OnRevoked(cfg.OnRevoked), consumer.OnLost(cfg.OnLost))
		next, stop := iter.Pull2(c.Records(s.ctx)) // the loop is a goroutine of its own
		defer stop()
		r, err, _ := next()
		require.NoError(s, err)
		require.Equal(s, "a", string(r.Value))
		require.NoError(s, c.Close())
		require.Equal(s, []string{"assigned"}, n.kinds)
		_, err, _ = next()
		require.ErrorIs(s, err, fault.Closed)
		require.Equal(s, []string{"assigned", "revoked"}, n.kinds)
		committed, err := s.GroupOffsets(s.ctx, group)
		require.NoError(s, err)
		require.Equal(s, s.at(1), committed[tp(name, 0)].Offset, "the next record was asked for")
	}},
}

var closingBackendTests = []struct {
	name string
	run  func(s *suite, b Closer)
}{
	{"while a goroutine fetches lets it call back", func(s *suite, b Closer) {
		var n told
		_, failed := s.reader(s.name(), &n)
		require.NoError(s, b.Close())
		require.ErrorIs(s, <-failed, fault.Closed)
		require.Len(s, n.kinds, 2)
		require.Contains(s, []string{"revoked", "lost"}, n.kinds[1])
	}},
	{"between two calls is reported by the next one", func(s *suite, b Closer) {
		var n told
		n.assigned = make(chan struct{}, 10)
		name := s.topic(1, topic.Config{})
		s.send(name, 0, "a")
		c := s.consumer(inGroup(s.name(), name), n.note)
		between, goOn, over := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() {
			n.fetching = true
			_, err := s.fetchOnce(s.ctx, c, consumer.UntilDone, nil)
			n.fetching = false
			if err != nil {
				over <- err
			}
			close(between)
			<-goOn
			n.kinds = append(n.kinds, "processed")
			n.fetching = true
			_, err = c.Fetch(context.WithoutCancel(s.ctx), consumer.UntilDone, nil)
			over <- err
		}()
		<-between
		require.NoError(s, b.Close())
		close(goOn)
		require.ErrorIs(s, <-over, fault.Closed)
		require.Equal(s, []string{"assigned", "processed", "lost"}, n.kinds)
		require.NoError(s, c.Close())
		require.Len(s, n.kinds, 3)
	}},
	{"between two calls is reported by Close", func(s *suite, b Closer) {
		var n told
		n.assigned, n.fetching = make(chan struct{}, 10), true
		name := s.topic(1, topic.Config{})
		s.send(name, 0, "a")
		c := s.consumer(inGroup(s.name(), name), n.note)
		s.fetch(c, 1)
		require.NoError(s, b.Close())
		require.Equal(s, []string{"assigned"}, n.kinds)
		require.NoError(s, c.Close())
		require.Equal(s, []string{"assigned", "lost"}, n.kinds)
	}},
	{"leaves what a producer was told nothing of to the producer's own Close", func(s *suite, b Closer) {
		name := s.topic(1, topic.Config{})
		p := s.program(producer.Linger(time.Hour))
		p.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte("x")}, nil)
		require.NoError(s, b.Close())
		err := p.Close()
		require.ErrorIs(s, err, fault.Closed)
		require.ErrorContains(s, err, name+"-0: ")
		require.NoError(s, p.Close())
	}},
}
