package main

import (
	"context"
	"errors"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

const kafkaTopic = "bench"

// openKfake starts kfake, a Kafka broker inside this process with a data
// directory, on a socket of the loopback interface.
func openKfake(w *Work, sync bool) (*kfake.Cluster, error) {
	opts := []kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, kafkaTopic), kfake.DataDir(w.path("kfake"))}
	if sync {
		opts = append(opts, kfake.SyncWrites())
	}
	return kfake.NewCluster(opts...)
}

// openKgo connects a client with settings for speed: large batches, many
// records in flight, no compression.
func openKgo(c *kfake.Cluster, opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.ListenAddrs()...),
		kgo.DefaultProduceTopic(kafkaTopic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(1 << 17),
	}, opts...)...)
}

// kgoFill produces n records from that many goroutines and waits for all
// acknowledgements. It reuses records, as kgo allows.
func kgoFill(ctx context.Context, c *kgo.Client, w *Work, n, goroutines int, m marks) error {
	pool := sync.Pool{New: func() any { return new(kgo.Record) }}
	var mu sync.Mutex
	var failed error
	promise := func(r *kgo.Record, err error) {
		if err != nil {
			mu.Lock()
			failed = err
			mu.Unlock()
		}
		if m.acknowledged != nil {
			m.acknowledged(int(r.Offset))
		}
		*r = kgo.Record{}
		pool.Put(r)
	}
	err := spread(n, goroutines, func(from, to int) error {
		for i := from; i < to; i++ {
			r := pool.Get().(*kgo.Record)
			r.Key, r.Value = w.key(i), w.value(i)
			if m.sent != nil {
				m.sent(i)
			}
			c.Produce(ctx, r, promise)
		}
		return nil
	})
	return errors.Join(err, c.Flush(ctx), failed)
}

func kfakeProduce(goroutines int) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (Sample, error) {
		cluster, err := openKfake(w, false)
		if err != nil {
			return Sample{}, err
		}
		defer cluster.Close()
		client, err := openKgo(cluster)
		if err != nil {
			return Sample{}, err
		}
		defer client.Close()
		clock := newStopwatch(w.records)
		m := w.start()
		if err := kgoFill(ctx, client, w, w.records, goroutines, clock.acknowledgements(goroutines)); err != nil {
			return Sample{}, err
		}
		sample := m.done(int64(w.records), payloadBytes(w.records))
		sample.Latency = clock.latency()
		return sample, checkCount(cluster.PartitionInfo(kafkaTopic, 0).HighWatermark, w.records)
	}
}

// kgoRead consumes n records from the start and measures each poll.
func kgoRead(ctx context.Context, cluster *kfake.Cluster, n int, polls *waits, each func(r *kgo.Record)) error {
	client, err := openKgo(cluster, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{kafkaTopic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		return err
	}
	defer client.Close()
	for got := 0; got < n; {
		polls.asked()
		fetches := client.PollFetches(ctx)
		polls.brought()
		if err := errors.Join(fetches.Err(), ctx.Err()); err != nil {
			return err
		}
		fetches.EachRecord(each)
		got += fetches.NumRecords()
	}
	return nil
}

func kfakeReplay(ctx context.Context, w *Work) (Sample, error) {
	cluster, err := openKfake(w, false)
	if err != nil {
		return Sample{}, err
	}
	defer cluster.Close()
	client, err := openKgo(cluster)
	if err != nil {
		return Sample{}, err
	}
	err = kgoFill(ctx, client, w, w.records, 1, marks{})
	client.Close()
	if err != nil {
		return Sample{}, err
	}
	var read tally
	var polls waits
	m := w.start()
	err = kgoRead(ctx, cluster, w.records, &polls, func(r *kgo.Record) { read.add(r.Key, r.Value) })
	sample := m.done(read.records, read.bytes)
	sample.Latency = polls.latency()
	return sample, errors.Join(err, read.check(w.records))
}

func kfakeSend(sync bool, slower int) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (Sample, error) {
		cluster, err := openKfake(w, sync)
		if err != nil {
			return Sample{}, err
		}
		defer cluster.Close()
		client, err := openKgo(cluster)
		if err != nil {
			return Sample{}, err
		}
		defer client.Close()
		n := w.part(slower)
		sample, err := timed(w, n, func(i int) error {
			return client.ProduceSync(ctx, &kgo.Record{Key: w.key(i), Value: w.value(i)}).FirstErr()
		})
		return sample, errors.Join(err, checkCount(cluster.PartitionInfo(kafkaTopic, 0).HighWatermark, n))
	}
}

func kfakeEndToEnd(ctx context.Context, w *Work) (Sample, error) {
	cluster, err := openKfake(w, false)
	if err != nil {
		return Sample{}, err
	}
	defer cluster.Close()
	client, err := openKgo(cluster)
	if err != nil {
		return Sample{}, err
	}
	defer client.Close()
	n := w.part(2)
	clock := newStopwatch(n)
	var read tally
	var consumed error
	var consumer sync.WaitGroup
	m := w.start()
	consumer.Go(func() {
		consumed = kgoRead(ctx, cluster, n, new(waits), func(r *kgo.Record) {
			clock.arrived(int(read.records))
			read.add(r.Key, r.Value)
		})
	})
	err = kgoFill(ctx, client, w, n, 1, marks{sent: clock.left})
	consumer.Wait()
	sample := m.done(read.records, read.bytes)
	sample.Latency = clock.latency()
	return sample, errors.Join(err, consumed, read.check(n))
}

func kfakeReopen(ctx context.Context, w *Work) (Sample, error) {
	cluster, err := openKfake(w, false)
	if err != nil {
		return Sample{}, err
	}
	client, err := openKgo(cluster)
	if err == nil {
		err = kgoFill(ctx, client, w, w.records, 1, marks{})
		client.Close()
	}
	cluster.Close()
	if err != nil {
		return Sample{}, err
	}
	m := w.start()
	if cluster, err = openKfake(w, false); err != nil {
		return Sample{}, err
	}
	defer cluster.Close()
	last := kgo.NewOffset().At(int64(w.records - 1))
	client, err = openKgo(cluster, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{kafkaTopic: {0: last}}))
	if err != nil {
		return Sample{}, err
	}
	defer client.Close()
	var read tally
	fetches := client.PollFetches(ctx)
	fetches.EachRecord(func(r *kgo.Record) { read.add(r.Key, r.Value) })
	return m.once(read.bytes), errors.Join(fetches.Err(), read.check(1))
}
