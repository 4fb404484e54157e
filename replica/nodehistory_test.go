package replica_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
)

// The same is true for nodes with all their goroutines: any node is asked, whoever leads.
func TestHistoriesOfNodesAreLinearizable(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			h := &history{}
			synctest.Test(t, func(t *testing.T) { historyOfNodes(t, seed, h) })
			h.check(t)
		})
	}
}

func historyOfNodes(t *testing.T, seed uint64, h *history) {
	c := newThreeOn(t, memory.New(memory.Seed(seed), memory.Links(memory.Link{
		Delay: time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.01, Duplicate: 0.01, Reorder: 0.01,
	})))
	rng := rand.New(rand.NewPCG(seed, 17))
	c.leader()
	stop := make(chan struct{})
	var running sync.WaitGroup
	for i := range c.nodes {
		r := c.replica(i)
		group := fmt.Sprint("group ", i%2)
		pace := rand.New(rand.NewPCG(seed, uint64(i)))
		running.Go(func() { callsOf(t, r, h, group, pace, stop) })
	}
	for range 6 {
		time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
		leader := c.leader()
		id := func(i int) replica.NodeID { return replica.NodeID((leader+i)%3 + 1) }
		switch rng.IntN(3) {
		case 0:
			_ = c.replica(leader).Transfer(replica.NewID(id(1), 0))
		case 1:
			c.network.Partition([]replica.NodeID{id(0)}, []replica.NodeID{id(1), id(2)})
		case 2:
			c.network.Cut(id(0), id(1))
		}
		time.Sleep(time.Duration(rng.IntN(2500)) * time.Millisecond)
		c.network.Heal()
	}
	close(stop)
	running.Wait()
}

// callsOf calls a node until stop is closed.
func callsOf(t *testing.T, r *replica.Replica, h *history, group string, rng *rand.Rand, stop <-chan struct{}) {
	ctx := t.Context()
	for value := int64(1); ; value++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rng.IntN(40)) * time.Millisecond):
		}
		switch rng.IntN(5) {
		case 4:
			told := h.call(tried{})
			told(tryAtEnd(ctx, t, r, one(t, strconv.FormatInt(value, 10))))
		case 0:
			told := h.call(asked{})
			told(r.Latest(ctx))
		case 1:
			unique := value*10 + int64(r.Status().Members.Voters[0])
			told := h.call(committed{group, unique})
			told(unique, r.AppendAwait(commitOf(group, unique)))
		case 2:
			told := h.call(found{group})
			told(foundBy(ctx, r, group))
		default:
			o := make(outcomeOf, 1)
			told := h.call(appended{count: 1})
			r.Append(one(t, strconv.FormatInt(value, 10)), nil, o)
			result := <-o
			told(result.Offset, result.Err)
		}
	}
}

// tryAtEnd appends a batch if the partition ends where the node's copy does.
func tryAtEnd(ctx context.Context, t *testing.T, r *replica.Replica, batch []byte) (int64, error) {
	o := make(outcomeOf, 1)
	end := r.HighWatermark()
	r.AppendIf(batch, record.Condition{Demand: record.EndAt, Offset: end}, o)
	result := <-o
	if c, ok := errors.AsType[*fault.Conflict](result.Err); ok {
		require.Equal(t, end, c.Want)
		require.NotEqual(t, end, c.Have)
		return 2*c.Have + 1, nil
	}
	if result.Err == nil {
		require.Equal(t, end, result.Offset)
	}
	return 2 * result.Offset, result.Err
}

// foundBy returns what a group has committed, as a node's copy has it: everything before
// the latest offset.
func foundBy(ctx context.Context, r *replica.Replica, group string) (int64, error) {
	latest, err := r.Latest(ctx)
	if err != nil {
		return 0, err
	}
	for p := r.Copy(); p.HighWatermark() < latest; {
		woken := make(waker, 1)
		if p.Wait(p.HighWatermark(), woken) {
			<-woken
		}
	}
	value := int64(0)
	err = r.Scan(func(_ *record.Batch, rec *record.Record) error {
		if rec.Offset >= latest || string(rec.Key) != commitKey {
			return nil
		}
		var of string
		var v int64
		if n, _ := fmt.Sscanf(string(rec.Value), "%s %s %d", &of, &of, &v); n == 3 && "group "+of == group {
			value = v
		}
		return nil
	})
	return value, err
}

// outcomeOf is a Completion that tells the offset, too.
type outcomeOf chan replica.Result

func (o outcomeOf) Appended(base int64, err error) { o <- replica.Result{Offset: base, Err: err} }

// waker is a partition.Waker that one goroutine waits for.
type waker chan struct{}

func (w waker) Wake() { w <- struct{}{} }
