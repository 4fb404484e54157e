package txn

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// client is a program with one transactional ID that may be fenced, repeat its calls and
// make them late.
type client struct {
	id       string
	identity Identity
	open     bool
	past     []Identity // of its earlier transactions
}

// TestAgainstAModel runs random commands of programs that come, go, repeat themselves and
// are late, and holds: the live state is that of the log; identities only rise; a marker is
// later than every batch that it ends and no earlier than the next one; what was decided
// stays so; whoever has no right to it changes nothing.
func TestAgainstAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		if rapid.Bool().Draw(rt, "one copy") {
			w.ends = func(tp record.TopicPartition) End { return End{topic.ID{1}, int64(tp.Partition) + int64(len(w.log))} }
		}
		var clients []*client
		newest := map[string]*client{}   // by transactional ID
		highest := map[string]Identity{} // that was ever given out
		decided := map[string]bool{}     // by ID and identity of the batches
		rises := func(id string, next Identity) {
			last, known := highest[id]
			require.True(rt, !known || next.ProducerID > last.ProducerID || next.ProducerID == last.ProducerID && next.Epoch > last.Epoch,
				"%v after %v", next, last)
			highest[id] = next
		}
		pick := func() *client {
			if len(clients) == 0 {
				rt.Skip()
			}
			return clients[rapid.IntRange(0, len(clients)-1).Draw(rt, "client")]
		}
		before := func(e *Ending, c *client) {
			require.True(rt, e.ProducerID == c.identity.ProducerID && e.Epoch > c.identity.Epoch, "a marker of %v for batches of %v", e.Identity, c.identity)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { w.took(Result{}) },
			"init": func(rt *rapid.T) {
				id := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "id")
				if rapid.IntRange(0, 4).Draw(rt, "used up") == 0 && w.c.ids[id] != nil && w.c.ids[id].Epoch < 32765 && w.c.ids[id].state != Ongoing && !w.c.ids[id].state.isDecided() {
					w.tell([]string{"epoch", id, "32765"})
					if last := highest[id]; last.Epoch < 32765 {
						highest[id] = Identity{last.ProducerID, 32765}
					}
				}
				i, r, err := w.c.Init(id, time.Minute, w.newID(), w.now)
				w.took(r)
				if err != nil {
					require.ErrorIs(rt, err, fault.ConcurrentTransactions)
					return
				}
				rises(id, i)
				newest[id] = &client{id: id, identity: i}
				clients = append(clients, newest[id])
			},
			"add": func(rt *rapid.T) {
				c := pick()
				n := rapid.Int32Range(0, 3).Draw(rt, "partition")
				r, err := w.c.Add(c.id, c.identity, []record.TopicPartition{{Topic: "t", Partition: n}}, w.now)
				w.took(r)
				if newest[c.id] != c {
					require.Error(rt, err, "a fenced producer")
					require.Empty(rt, r.Records)
				}
				c.open = c.open || err == nil
			},
			"late add": func(rt *rapid.T) {
				c := pick()
				if len(c.past) == 0 {
					rt.Skip()
				}
				r, err := w.c.Add(c.id, rapid.SampledFrom(c.past).Draw(rt, "past"), []record.TopicPartition{{Topic: "late"}}, w.now)
				require.Error(rt, err)
				require.Empty(rt, r.Records)
			},
			"end": func(rt *rapid.T) {
				c, commit := pick(), rapid.Bool().Draw(rt, "commit")
				next, r, err := w.c.End(c.id, c.identity, commit, w.newID(), w.ends, w.now)
				w.took(r)
				if err != nil {
					require.Empty(rt, r.Records)
					return
				}
				if next == c.identity { // there was none to abort
					require.False(rt, commit)
					require.Empty(rt, r.Records)
					return
				}
				key := c.id + who(c.identity)
				if outcome, known := decided[key]; known {
					require.Equal(rt, outcome, commit, "another decision")
				}
				decided[key] = commit
				if r.Ended != nil {
					before(r.Ended, c)
				}
				if newest[c.id] == c {
					rises(c.id, next)
				}
				c.past, c.identity, c.open = append(c.past, c.identity), next, false
			},
			"late end": func(rt *rapid.T) {
				c := pick()
				if len(c.past) == 0 {
					rt.Skip()
				}
				was, commit := rapid.SampledFrom(c.past).Draw(rt, "past"), rapid.Bool().Draw(rt, "commit")
				_, r, err := w.c.End(c.id, was, commit, w.newID(), w.ends, w.now)
				require.Empty(rt, r.Records, "it is decided")
				if err == nil {
					require.Equal(rt, decided[c.id+who(was)], commit)
				}
			},
			"complete": func(*rapid.T) {
				for _, e := range w.c.Undone() {
					r, err := w.c.Complete(e, rapid.Bool().Draw(rt, "durable"), w.now)
					require.NoError(rt, err)
					w.took(r)
				}
			},
			"expire": func(*rapid.T) {
				w.now = w.now.Add(40 * time.Second)
				if id, at, ok := w.c.NextExpiry(); ok && !w.now.Before(at) {
					r, err := w.c.Abort(id, w.newID(), w.now)
					require.NoError(rt, err)
					require.False(rt, r.Ended.Commit)
					w.took(r)
				}
			},
			"restart": func(*rapid.T) { w.c = w.replay() },
		})
	})
}

// kafkaLog calls fn with the records of Kafka's own transaction log.
func kafkaLog(t *testing.T, fn func(r *record.Record)) {
	f, err := os.Open("../../../testdata/kafka.tar.gz")
	require.NoError(t, err)
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	require.NoError(t, err)
	for archive := tar.NewReader(unpacked); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		if !strings.Contains(h.Name, "__transaction_state-0/") || !strings.HasSuffix(h.Name, ".log") {
			continue
		}
		rest, err := io.ReadAll(archive)
		require.NoError(t, err)
		for len(rest) > 0 {
			b, err := record.Parse(rest)
			require.NoError(t, err)
			it, err := b.Records(nil)
			require.NoError(t, err)
			for r := (record.Record{}); it.Next(&r); {
				fn(&r)
			}
			require.NoError(t, it.Err())
			rest = rest[b.Size():]
		}
	}
}

// TestBytesAreKafkas reads the transaction log that Kafka wrote, and writes it again.
func TestBytesAreKafkas(t *testing.T) {
	c, n := New(), 0
	kafkaLog(t, func(r *record.Record) {
		n++
		require.NoError(t, c.Apply(r.Key, r.Value))
		id, ok, err := decodeKey(r.Key)
		require.NoError(t, err)
		require.True(t, ok)
		key, err := encodeKey(id)
		require.NoError(t, err)
		require.Equal(t, r.Key, key)
		v, err := decodeValue(r.Value)
		require.NoError(t, err)
		b, err := v.encode()
		require.NoError(t, err)
		if len(v.partitions) < 2 {
			require.Equal(t, r.Value, b, "%+v", v)
		} else { // whose order is a hash map's there
			require.Len(t, b, len(r.Value), "%+v", v)
		}
	})
	require.Greater(t, n, 90)
	open := 0
	for _, d := range c.List("") {
		if d.State == Ongoing {
			open++
			require.Equal(t, []record.TopicPartition{{Topic: "ktxn"}}, d.Partitions)
		}
	}
	require.Equal(t, 1, open, "the transaction that was left open")
}

func FuzzApply(f *testing.F) {
	w := newWorld(f)
	for _, command := range []string{"init shop", "add shop 100/0 orders-0 orders-1 other-7", "commit shop 100/0"} {
		w.tell(strings.Fields(command))
	}
	for _, r := range w.log {
		f.Add(r.Key, r.Value)
	}
	f.Add([]byte{0, 0, 0, 1, 'a'}, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		c := New()
		if c.Apply(key, value) != nil {
			return
		}
		for _, d := range c.List("") { // what is accepted can be written, and read as the same
			v := c.ids[d.TransactionalID]
			b, err := v.encode()
			require.NoError(t, err)
			again, err := decodeValue(b)
			require.NoError(t, err)
			require.Equal(t, *v, again)
		}
	})
}
