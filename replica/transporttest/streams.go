package transporttest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
)

// serving starts nodes 1 and 2, connected, where node 2 serves streams with serve.
func (f *fixture) serving(serve func(from replica.NodeID, kind replica.StreamKind, s replica.Stream)) (a, b *node) {
	f.Helper()
	a, b = f.start(1), f.unstarted(2)
	b.onStream = serve
	require.NoError(f, b.Start(2, b.handler))
	f.meet(a, b)
	return a, b
}

// Several streams at once: the peer reads to the end, and then answers with the same
// bytes, each stream with its own.
func streamsCarryBytesBothWays(f *fixture) {
	a, _ := f.serving(func(from replica.NodeID, kind replica.StreamKind, s replica.Stream) {
		all, err := io.ReadAll(s)
		if err == nil {
			_, _ = s.Write(append([]byte{byte(from), byte(kind)}, all...))
		}
	})
	var wg sync.WaitGroup
	failures := make([]error, 5)
	for i := range failures {
		wg.Go(func() {
			sent := pattern(i*i*60_000, uint64(i))
			failures[i] = func() error {
				s, err := a.Open(f.ctx, 2, replica.StreamKind(i))
				if err != nil {
					return err
				}
				defer s.Close()
				for rest := sent; len(rest) > 0; {
					n := min(len(rest), 10_000)
					if _, err := s.Write(rest[:n]); err != nil {
						return err
					}
					rest = rest[n:]
				}
				if err := s.CloseWrite(); err != nil {
					return err
				}
				if _, err := s.Write([]byte{1}); err == nil {
					return errors.New("a write after CloseWrite succeeded")
				}
				got, err := io.ReadAll(s)
				if err == nil && !bytes.Equal(got, append([]byte{1, byte(i)}, sent...)) {
					err = errors.New("other bytes came back")
				}
				return err
			}()
		})
	}
	wg.Wait()
	for i, err := range failures {
		require.NoError(f, err, "stream %d", i)
	}
}

// The peer does not read: Write waits, with bounded memory, until the stream's context ends.
func streamsHoldBoundedBytes(f *fixture) {
	done := make(chan struct{})
	a, _ := f.serving(func(_ replica.NodeID, _ replica.StreamKind, s replica.Stream) {
		_, _ = s.Read(make([]byte, 1))
		<-done
	})
	defer close(done)
	ctx, cancel := context.WithCancelCause(f.ctx)
	s, err := a.Open(ctx, 2, 1)
	require.NoError(f, err)
	defer s.Close()
	enough := errors.New("waited enough")
	stop := time.AfterFunc(300*time.Millisecond, func() { cancel(enough) })
	defer stop.Stop()
	written, chunk := 0, make([]byte, 1<<20)
	for err == nil && written < 1<<30 {
		var n int
		n, err = s.Write(chunk)
		written += n
	}
	require.ErrorIs(f, err, enough)
	require.Less(f, written, 256<<20, "bytes that a stream holds")
}

func streamsEndWithTheirContext(f *fixture) {
	atPeer := make(chan error, 1)
	a, _ := f.serving(func(_ replica.NodeID, _ replica.StreamKind, s replica.Stream) {
		_, err := io.ReadAll(s)
		atPeer <- err
	})
	ctx, cancel := context.WithCancelCause(f.ctx)
	s, err := a.Open(ctx, 2, 1)
	require.NoError(f, err)
	defer s.Close()
	_, err = s.Write([]byte("half a sentence"))
	require.NoError(f, err)

	reason := errors.New("changed my mind")
	reading := make(chan error, 1)
	go func() {
		_, err := s.Read(make([]byte, 1))
		reading <- err
	}()
	cancel(reason)
	require.ErrorIs(f, <-reading, reason)
	_, err = s.Write([]byte("rest"))
	require.ErrorIs(f, err, reason)
	require.ErrorIs(f, <-atPeer, fault.NetworkException, "a stream that was given up does not look like one that ended")

	_, err = a.Open(ctx, 2, 1)
	require.ErrorIs(f, err, reason)
}

// The peer reads a bit, answers, and is done: HandleStream returns.
func streamsClosedByThePeer(f *fixture) {
	a, _ := f.serving(func(_ replica.NodeID, _ replica.StreamKind, s replica.Stream) {
		_, _ = io.ReadFull(s, make([]byte, 3))
		_, _ = s.Write([]byte("enough"))
	})
	s, err := a.Open(f.ctx, 2, 1)
	require.NoError(f, err)
	defer s.Close()
	_, err = s.Write([]byte("abc"))
	require.NoError(f, err)
	got, err := io.ReadAll(s)
	require.NoError(f, err)
	require.Equal(f, "enough", string(got))
	written := 0
	for err == nil && written < 1<<30 {
		var n int
		n, err = s.Write(make([]byte, 64<<10))
		written += n
	}
	require.ErrorIs(f, err, fault.NetworkException)
}

// This side closes: what it wrote arrives, and its own calls fail.
func streamsClosedHere(f *fixture) {
	atPeer := make(chan string, 1)
	a, _ := f.serving(func(_ replica.NodeID, _ replica.StreamKind, s replica.Stream) {
		all, err := io.ReadAll(s)
		if err != nil {
			all = []byte(err.Error())
		}
		atPeer <- string(all)
	})
	s, err := a.Open(f.ctx, 2, 1)
	require.NoError(f, err)
	reading := make(chan error, 1)
	go func() {
		_, err := s.Read(make([]byte, 1))
		reading <- err
	}()
	_, err = s.Write([]byte("last words"))
	require.NoError(f, err)
	require.NoError(f, s.Close())
	require.NoError(f, s.Close())
	require.ErrorIs(f, <-reading, fault.Closed)
	require.Equal(f, "last words", <-atPeer)
	_, err = s.Write([]byte("more"))
	require.ErrorIs(f, err, fault.Closed)
	_, err = s.Read(make([]byte, 1))
	require.ErrorIs(f, err, fault.Closed)
}

func streamsToNowhere(f *fixture) {
	a, b := f.pair()
	_, err := a.Open(f.ctx, 9, 1)
	require.ErrorIs(f, err, fault.NetworkException)
	require.ErrorContains(f, err, "node 9")
	require.NoError(f, b.Close())
	_, err = a.Open(f.ctx, 2, 1)
	require.ErrorIs(f, err, fault.NetworkException)
	require.ErrorContains(f, err, "node 2")
	_, err = a.Open(f.ctx, 1, 1)
	require.Error(f, err, "to itself")
}
