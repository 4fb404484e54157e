package attach

import (
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// wordy is a backend with a long answer, which counts its calls.
type wordy struct {
	stub
	asked atomic.Int64
}

func (w *wordy) Topics(context.Context) ([]string, error) {
	w.asked.Add(1)
	return []string{strings.Repeat("t", 16<<10)}, nil
}

// The server stops reading from a client that makes calls and reads no answers,
// which would otherwise fill its memory. When the client reads, it gets all
// answers.
func TestNobodyReadsTheAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls = 10 * maxCalls
		near, far := net.Pipe()
		b := &wordy{}
		v := newVisit(newServer(b), far)
		go v.run()
		defer near.Close()
		require.NoError(t, writeHello(near, self(0)))
		_, err := readHello(near)
		require.NoError(t, err)
		sent := uint32(0)
		for begun := uint32(0); begun == sent && begun < calls; begun++ {
			f, err := encode(kindCall, begun, func(c *coder) { m := listTopics; c.method(&m) })
			require.NoError(t, err)
			go func() {
				_, _ = near.Write(f)
				sent++
			}()
			synctest.Wait()
		}
		queued := int64(maxQueued / (16 << 10))
		require.LessOrEqual(t, b.asked.Load(), 2*queued+2*maxCalls)
		require.Less(t, sent, uint32(calls))
		for range sent + 1 {
			f, err := readFrame(near)
			require.NoError(t, err)
			require.Equal(t, kindAnswer, f.kind)
		}
		synctest.Wait()
		require.EqualValues(t, sent, b.asked.Load())
		require.NoError(t, near.Close())
		_, _ = io.Copy(io.Discard, near)
		<-v.ended
	})
}
