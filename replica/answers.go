package replica

import (
	"io"
	"sync"
)

// answers are what a node has to say to the requests of one stream, in the order in which
// it finds out. A request has a token from take until its answer is written, so a peer
// that does not read its answers costs bounded memory.
type answers struct {
	signal chan struct{}
	ended  chan struct{} // closed when the stream ended, and nothing is written any more

	mu    sync.Mutex
	queue []outgoing
}

// tokens bound how many requests of a kind have no answer yet.
type tokens chan struct{}

// outgoing is an answer, with where its token goes.
type outgoing struct {
	frame []byte
	back  tokens
}

func newAnswers() *answers {
	return &answers{signal: make(chan struct{}, 1), ended: make(chan struct{})}
}

// take waits for a token; false once the stream has ended.
func (a *answers) take(from tokens) bool {
	select {
	case <-a.ended:
		return false
	default:
	}
	select {
	case from <- struct{}{}:
		return true
	case <-a.ended:
		return false
	}
}

// give queues an answer, whose request has a token. It does not block.
func (a *answers) give(frame []byte, back tokens) {
	a.mu.Lock()
	a.queue = append(a.queue, outgoing{frame, back})
	a.mu.Unlock()
	select {
	case a.signal <- struct{}{}:
	default:
	}
}

// serve starts to write answers, and returns what ends that and waits for it.
func (a *answers) serve(stream Stream) (end func()) {
	over := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		defer close(a.ended)
		a.send(stream, over)
	})
	return func() {
		close(over)
		writing.Wait()
	}
}

// send writes answers until the stream ends.
func (a *answers) send(stream io.Writer, over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		case <-a.signal:
		}
		a.mu.Lock()
		queue := a.queue
		a.queue = nil
		a.mu.Unlock()
		for i, out := range queue {
			if _, err := stream.Write(out.frame); err != nil {
				return
			}
			<-out.back
			queue[i] = outgoing{}
		}
	}
}
