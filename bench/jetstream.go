package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// jet is a NATS server inside this process, with a client that is connected
// without a socket and one stream.
type jet struct {
	server *server.Server
	conn   *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	failed atomic.Int64 // asynchronous publishes
}

const jetSubject = "bench"

func openJet(ctx context.Context, w *Work, storage jetstream.StorageType, sync bool) (_ *jet, err error) {
	j := &jet{}
	defer func() {
		if err != nil {
			j.close()
		}
	}()
	j.server, err = server.NewServer(&server.Options{
		DontListen: true, JetStream: true, StoreDir: w.path("jetstream"), NoSigs: true, NoLog: true, SyncAlways: sync,
		JetStreamMaxMemory: 4 << 30, JetStreamMaxStore: 16 << 30,
	})
	if err != nil {
		return nil, err
	}
	j.server.Start()
	if !j.server.ReadyForConnections(time.Minute) {
		return nil, errors.New("the NATS server does not start")
	}
	if j.conn, err = nats.Connect("", nats.InProcessServer(j.server)); err != nil {
		return nil, err
	}
	j.js, err = jetstream.New(j.conn, jetstream.WithDefaultTimeout(time.Minute), jetstream.WithPublishAsyncMaxPending(16<<10),
		jetstream.WithPublishAsyncErrHandler(func(jetstream.JetStream, *nats.Msg, error) { j.failed.Add(1) }))
	if err != nil {
		return nil, err
	}
	j.stream, err = j.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: "bench", Subjects: []string{jetSubject}, Storage: storage, MaxMsgs: -1, MaxBytes: -1,
	})
	return j, err
}

func (j *jet) close() {
	if j.conn != nil {
		j.conn.Close()
	}
	if j.server != nil {
		j.server.Shutdown()
		j.server.WaitForShutdown()
	}
}

// fill publishes n records from so many goroutines and waits for all
// acknowledgements.
func (j *jet) fill(ctx context.Context, w *Work, n, goroutines int) error {
	err := spread(n, goroutines, func(from, to int) error {
		for i := from; i < to; i++ {
			if _, err := j.js.PublishAsync(jetSubject, w.payload(i), jetstream.WithStallWait(time.Minute)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case <-j.js.PublishAsyncComplete():
	case <-ctx.Done():
		return ctx.Err()
	}
	if failed := j.failed.Load(); failed > 0 {
		return errors.New("publishing failed")
	}
	return j.count(ctx, n)
}

func (j *jet) count(ctx context.Context, n int) error {
	info, err := j.stream.Info(ctx)
	if err != nil {
		return err
	}
	return checkCount(info.State.Msgs, n)
}

// slowJet divides the number of records for JetStream.
const slowJet = 20

func jetProduce(storage jetstream.StorageType, goroutines int) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (Sample, error) {
		j, err := openJet(ctx, w, storage, false)
		if err != nil {
			return Sample{}, err
		}
		defer j.close()
		n := w.part(slowJet)
		m := w.start()
		err = j.fill(ctx, w, n, goroutines)
		return m.done(int64(n), payloadBytes(n)), err
	}
}

// read consumes n records with an ordered consumer, JetStream's fastest, and
// measures the wait for each.
func (j *jet) read(ctx context.Context, n int, nexts *waits, each func(payload []byte)) error {
	c, err := j.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	messages, err := c.Messages(jetstream.PullMaxMessages(10_000))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for range n {
		nexts.asked()
		msg, err := messages.Next()
		if err != nil {
			return err
		}
		nexts.brought()
		each(msg.Data())
	}
	return nil
}

func jetReplay(storage jetstream.StorageType) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (Sample, error) {
		j, err := openJet(ctx, w, storage, false)
		if err != nil {
			return Sample{}, err
		}
		defer j.close()
		n := w.part(slowJet)
		if err := j.fill(ctx, w, n, 1); err != nil {
			return Sample{}, err
		}
		var read tally
		var nexts waits
		m := w.start()
		err = j.read(ctx, n, &nexts, read.addJoined)
		sample := m.done(read.records, read.bytes)
		sample.Latency = nexts.latency()
		return sample, errors.Join(err, read.check(n))
	}
}

func jetSend(storage jetstream.StorageType, sync bool, goroutines, slower int) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (Sample, error) {
		j, err := openJet(ctx, w, storage, sync)
		if err != nil {
			return Sample{}, err
		}
		n := w.part(slower)
		sample, err := timedBy(w, n, goroutines, func(i int) error {
			_, err := j.js.Publish(ctx, jetSubject, w.payload(i))
			return err
		})
		err = errors.Join(err, j.count(ctx, n))
		j.close()
		if err != nil || !sync {
			return sample, err
		}
		if j, err = openJet(ctx, w, storage, sync); err != nil {
			return Sample{}, err
		}
		defer j.close()
		var read tally
		err = j.read(ctx, n, new(waits), read.addJoined)
		return sample, errors.Join(err, read.check(n))
	}
}

func jetEndToEnd(storage jetstream.StorageType) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (Sample, error) {
		j, err := openJet(ctx, w, storage, false)
		if err != nil {
			return Sample{}, err
		}
		defer j.close()
		n := w.part(slowJet)
		clock := newStopwatch(n)
		var read tally
		var consumed error
		var consumer sync.WaitGroup
		m := w.start()
		consumer.Go(func() {
			consumed = j.read(ctx, n, new(waits), func(payload []byte) {
				clock.arrived(int(read.records))
				read.addJoined(payload)
			})
		})
		for i := 0; i < n && err == nil; i++ {
			clock.left(i)
			_, err = j.js.PublishAsync(jetSubject, w.payload(i), jetstream.WithStallWait(time.Minute))
		}
		consumer.Wait()
		sample := m.done(read.records, read.bytes)
		sample.Latency = clock.latency()
		return sample, errors.Join(err, consumed, read.check(n))
	}
}

func jetReopen(ctx context.Context, w *Work) (Sample, error) {
	j, err := openJet(ctx, w, jetstream.FileStorage, false)
	if err != nil {
		return Sample{}, err
	}
	n := w.part(slowJet)
	err = j.fill(ctx, w, n, 1)
	j.close()
	if err != nil {
		return Sample{}, err
	}
	m := w.start()
	if j, err = openJet(ctx, w, jetstream.FileStorage, false); err != nil {
		return Sample{}, err
	}
	defer j.close()
	msg, err := j.stream.GetMsg(ctx, uint64(n))
	if err != nil {
		return Sample{}, err
	}
	var read tally
	read.addJoined(msg.Data)
	return m.once(read.bytes), read.check(1)
}
