package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

var benchPartition = record.TopicPartition{Topic: "bench"}

// inMemory is the place of a broker without files.
const inMemory = ""

// openRunnel opens a broker with the topics of the benchmarks, of one partition
// each.
func openRunnel(ctx context.Context, dir string, d topic.Durability, topics ...string) (*runnel.Broker, error) {
	var broker *runnel.Broker
	var err error
	if dir == inMemory {
		broker, err = runnel.OpenMemory()
	} else {
		// No tool attaches, and a directory that contains a socket cannot be copied.
		broker, err = runnel.Open(dir, runnel.DefaultDurability(d), runnel.NoSocket())
	}
	if err != nil {
		return nil, err
	}
	for _, name := range topics {
		if err := broker.CreateTopics(ctx, topic.Spec{Name: name, Partitions: 1}); err != nil {
			return nil, errors.Join(err, broker.Close())
		}
	}
	return broker, nil
}

// place returns the place of the broker for a durability.
func place(w *Work, d topic.Durability) string {
	if d == topic.Memory {
		return inMemory
	}
	return w.path("runnel")
}

// fill produces n records from that many goroutines and waits for all
// acknowledgements.
func fill(ctx context.Context, broker *runnel.Broker, w *Work, n, goroutines int, m marks) error {
	p, err := producer.New(broker)
	if err != nil {
		return err
	}
	var acknowledged, failed atomic.Int64
	callback := func(at record.Position, err error) { // in offset order, one at a time
		if m.acknowledged != nil {
			m.acknowledged(int(at.Offset))
		}
		acknowledged.Store(acknowledged.Load() + 1)
		if err != nil {
			failed.Add(1)
		}
	}
	err = spread(n, goroutines, func(from, to int) error {
		for i := from; i < to; i++ {
			if m.sent != nil {
				m.sent(i)
			}
			p.SendAsync(ctx, record.Record{Topic: benchPartition.Topic, Key: w.key(i), Value: w.value(i)}, callback)
		}
		return nil
	})
	err = errors.Join(err, p.Flush(ctx), p.Close())
	if failed.Load() > 0 {
		err = errors.Join(err, errors.New("sending failed"))
	}
	return errors.Join(err, checkCount(acknowledged.Load(), n))
}

// stored fails unless the partition holds n records.
func stored(ctx context.Context, broker *runnel.Broker, n int) error {
	offsets, err := broker.ListOffsets(ctx, topic.Latest(), benchPartition)
	if err != nil {
		return err
	}
	return checkCount(offsets[benchPartition].Offset, n)
}

func runnelProduce(d topic.Durability, goroutines int) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (_ Sample, err error) {
		broker, err := openRunnel(ctx, place(w, d), d, benchPartition.Topic)
		if err != nil {
			return Sample{}, err
		}
		defer func() { err = errors.Join(err, broker.Close()) }()
		clock := newStopwatch(w.records)
		m := w.start()
		if err := fill(ctx, broker, w, w.records, goroutines, clock.acknowledgements(goroutines)); err != nil {
			return Sample{}, err
		}
		sample := m.done(int64(w.records), payloadBytes(w.records))
		sample.Latency = clock.latency()
		return sample, stored(ctx, broker, w.records)
	}
}

// read consumes n records and measures each Poll.
func read(ctx context.Context, broker *runnel.Broker, n int, polls *waits, each func(r *record.Record), opts ...consumer.Option) (err error) {
	c, err := consumer.New(broker, append(opts, consumer.Assign(benchPartition))...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	for got := 0; got < n; {
		polls.asked()
		records, err := c.Poll(ctx)
		if err != nil {
			return err
		}
		polls.brought()
		for i := range records {
			each(&records[i])
		}
		got += len(records)
	}
	return nil
}

func runnelReplay(d topic.Durability, opts ...consumer.Option) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (_ Sample, err error) {
		broker, err := openRunnel(ctx, place(w, d), d, benchPartition.Topic)
		if err != nil {
			return Sample{}, err
		}
		defer func() { err = errors.Join(err, broker.Close()) }()
		if err := fill(ctx, broker, w, w.records, 1, marks{}); err != nil {
			return Sample{}, err
		}
		var t tally
		var polls waits
		m := w.start()
		err = read(ctx, broker, w.records, &polls, func(r *record.Record) { t.add(r.Key, r.Value) }, opts...)
		sample := m.done(t.records, t.bytes)
		sample.Latency = polls.latency()
		return sample, errors.Join(err, t.check(w.records))
	}
}

// runnelSend sends records from that many goroutines and waits for each.
func runnelSend(d topic.Durability, goroutines, slower int) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (_ Sample, err error) {
		broker, err := openRunnel(ctx, place(w, d), d, benchPartition.Topic)
		if err != nil {
			return Sample{}, err
		}
		defer func() { err = errors.Join(err, broker.Close()) }()
		p, err := producer.New(broker)
		if err != nil {
			return Sample{}, err
		}
		defer func() { err = errors.Join(err, p.Close()) }()
		n := w.part(slower)
		sample, err := timedBy(w, n, goroutines, func(i int) error {
			_, err := p.Send(ctx, record.Record{Topic: benchPartition.Topic, Key: w.key(i), Value: w.value(i)})
			return err
		})
		return sample, errors.Join(err, stored(ctx, broker, n))
	}
}

// runnelPingPong sends a record to a waiting consumer, which sends it back to
// another waiting consumer.
func runnelPingPong(ctx context.Context, w *Work) (_ Sample, err error) {
	broker, err := openRunnel(ctx, inMemory, topic.Memory, "ping", "pong")
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	p, err := producer.New(broker)
	if err != nil {
		return Sample{}, err
	}
	there, err := consumer.New(broker, consumer.Assign(record.TopicPartition{Topic: "ping"}))
	if err != nil {
		return Sample{}, err
	}
	back, err := consumer.New(broker, consumer.Assign(record.TopicPartition{Topic: "pong"}))
	if err != nil {
		return Sample{}, err
	}
	n := w.part(slowTurn)
	turn := func(c *consumer.Consumer, want int) (record.Record, error) {
		records, err := c.Poll(ctx)
		if err != nil {
			return record.Record{}, err
		}
		return records[0], checkCount(records[0].Offset*int64(len(records)), want)
	}
	var echoed error
	var echo sync.WaitGroup
	echo.Go(func() {
		for i := 0; i < n && echoed == nil; i++ {
			var r record.Record
			if r, echoed = turn(there, i); echoed == nil {
				_, echoed = p.Send(ctx, record.Record{Topic: "pong", Key: r.Key, Value: r.Value})
			}
		}
		if echoed != nil {
			echoed = errors.Join(echoed, back.Close()) // ends the wait below
		}
	})
	sample, err := timed(w, n, func(i int) error {
		if _, err := p.Send(ctx, record.Record{Topic: "ping", Key: w.key(i), Value: w.value(i)}); err != nil {
			return err
		}
		_, err := turn(back, i)
		return err
	})
	if err != nil {
		err = errors.Join(err, there.Close())
	}
	echo.Wait()
	return sample, errors.Join(err, echoed, there.Close(), back.Close(), p.Close())
}

func runnelEndToEnd(d topic.Durability) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (_ Sample, err error) {
		broker, err := openRunnel(ctx, place(w, d), d, benchPartition.Topic)
		if err != nil {
			return Sample{}, err
		}
		defer func() { err = errors.Join(err, broker.Close()) }()
		clock := newStopwatch(w.records)
		var t tally
		var consumed error
		var consuming sync.WaitGroup
		m := w.start()
		consuming.Go(func() {
			consumed = read(ctx, broker, w.records, new(waits), func(r *record.Record) {
				clock.arrived(int(t.records))
				t.add(r.Key, r.Value)
			})
		})
		err = fill(ctx, broker, w, w.records, 1, marks{sent: clock.left})
		consuming.Wait()
		sample := m.done(t.records, t.bytes)
		sample.Latency = clock.latency()
		return sample, errors.Join(err, consumed, t.check(w.records))
	}
}

// filledDir returns a directory in which a broker has stored all the records.
// If it is not to be closed, it is a synced copy of the directory of a running
// broker.
func filledDir(ctx context.Context, w *Work, closed bool) (string, error) {
	dir := w.path("runnel")
	broker, err := openRunnel(ctx, dir, topic.OS, benchPartition.Topic)
	if err != nil {
		return "", err
	}
	err = fill(ctx, broker, w, w.records, 1, marks{})
	if err == nil && !closed {
		dir = w.path("copy")
		err = errors.Join(os.CopyFS(dir, os.DirFS(w.path("runnel"))), syncTree(dir))
	}
	return dir, errors.Join(err, broker.Close())
}

// syncTree makes the files below a directory durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// runnelReopen opens a directory and reads its last record.
func runnelReopen(closed bool) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (_ Sample, err error) {
		dir, err := filledDir(ctx, w, closed)
		if err != nil {
			return Sample{}, err
		}
		m := w.start()
		broker, err := openRunnel(ctx, dir, topic.OS)
		if err != nil {
			return Sample{}, err
		}
		defer func() { err = errors.Join(err, broker.Close()) }()
		var t tally
		last := consumer.FromOffset(int64(w.records - 1))
		err = read(ctx, broker, 1, new(waits), func(r *record.Record) { t.add(r.Key, r.Value) }, last)
		return m.once(t.bytes), errors.Join(err, t.check(1))
	}
}

// larger returns w with the records of the open group.
func (w *Work) larger() *Work {
	own := *w
	own.records = w.records * 5 / 2
	return &own
}

// runnelOpen is runnelReopen with more records.
func runnelOpen(closed bool) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (Sample, error) { return runnelReopen(closed)(ctx, w.larger()) }
}
