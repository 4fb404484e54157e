package runnel_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/runneltest"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

// What clients of a partition with an index of keys ask for.
type (
	sentIf struct { // told: the offset, or the Conflict
		key         string
		tombstone   bool
		condition   producer.Condition
		transaction int // 0: none
	}
	endedIn struct { // a transaction
		transaction int
		commit      bool
	}
	readOf struct{ key string } // told: the offsets of its committed records
)

// keyedRecord is a record of the partition.
type keyedRecord struct {
	offset      int64
	key         string
	tombstone   bool
	transaction int // while it is open
}

// keyed is the partition: its records but those of aborted transactions. An open one counts
// for conditions, and hides from readers of committed records what is behind its first.
var keyed = porcupine.Model{
	Init:  func() any { return []keyedRecord(nil) },
	Equal: func(a, b any) bool { return reflect.DeepEqual(a, b) },
	Step: func(state, input, output any) (bool, any) {
		all := state.([]keyedRecord)
		switch in := input.(type) {
		case sentIf:
			last := keyedRecord{offset: -1, tombstone: true}
			for _, r := range all {
				if r.key == in.key {
					last = r
				}
			}
			holds := in.condition.Demand == record.Anything ||
				in.condition.Demand == record.KeyAt && in.condition.Offset == last.offset ||
				in.condition.Demand == record.KeyAbsent && last.tombstone
			if c, ok := output.(producer.Conflict); ok {
				return !holds && c.Have == last.offset, all
			}
			at := output.(int64)
			if !holds || len(all) > 0 && at <= all[len(all)-1].offset {
				return false, all
			}
			return true, append(slices.Clone(all), keyedRecord{at, in.key, in.tombstone, in.transaction})
		case endedIn:
			var left []keyedRecord
			for _, r := range all {
				if r.transaction == in.transaction {
					if r.transaction = 0; !in.commit {
						continue
					}
				}
				left = append(left, r)
			}
			return true, left
		}
		var committed []int64
		for _, r := range all {
			if r.transaction != 0 {
				break
			}
			if r.key == input.(readOf).key {
				committed = append(committed, r.offset)
			}
		}
		return slices.Equal(committed, output.([]int64)), all
	},
}

// keyedClients is one history.
type keyedClients struct {
	t            *testing.T
	broker       *runneltest.Broker
	transactions atomic.Int32

	mu         sync.Mutex
	operations []porcupine.Operation
}

// note makes a call, and keeps what it was told.
func (k *keyedClients) note(client int, input any, call func() any) any {
	begin := time.Now().UnixNano()
	output := call()
	end := time.Now().UnixNano()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.operations = append(k.operations, porcupine.Operation{ClientId: client, Input: input, Call: begin, Output: output, Return: end})
	return output
}

// send sends a record, and returns what the key's last record is now, as it was told.
func (k *keyedClients) send(ctx context.Context, client int, p *producer.Producer, in sentIf) (last int64, ok bool) {
	r := record.Record{Topic: "accounts", Key: []byte(in.key), Value: []byte("x")}
	if in.tombstone {
		r.Value = nil
	}
	told := k.note(client, in, func() any {
		var at record.Position
		var err error
		if in.condition.Demand == record.Anything {
			at, err = p.Send(ctx, r)
		} else {
			at, err = p.SendIf(ctx, r, in.condition)
		}
		if c, ok := errors.AsType[*producer.Conflict](err); ok {
			return *c
		}
		assert.NoError(k.t, err)
		return at.Offset
	})
	if c, ok := told.(producer.Conflict); ok {
		return c.Have, false
	}
	return told.(int64), true
}

// run is one client.
func (k *keyedClients) run(client int, rng *rand.Rand) {
	ctx := k.t.Context()
	p, err := producer.New(k.broker)
	require.NoError(k.t, err)
	defer p.Close()
	tx, err := producer.New(k.broker, producer.TransactionalID(fmt.Sprint("client ", client)))
	require.NoError(k.t, err)
	defer tx.Close()
	known := map[string]int64{}
	input := func(transaction int) sentIf {
		in := sentIf{key: string(rune('a' + rng.IntN(3))), tombstone: rng.IntN(4) == 0, transaction: transaction}
		last, ok := known[in.key]
		switch {
		case rng.IntN(6) == 0:
		case ok && last >= 0 && rng.IntN(4) > 0:
			in.condition = producer.IfKeyAt(last)
		default:
			in.condition = producer.IfAbsent()
		}
		return in
	}
	for range 8 {
		switch rng.IntN(5) {
		case 0:
			key := string(rune('a' + rng.IntN(3)))
			k.note(client, readOf{key}, func() any {
				offsets := []int64{}
				for r, err := range consumer.History(ctx, k.broker, serde.For("accounts", serde.String, serde.String), key, consumer.ReadCommitted()) {
					assert.NoError(k.t, err)
					offsets, known[key] = append(offsets, r.Offset), r.Offset
				}
				return offsets
			})
		case 1:
			number := int(k.transactions.Add(1))
			require.NoError(k.t, tx.Begin(ctx))
			commit := rng.IntN(2) == 0
			for range 1 + rng.IntN(2) {
				in := input(number)
				last, ok := k.send(ctx, client, tx, in)
				if known[in.key] = last; !ok {
					commit = false
					break
				}
			}
			k.note(client, endedIn{number, commit}, func() any {
				if commit {
					assert.NoError(k.t, tx.Commit(ctx))
				} else {
					assert.NoError(k.t, tx.Abort(ctx))
				}
				return nil
			})
		default:
			in := input(0)
			known[in.key], _ = k.send(ctx, client, p, in)
		}
	}
}

// The answers to eight clients that append under conditions, in transactions and without, and
// read histories, fit one order of their calls.
func TestConditionsAreLinearizable(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			k := &keyedClients{t: t, broker: runneltest.New(t)}
			require.NoError(t, k.broker.CreateTopics(t.Context(), topic.Spec{Name: "accounts", Partitions: 1, Config: topic.Config{KeyIndex: true}}))
			var clients sync.WaitGroup
			for client := range 8 {
				clients.Go(func() { k.run(client, rand.New(rand.NewPCG(seed, uint64(client)))) })
			}
			clients.Wait()
			verdict := porcupine.CheckOperationsTimeout(keyed, k.operations, time.Minute)
			require.Equal(t, porcupine.Ok, verdict, "%d calls", len(k.operations))
		})
	}
}

// What an acknowledged append found holds after a crash, and the index is made again of what
// is there.
func TestConditionsAfterCrashes(t *testing.T) {
	b := runneltest.New(t)
	ctx := t.Context()
	require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "accounts", Partitions: 2, Config: topic.Config{KeyIndex: true, SegmentBytes: 4000}}))
	accounts := serde.For("accounts", serde.String, serde.Int64)
	last := map[string]int64{}
	for round := range 20 {
		p, err := producer.New(b)
		require.NoError(t, err)
		to := producer.To(p, accounts)
		for i := range 40 {
			key := fmt.Sprint("account ", (round*7+i)%25)
			condition := producer.IfAbsent()
			if at, ok := last[key]; ok {
				condition = producer.IfKeyAt(at)
				_, err := to.SendIf(ctx, key, 0, producer.IfAbsent())
				c, ok := errors.AsType[*producer.Conflict](err)
				require.True(t, ok, "round %d, %s: %v", round, key, err)
				require.Equal(t, at, c.Have)
			}
			at, err := to.SendIf(ctx, key, int64(round), condition)
			require.NoError(t, err, "round %d, %s", round, key)
			last[key] = at.Offset
		}
		for key, at := range last {
			newest := int64(-1)
			for r, err := range consumer.History(ctx, b, accounts, key) {
				require.NoError(t, err)
				newest = r.Offset
			}
			require.Equal(t, at, newest)
		}
		if round%3 == 2 {
			require.NoError(t, p.Close())
			require.NoError(t, b.Broker.Close())
		}
		b = b.Crash()
	}
}

// Retention deletes the last record of a key, which then has none. Compaction does not.
func TestConditionsAndDeletedRecords(t *testing.T) {
	b := runneltest.New(t)
	ctx := t.Context()
	require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "accounts", Config: topic.Config{KeyIndex: true}}))
	p, err := producer.New(b)
	require.NoError(t, err)
	defer p.Close()
	to := producer.To(p, serde.For("accounts", serde.String, serde.String))
	at, err := to.SendIf(ctx, "alice", "opened", producer.IfAbsent())
	require.NoError(t, err)
	end, err := to.Send(ctx, "bob", "opened")
	require.NoError(t, err)
	_, err = b.DeleteRecords(ctx, map[record.TopicPartition]int64{{Topic: "accounts"}: end.Offset})
	require.NoError(t, err)
	_, err = to.SendIf(ctx, "alice", "closed", producer.IfKeyAt(at.Offset))
	require.ErrorIs(t, err, fault.PreconditionFailed)
	_, err = to.SendIf(ctx, "alice", "opened again", producer.IfAbsent())
	require.NoError(t, err)
	_, err = to.SendIf(ctx, "bob", "closed", producer.IfKeyAt(end.Offset))
	require.NoError(t, err)
}

var _ consumer.HistoryBackend = (*runnel.Broker)(nil)
