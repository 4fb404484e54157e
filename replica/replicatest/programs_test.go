package replicatest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/examples/eventsourcing/ledger"
	"github.com/runnel-go/runnel/examples/messagequeue/queue"
	"github.com/runnel-go/runnel/examples/quickstart/quickstart"
	"github.com/runnel-go/runnel/examples/wordcount/wordcount"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/replicatest"
	"github.com/runnel-go/runnel/topic"
)

// Kafka's quickstart runs on a cluster as on one broker.
func TestQuickstartOnACluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		for _, id := range c.Running() {
			var out strings.Builder
			require.NoError(t, quickstart.Run(t.Context(), c.Broker(id), strings.NewReader("a b\nb\n"), &out))
			require.Contains(t, out.String(), "\n        2 b\n        1 a\n")
		}
	})
}

// The work queue has workers on all nodes.
func TestQueueOnACluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		require.NoError(t, queue.Create(t.Context(), c.Broker(2), 3))
		created, err := c.Broker(2).Topics(t.Context())
		require.NoError(t, err)
		for _, id := range c.Running() { // the others learn of them soon
			require.Eventually(t, func() bool {
				known, err := c.Broker(id).Topics(t.Context())
				return err == nil && len(known) == len(created)
			}, time.Minute, 10*time.Millisecond)
		}
		ctx, stop := context.WithCancel(t.Context())
		var working sync.WaitGroup
		for _, id := range c.Running() {
			working.Go(func() {
				do := func(_ context.Context, name string) (string, error) { return "did " + name, nil }
				if err := queue.Work(ctx, c.Broker(id), fmt.Sprint("worker-", id), do); err != nil && ctx.Err() == nil {
					t.Errorf("the worker on node %d: %v", id, err)
				}
			})
		}
		n, err := queue.Enqueue(t.Context(), c.Broker(3), func(yield func(string, error) bool) {
			for i := range 100 {
				if !yield(fmt.Sprint("job ", i), nil) {
					return
				}
			}
		})
		require.NoError(t, err)
		require.Equal(t, 100, n)
		done := map[string]bool{}
		for o, err := range queue.Outcomes(t.Context(), c.Broker(1), n) {
			require.NoError(t, err)
			require.Equal(t, "did "+o.Job.Name, o.Result)
			done[o.Job.Name] = true
		}
		require.Len(t, done, 100)
		stop()
		working.Wait()
	})
}

// The ledger of one node goes on on another one.
func TestLedgerOnACluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		do := func(l *ledger.Ledger, command string) {
			t.Helper()
			parsed, err := ledger.ParseCommand(command)
			require.NoError(t, err)
			_, err = l.Do(t.Context(), parsed)
			require.NoError(t, err)
		}
		for i, id := range []int{1, 3, 2} {
			l, err := ledger.Open(t.Context(), c.Broker(id))
			require.NoError(t, err)
			require.EqualValues(t, 2*i, l.Next())
			do(l, fmt.Sprint("open account-", i))
			do(l, "deposit account-0 5")
			require.Equal(t, ledger.Cents(500*(i+1)), l.State()["account-0"])
			require.NoError(t, l.Close())
			c.MoveLeader(record.TopicPartition{Topic: "ledger-events"}, id%3+1) // which takes an offset
		}
	})
}

// text is lines of words, and how often each word is in them.
func text(lines int) (string, map[string]int) {
	words := strings.Fields("one two three four five six seven eight nine ten eleven twelve")
	draw, counts := rand.New(rand.NewPCG(1, 2)), map[string]int{}
	var b strings.Builder
	for range lines {
		for range 8 {
			w := words[draw.IntN(len(words))]
			counts[w]++
			fmt.Fprintf(&b, "%s ", w)
		}
		b.WriteByte('\n')
	}
	return b.String(), counts
}

// counted runs WordCount on a node, and returns its counts.
func counted(t *testing.T, c *replicatest.Brokers, id int, from io.Reader) map[string]int {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, wordcount.Run(t.Context(), c.Broker(id), wordcount.Job{Text: from, Counts: &out, Progress: io.Discard}))
	counts := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var n int
		var word string
		_, err := fmt.Sscan(line, &n, &word)
		require.NoError(t, err)
		counts[word] = n
	}
	return counts
}

// WordCount counts on a cluster what a plain loop does.
func TestWordCountOnACluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		words, want := text(2000)
		require.Equal(t, want, counted(t, c, 2, strings.NewReader(words)))
	})
}

// Leaders move all the time while words are counted, those of the application's groups, too:
// every count is exact.
func TestWordCountWhileLeadersMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		words, want := text(2000)
		over := make(chan struct{})
		var moving sync.WaitGroup
		moved := 0
		moving.Go(func() {
			for to := 1; ; to = to%3 + 1 {
				select {
				case <-over:
					return
				case <-time.After(300 * time.Millisecond):
				}
				for _, tp := range partitionsOf(t, c) {
					c.MoveLeader(tp, to)
					moved++
				}
			}
		})
		got := counted(t, c, 2, slowly{strings.NewReader(words)})
		close(over)
		moving.Wait()
		require.Equal(t, want, got)
		require.Greater(t, moved, 100)
	})
}

// partitionsOf returns all partitions that there are, those of groups, too.
func partitionsOf(t *testing.T, c *replicatest.Brokers) (all []record.TopicPartition) {
	t.Helper()
	names, err := c.Broker(2).Topics(t.Context())
	require.NoError(t, err)
	for _, name := range append(names, topic.ConsumerOffsets) {
		d, err := c.Broker(2).DescribeTopics(t.Context(), name)
		if err != nil {
			continue // it is not there yet
		}
		for n := range d[0].Partitions {
			all = append(all, record.TopicPartition{Topic: name, Partition: int32(n)})
		}
	}
	return all
}

// slowly reads a text over a while, so that something can happen meanwhile.
type slowly struct{ from io.Reader }

func (s slowly) Read(b []byte) (int, error) {
	time.Sleep(50 * time.Millisecond)
	return s.from.Read(b[:min(len(b), 512)])
}

// Leaders are killed while words are counted: no count is lost.
func TestWordCountWhileLeadersDie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		words, want := text(2000)
		over := make(chan struct{})
		var killing sync.WaitGroup
		killing.Go(func() {
			for id := 1; ; id = 4 - id { // 1 and 3; the program runs on 2
				select {
				case <-over:
					return
				case <-time.After(3 * time.Second):
				}
				c.Crash(id)
				time.Sleep(2 * time.Second)
				c.Restart(id)
			}
		})
		got := counted(t, c, 2, slowly{strings.NewReader(words)})
		close(over)
		killing.Wait()
		require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
		for w, n := range want {
			require.GreaterOrEqual(t, got[w], n, w)
		}
	})
}
