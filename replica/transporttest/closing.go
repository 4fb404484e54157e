package transporttest

import (
	"context"
	"io"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
)

func startRefuses(f *fixture) {
	a := f.unstarted(1)
	require.ErrorIs(f, a.Start(0, a.handler), fault.InvalidConfig)
	require.ErrorIs(f, a.Start(1, nil), fault.InvalidConfig)
	require.NoError(f, a.Start(1, a.handler))
	require.ErrorIs(f, a.Start(1, a.handler), fault.InvalidRequest)
	require.NoError(f, a.Close())
	require.ErrorIs(f, a.Start(1, a.handler), fault.Closed)
}

// Streams in both directions, frames under way and frames kept by a handler when
// one side closes.
func closeEndsEverything(f *fixture) {
	serving, ended := make(chan struct{}), make(chan error, 1)
	a, b := f.serving(func(_ replica.NodeID, _ replica.StreamKind, s replica.Stream) {
		close(serving)
		_, err := io.ReadAll(s)
		ended <- err
	})
	s, err := a.Open(f.ctx, 2, 1)
	require.NoError(f, err)
	f.soon("the stream is served", serving)
	b.mu.Lock()
	b.keep = true
	b.mu.Unlock()
	for i := range uint64(100) {
		a.Send(2, replica.LaneBulk, &pack(i, make([]byte, 10_000)).Frame)
	}
	reading := make(chan error, 1)
	go func() {
		_, err := s.Read(make([]byte, 1))
		reading <- err
	}()
	require.NoError(f, b.Close())
	require.ErrorIs(f, <-ended, fault.Closed)
	require.ErrorIs(f, <-reading, fault.NetworkException)
	require.NoError(f, b.Close())
	b.mu.Lock()
	require.ErrorIs(f, b.downs[1][0], fault.Closed)
	b.mu.Unlock()
	b.release()

	f.until(a, "node 2 is down", func() bool { return !a.up[2] })
	require.NoError(f, a.Close())
	require.NoError(f, s.Close())
	_, err = a.Open(f.ctx, 2, 1)
	require.ErrorIs(f, err, fault.Closed)
	a.SetPeers(map[replica.NodeID]string{2: b.address})
	require.False(f, a.Send(2, replica.LaneBulk, &pack(1).Frame))
}

func closeWithoutStart(f *fixture) {
	a := f.unstarted(1)
	a.SetPeers(map[replica.NodeID]string{2: "nowhere"})
	_, err := a.Open(f.ctx, 2, 1)
	require.ErrorIs(f, err, fault.Closed, "not started")
	require.NoError(f, a.Close())
	require.NoError(f, a.Close())
}

// Two nodes send, open streams and change their peers on several goroutines, while they are
// closed, each twice at once.
func closeAtAnyMoment(f *fixture) {
	for round := range 5 {
		a, b := f.unstarted(1), f.unstarted(2)
		a.onStream = func(_ replica.NodeID, _ replica.StreamKind, s replica.Stream) { _, _ = io.Copy(s, s) }
		b.onStream = a.onStream
		require.NoError(f, a.Start(1, a.handler))
		require.NoError(f, b.Start(2, b.handler))
		f.meet(a, b)
		ctx, cancel := context.WithCancel(f.ctx)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var sent []*parcel
		busy := make(chan struct{}, 1<<20)
		for _, way := range []struct {
			from *node
			to   replica.NodeID
		}{{a, 2}, {b, 1}} {
			for lane := range replica.Lane(replica.Lanes) {
				wg.Go(func() {
					for i := uint64(0); ctx.Err() == nil && i < 2000; i++ {
						p := pack(i, make([]byte, i%5000))
						mu.Lock()
						sent = append(sent, p)
						mu.Unlock()
						way.from.Send(way.to, lane, &p.Frame)
						busy <- struct{}{}
					}
				})
			}
			wg.Go(func() {
				for range 50 {
					s, err := way.from.Open(ctx, way.to, 1)
					if err != nil {
						return
					}
					_, _ = s.Write([]byte("hello"))
					_, _ = io.ReadFull(s, make([]byte, 5))
					_ = s.Close()
				}
			})
			wg.Go(func() {
				for i := range 20 {
					peers := map[replica.NodeID]string{1: a.address, 2: b.address}
					if i%2 == 0 {
						delete(peers, way.to)
					}
					way.from.SetPeers(peers)
				}
			})
		}
		for range round * 1000 {
			<-busy
		}
		for _, n := range []*node{a, a, b, b} {
			wg.Go(func() { _ = n.Close() })
		}
		require.NoError(f, a.Close())
		require.NoError(f, b.Close())
		cancel()
		wg.Wait()
		for _, p := range sent {
			require.Equal(f, 1, p.releases())
		}
	}
}
