package coordinator

import (
	"context"
	"sync"
	"time"

	"github.com/runnel-go/runnel/internal/coordinator/share"
)

// shareNews is what has become available in a shard since it began, for other nodes whose
// members wait: events have numbers, and a node asks for those behind the last one that a
// member of it knows. It is safe for concurrent use.
type shareNews struct {
	mu     sync.Mutex
	number int64 // of the latest event
	all    int64 // of the latest event that concerns everyone
	freed  map[share.Key]int64
	room   map[share.Key]int64
	came   chan struct{} // closed with the next event; nil while no one waits
}

// latest returns the number of the latest event.
func (n *shareNews) latest() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.number
}

// add adds an event, about everyone if the state was discarded.
func (n *shareNews) add(events []freed, discarded bool) {
	if len(events) == 0 && !discarded {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.number++
	if discarded {
		n.all, n.freed, n.room = n.number, nil, nil
	}
	if n.freed == nil {
		n.freed, n.room = map[share.Key]int64{}, map[share.Key]int64{}
	}
	for _, e := range events {
		n.room[e.Key] = n.number
		if e.all {
			n.freed[e.Key] = n.number
		}
	}
	if n.came != nil {
		close(n.came)
		n.came = nil
	}
}

// wait waits for an event that some who wait do not know yet, no longer than a time.
func (n *shareNews) wait(ctx context.Context, who []shareWait, most time.Duration) (of []share.Key, everyone bool, err error) {
	late := time.NewTimer(most)
	defer late.Stop()
	for {
		of, everyone, came := n.look(who)
		if len(of) > 0 || everyone {
			return of, everyone, nil
		}
		select {
		case <-came:
		case <-late.C:
			return nil, false, nil
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

func (n *shareNews) look(who []shareWait) (of []share.Key, everyone bool, came <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range who {
		if n.all > w.seen {
			return nil, true, nil
		}
		if n.freed[w.Key] > w.seen || w.full && n.room[w.Key] > w.seen {
			of = append(of, w.Key)
		}
	}
	if n.came == nil {
		n.came = make(chan struct{})
	}
	return of, false, n.came
}
