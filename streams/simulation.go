package streams

import (
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/streams/state"
	"github.com/runnel-go/runnel/topic"
)

// Simulation runs a topology without a backend: on the caller's goroutine, one
// record at a time, every topic with one partition, with the same tasks as in
// an application. Package streamstest builds typed tests on it.
//
// Every update of a store is emitted, and each record is committed when its
// results have passed through the repartition topics. A Simulation is not safe
// for concurrent use.
type Simulation struct {
	plan     *plan
	handling *handling
	tasks    []*task // by sub-topology
	now      time.Time
	topics   map[string][]record.Record
	pending  []record.Record // written to topics that the topology reads
	failed   error
}

// NewSimulation returns a Simulation of the application of that name. Its clock
// starts at Unix time 0.
func NewSimulation(name string, define func(*Topology), options ...Option) (*Simulation, error) {
	p, c, err := compile(name, define, options)
	if err != nil {
		return nil, err
	}
	s := &Simulation{plan: p, handling: c.handling, now: time.UnixMilli(0), topics: make(map[string][]record.Record)}
	if err := p.partitions(make(map[string]int)); err != nil {
		return nil, err
	}
	for _, sub := range p.subs {
		t, err := newTask(p, TaskID{SubTopology: sub.id}, s, false, c.handling)
		if err != nil {
			return nil, err
		}
		t.now = s.Now
		s.tasks = append(s.tasks, t)
	}
	for _, t := range s.tasks {
		if err := t.start(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Send writes a record to a topic that the topology reads, and processes it and
// everything that results from it. A zero timestamp means Now; partition and
// offset are ignored. Send returns fault.UnknownTopic if the topology does not
// read the topic. After a ProcessingError, which no handler resolved, the
// Simulation is no longer usable.
func (s *Simulation) Send(r record.Record) error {
	if s.failed != nil {
		return s.failed
	}
	if s.plan.byTopic[r.Topic] == nil && s.plan.topology.globalOf(r.Topic) == nil {
		return fault.At(fault.UnknownTopic, r.Topic, -1, -1).Detailf("the topology does not read it")
	}
	if r.Timestamp.IsZero() {
		r.Timestamp = s.now
	}
	s.append(r.Clone())
	s.failed = s.drain()
	return s.failed
}

// drain processes until no record is pending and nothing is held back.
func (s *Simulation) drain() error {
	for first := true; first || len(s.pending) > 0; first = false {
		for len(s.pending) > 0 {
			r := s.pending[0]
			s.pending = s.pending[1:]
			if err := s.process(r); err != nil {
				return err
			}
		}
		for _, t := range s.tasks {
			if err := t.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// process sends a record through the task that reads its topic, or into the global
// table that it belongs to.
func (s *Simulation) process(r record.Record) error {
	if g := s.plan.topology.globalOf(r.Topic); g != nil {
		return g.apply(&r, s.handling, s)
	}
	return s.tasks[s.plan.byTopic[r.Topic].id].process(r.Topic, []record.Record{r})
}

// append writes r, whose bytes must be its own, to its topic.
func (s *Simulation) append(r record.Record) {
	r.Partition, r.Offset = 0, int64(len(s.topics[r.Topic]))
	s.topics[r.Topic] = append(s.topics[r.Topic], r)
	if s.plan.byTopic[r.Topic] != nil || s.plan.topology.globalOf(r.Topic) != nil {
		s.pending = append(s.pending, r)
	}
}

// Records returns what was written to a topic so far, also to internal ones. Do
// not change the records.
func (s *Simulation) Records(topic string) []record.Record { return s.topics[topic] }

// ErrorCounts returns how many records were skipped and dead-lettered.
func (s *Simulation) ErrorCounts() ErrorCounts { return s.handling.counted() }

// Now returns the time of the Simulation's clock.
func (s *Simulation) Now() time.Time { return s.now }

// Advance moves the clock by d, which must not be negative, and makes the calls that
// processors have scheduled by the wall clock and that are due then. Its errors are
// those of Send.
func (s *Simulation) Advance(d time.Duration) error {
	if s.failed != nil {
		return s.failed
	}
	s.now = s.now.Add(max(d, 0))
	for _, t := range s.tasks {
		if s.failed = t.punctuateByWallClock(); s.failed != nil {
			return s.failed
		}
	}
	s.failed = s.drain()
	return s.failed
}

// Close ends the processors of the topology.
func (s *Simulation) Close() {
	for _, t := range s.tasks {
		t.close()
	}
}

// Store returns the store of that name, and whether there is one.
func (s *Simulation) Store(name string) (state.Store, bool) {
	for _, t := range s.tasks {
		for _, store := range t.stores {
			if store.Name() == name {
				return store.Store, true
			}
		}
	}
	return nil, false
}

// simulated is one topic that tasks write to.
type simulated struct {
	to    *Simulation
	topic string
}

// output implements outbox. Every topic exists that has a name which one may have.
func (s *Simulation) output(_ *node, name string) (output, error) {
	return simulated{s, name}, topic.ValidateName(name)
}

func (s *Simulation) deadLetters(topic string) (output, error) { return simulated{s, topic}, nil }

func (s *Simulation) changelog(topic string, _ int32) (state.Changelog, error) {
	return simulated{s, topic}, nil
}

func (o simulated) write(ms int64, key, value []byte, headers []record.Header) error {
	r := record.Record{Topic: o.topic, Timestamp: time.UnixMilli(ms), Key: key, Value: value, Headers: headers}
	o.to.append(r.Clone())
	return nil
}

func (o simulated) Append(key, value []byte, ms int64) error { return o.write(ms, key, value, nil) }
