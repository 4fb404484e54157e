package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// openJetTrio is openJet with three servers in this process, clustered over TCP on loopback. The
// client is connected to the stream's leader, without a socket.
func openJetTrio(ctx context.Context, w *Work) (_ *jet, closeOthers func(), err error) {
	var servers []*server.Server
	closeAll := func() {
		for _, s := range servers {
			s.Shutdown()
			s.WaitForShutdown()
		}
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	ports, routes, err := freePorts()
	if err != nil {
		return nil, nil, err
	}
	for i, port := range ports {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("node-", i), Host: "127.0.0.1", Port: server.RANDOM_PORT,
			Cluster: server.ClusterOpts{Name: "bench", Host: "127.0.0.1", Port: port}, Routes: routes,
			JetStream: true, StoreDir: w.path(fmt.Sprint("jetstream-", i)), NoSigs: true, NoLog: true, SyncAlways: true,
			JetStreamMaxMemory: 4 << 30, JetStreamMaxStore: 16 << 30,
		})
		if err != nil {
			return nil, nil, err
		}
		servers = append(servers, s)
		s.Start()
	}
	for _, s := range servers {
		if !s.ReadyForConnections(time.Minute) {
			return nil, nil, errors.New("a NATS server does not start")
		}
	}
	j := &jet{}
	connect := func(s *server.Server) (err error) {
		if j.conn != nil {
			j.conn.Close()
		}
		if j.conn, err = nats.Connect("", nats.InProcessServer(s)); err != nil {
			return err
		}
		j.js, err = jetstream.New(j.conn, jetstream.WithDefaultTimeout(time.Minute), jetstream.WithPublishAsyncMaxPending(16<<10),
			jetstream.WithPublishAsyncErrHandler(func(jetstream.JetStream, *nats.Msg, error) { j.failed.Add(1) }))
		return err
	}
	if err := connect(servers[0]); err != nil {
		return nil, nil, err
	}
	spec := jetstream.StreamConfig{Name: "bench", Subjects: []string{jetSubject}, Storage: jetstream.FileStorage, Replicas: copies, MaxMsgs: -1, MaxBytes: -1}
	again := time.NewTicker(50 * time.Millisecond) // the servers have to elect a leader of their own first
	defer again.Stop()
	late := time.After(time.Minute)
	for {
		if j.stream, err = j.js.CreateOrUpdateStream(ctx, spec); err == nil {
			break
		}
		select {
		case <-again.C:
		case <-late:
			return nil, nil, err
		}
	}
	info, err := j.stream.Info(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range servers {
		if info.Cluster != nil && s.Name() == info.Cluster.Leader {
			if err := connect(s); err != nil {
				return nil, nil, err
			}
		}
	}
	j.stream, err = j.js.Stream(ctx, "bench")
	return j, closeAll, err
}

// freePorts returns ports that are free at the moment, and their routes.
func freePorts() (ports [copies]int, routes []*url.URL, err error) {
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return ports, nil, err
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
	}
	return ports, routes, nil
}

func jetReplicated(slower int) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (Sample, error) {
		j, closeAll, err := openJetTrio(ctx, w)
		if err != nil {
			return Sample{}, err
		}
		defer closeAll()
		defer j.close()
		n := w.part(slower)
		m := w.start()
		err = j.fill(ctx, w, n, 1)
		return m.done(int64(n), payloadBytes(n)), err
	}
}
