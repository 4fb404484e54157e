package partition_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/partition"
)

// group stores and commits what a leader proposes, and sometimes deposes it.
type group struct {
	mu       sync.Mutex
	proposed [][]byte
	more     chan struct{}
}

func (g *group) Propose(batch []byte) error {
	g.mu.Lock()
	g.proposed = append(g.proposed, batch)
	g.mu.Unlock()
	select {
	case g.more <- struct{}{}:
	default:
	}
	return nil
}

func (g *group) take() [][]byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	taken := g.proposed
	g.proposed = nil
	return taken
}

// run is the group's work until done is closed. At every third visit the leader is
// deposed with what it proposed last, which is cut off where it is stored already, and
// a new leadership begins.
func (g *group) run(p *partition.Partition, done <-chan struct{}) {
	p.Lead(1, g)
	for visits, epoch := 1, int32(1); ; visits++ {
		select {
		case <-g.more:
		case <-done:
			return
		}
		batches := g.take()
		for i, b := range batches {
			p.Store(b, nil, newOutcome())
			if visits%3 == 0 && i == len(batches)/2 {
				break
			}
		}
		if visits%3 != 0 {
			wait := newOutcome()
			p.Store(nil, nil, wait) // which fails, behind the others
			<-wait.told
			p.Commit(p.EndOffset())
			continue
		}
		epoch += 2
		p.Follow(epoch - 1)
		if err := p.Truncate(p.HighWatermark()); err != nil {
			panic(err)
		}
		g.take()
		p.Lead(epoch, g)
	}
}

// TestAppendersOutliveTheirLeaders has producers append, each record until it is
// acknowledged, while leaders come and go and cut off what is not committed. Every
// record is there once, in its producer's order, at the offset that was acknowledged.
func TestAppendersOutliveTheirLeaders(t *testing.T) {
	const producers, records = 4, 100
	p := openReplica(t, vfs.NewMemory())
	g := &group{more: make(chan struct{}, 1)}
	done := make(chan struct{})
	var driver, appenders sync.WaitGroup
	driver.Go(func() { g.run(p, done) })
	acked := make([][]int64, producers)
	retries := make([]int, producers)
	for id := range producers {
		appenders.Go(func() {
			for n := range int32(records) {
				for {
					base, err := produce(p, int64(id), 0, n, fmt.Sprintf("%d/%d", id, n))
					if err == nil {
						acked[id] = append(acked[id], base)
						break
					}
					retries[id]++
					if !errors.Is(err, fault.UnknownOutcome) && !errors.Is(err, fault.NotLeader) {
						t.Errorf("producer %d, record %d: %v", id, n, err)
						return
					}
				}
			}
		})
	}
	appenders.Wait()
	close(done)
	driver.Wait()
	all := readAll(t, p, 0)
	require.Len(t, all, producers*records)
	failed := 0
	for id := range producers {
		require.Len(t, acked[id], records)
		for n, base := range acked[id] {
			require.Equal(t, fmt.Sprintf("%d/%d", id, n), all[base])
		}
		failed += retries[id]
	}
	require.NotZero(t, failed, "no leader was deposed with an append on its way")
	require.NoError(t, p.Close())
}
