package runnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// testBroker is a broker with a producer, for tests of consumers.
type testBroker struct {
	*Broker
	t *testing.T
	p *producer.Producer
}

func newTestBroker(t *testing.T, b *Broker, err error) *testBroker {
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	p, err := producer.New(b, producer.Partitioner(topic.ManualPartitioner))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return &testBroker{Broker: b, t: t, p: p}
}

func memoryBroker(t *testing.T) *testBroker {
	b, err := OpenMemory()
	return newTestBroker(t, b, err)
}

func (b *testBroker) create(name string, partitions int) {
	b.t.Helper()
	require.NoError(b.t, b.CreateTopics(b.t.Context(), topic.Spec{Name: name, Partitions: partitions}))
}

// send writes values to one partition.
func (b *testBroker) send(name string, partition int32, values ...string) {
	b.t.Helper()
	for _, v := range values {
		_, err := b.p.Send(context.Background(), record.Record{Topic: name, Partition: partition, Value: []byte(v)})
		require.NoError(b.t, err)
	}
}

func (b *testBroker) consumer(opts ...consumer.Option) *consumer.Consumer {
	b.t.Helper()
	c, err := consumer.New(b, opts...)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { require.NoError(b.t, c.Close()) })
	return c
}

// poll returns the values of the next n records.
func (b *testBroker) poll(c *consumer.Consumer, n int) []string {
	b.t.Helper()
	var got []string
	for len(got) < n {
		records, err := c.Poll(b.t.Context())
		require.NoError(b.t, err)
		for _, r := range records {
			got = append(got, string(r.Value))
		}
	}
	require.Len(b.t, got, n)
	return got
}

// poke lets a consumer take part in its group, without bringing records if there
// are none.
func (b *testBroker) poke(c *consumer.Consumer) []string {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	records, err := c.Poll(ctx)
	if err != nil {
		require.ErrorIs(b.t, err, context.Canceled)
	}
	var got []string
	for _, r := range records {
		got = append(got, string(r.Value))
	}
	return got
}

func tps(name string, numbers ...int32) []record.TopicPartition {
	all := make([]record.TopicPartition, len(numbers))
	for i, n := range numbers {
		all[i] = record.TopicPartition{Topic: name, Partition: n}
	}
	return all
}

func numbered(from, to int) []string {
	var all []string
	for i := from; i < to; i++ {
		all = append(all, strconv.Itoa(i))
	}
	return all
}

func TestEveryGroupReadsEverything(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 1)
	b.send("a", 0, "1", "2", "3")
	for _, name := range []string{"one", "two"} {
		c := b.consumer(consumer.Group(name), consumer.Topics("a"))
		require.Equal(t, []string{"1", "2", "3"}, b.poll(c, 3))
	}
}

func TestMembersShareAndTakeOver(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 4)
	one := b.consumer(consumer.Group("g"), consumer.Topics("a"))
	b.poke(one)
	require.Equal(t, tps("a", 0, 1, 2, 3), one.Assignment())
	two := b.consumer(consumer.Group("g"), consumer.Topics("a"))
	b.poke(two)
	require.Empty(t, two.Assignment())
	b.poke(one)
	b.poke(two)
	require.Len(t, one.Assignment(), 2)
	require.Len(t, two.Assignment(), 2)
	require.ElementsMatch(t, tps("a", 0, 1, 2, 3), slices.Concat(one.Assignment(), two.Assignment()))

	for n := range int32(4) {
		b.send("a", n, fmt.Sprint(n))
	}
	got := slices.Concat(b.poll(one, 2), b.poll(two, 2))
	require.ElementsMatch(t, numbered(0, 4), got)

	require.NoError(t, one.Commit(t.Context()))
	require.NoError(t, one.Close())
	b.poke(two)
	require.Equal(t, tps("a", 0, 1, 2, 3), two.Assignment())
	require.Empty(t, b.poke(two), "what was committed does not come again")
}

func TestCommittedOffsetsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(dir)
	b := newTestBroker(t, first, err)
	b.create("a", 1)
	b.send("a", 0, numbered(0, 10)...)
	c := b.consumer(consumer.Group("g"), consumer.Topics("a"), consumer.MaxRecords(4), consumer.ManualCommit())
	require.Equal(t, numbered(0, 4), b.poll(c, 4))
	at := record.TopicPartition{Topic: "a"}
	require.NoError(t, c.CommitOffsets(t.Context(), map[record.TopicPartition]consumer.Offset{at: {Offset: 3, Metadata: "half way"}}))
	require.NoError(t, c.Close())
	require.NoError(t, b.Close())

	second, err := Open(dir)
	b = newTestBroker(t, second, err)
	offsets, err := b.GroupOffsets(t.Context(), "g")
	require.NoError(t, err)
	require.Equal(t, map[record.TopicPartition]consumer.Offset{at: {Offset: 3, Metadata: "half way"}}, offsets)
	c = b.consumer(consumer.Group("g"), consumer.Topics("a"))
	require.Equal(t, numbered(3, 10), b.poll(c, 7))
	groups, err := b.DescribeGroups(t.Context(), "g")
	require.NoError(t, err)
	require.Len(t, groups[0].Members, 1, "the members of before have left")
}

func TestStaticMemberKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memoryBroker(t)
		b.create("a", 2)
		open := func(instance string) *consumer.Consumer {
			return b.consumer(consumer.Group("g"), consumer.Topics("a"), consumer.InstanceID(instance), consumer.SessionTimeout(10*time.Second))
		}
		one, two := open("one"), open("two")
		for range 2 {
			b.poke(one)
			b.poke(two)
		}
		place := one.Assignment()
		require.Len(t, place, 1)
		require.NoError(t, one.Close())
		b.poke(two)
		require.Len(t, two.Assignment(), 1)
		one = open("one")
		b.poke(one)
		require.Equal(t, place, one.Assignment())

		require.NoError(t, one.Close())
		time.Sleep(11 * time.Second)
		b.poke(two)
		require.Len(t, two.Assignment(), 2)
	})
}

func TestMemberThatDoesNotPollIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memoryBroker(t)
		b.create("a", 1)
		b.send("a", 0, "1")
		var told []string
		lazy := b.consumer(consumer.Group("g"), consumer.Topics("a"), consumer.RebalanceTimeout(time.Minute),
			consumer.OnLost(func(p []record.TopicPartition) { told = append(told, fmt.Sprint("lost ", p)) }))
		require.Equal(t, []string{"1"}, b.poll(lazy, 1))
		busy := b.consumer(consumer.Group("g"), consumer.Topics("a"), consumer.RebalanceTimeout(time.Hour))
		b.poke(busy)
		time.Sleep(59 * time.Second)
		b.poke(busy)
		require.Empty(t, busy.Assignment())
		time.Sleep(2 * time.Second)
		b.poke(busy)
		require.Equal(t, tps("a", 0), busy.Assignment())
		b.poke(lazy)
		require.Equal(t, []string{"lost [a-0]"}, told)
	})
}

// A slow loop over Records keeps its place between the records of one batch.
func TestSlowLoopKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memoryBroker(t)
		b.create("a", 1)
		b.send("a", 0, numbered(0, 10)...)
		c := b.consumer(consumer.Group("g"), consumer.Topics("a"), consumer.RebalanceTimeout(time.Minute),
			consumer.OnLost(func([]record.TopicPartition) { t.Error("lost its place") }))
		var got []string
		for r, err := range c.Records(t.Context()) {
			require.NoError(t, err)
			got = append(got, string(r.Value))
			time.Sleep(30 * time.Second)
			if len(got) == 10 {
				break
			}
		}
		require.Equal(t, numbered(0, 10), got)
	})
}

func TestWaitingAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memoryBroker(t)
		b.create("a", 3)
		c := b.consumer(consumer.Group("g"), consumer.Topics("a"))
		began := time.Now()
		go func() {
			time.Sleep(time.Hour)
			b.send("a", 1, "late")
		}()
		for r, err := range c.Records(t.Context()) {
			require.NoError(t, err)
			require.Equal(t, "late", string(r.Value))
			require.Equal(t, time.Hour, time.Since(began))
			break
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		require.NoError(t, c.Commit(ctx))
		for _, err := range c.Records(ctx) {
			require.NoError(t, err)
		}
		require.Equal(t, 2*time.Hour, time.Since(began))
	})
}

// What is done is committed in the background while the consumer waits.
func TestCommitInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memoryBroker(t)
		b.create("a", 1)
		b.send("a", 0, "1", "2")
		c := b.consumer(consumer.Group("g"), consumer.Topics("a"))
		require.Equal(t, []string{"1", "2"}, b.poll(c, 2))
		at := record.TopicPartition{Topic: "a"}
		committed := func() map[record.TopicPartition]consumer.Offset {
			offsets, err := c.Committed(t.Context(), at)
			require.NoError(t, err)
			return offsets
		}
		time.Sleep(6 * time.Second)
		require.Empty(t, committed(), "the batch at hand is not done")
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		_, err := c.Poll(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, int64(2), committed()[at].Offset)
	})
}

func TestCallbacks(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 2)
	var told []string
	note := func(what string) func([]record.TopicPartition) {
		return func(p []record.TopicPartition) { told = append(told, fmt.Sprint(what, " ", p)) } // unguarded: the caller's goroutine
	}
	var c *consumer.Consumer
	open := func() *consumer.Consumer {
		return b.consumer(consumer.Group("g"), consumer.Topics("a"), consumer.ManualCommit(),
			consumer.OnAssigned(note("assigned")),
			consumer.OnRevoked(func(p []record.TopicPartition) {
				note("revoked")(p)
				require.NoError(t, c.Commit(t.Context()))
			}), consumer.OnLost(note("lost")))
	}
	c = open()
	b.poke(c)
	require.Equal(t, []string{"assigned [a-0 a-1]"}, told)
	b.send("a", 0, "1")
	b.send("a", 1, "2")
	b.poll(c, 2)
	other := b.consumer(consumer.Group("g"), consumer.Topics("a"))
	b.poke(other)
	told = nil
	b.poke(c)
	require.Equal(t, []string{"revoked [a-1]"}, told)
	require.Empty(t, b.poke(other), "what was committed while it was revoked does not come again")
	require.Equal(t, tps("a", 1), other.Assignment())
	told = nil
	require.NoError(t, c.Close())
	require.Equal(t, []string{"revoked [a-0]"}, told)
	require.NoError(t, b.DeleteTopics(t.Context(), "a"))
}

// Members come and go while records are written: with commits in OnRevoked
// nothing is lost and nothing comes twice.
func TestNothingLostOrDoubledAcrossRebalances(t *testing.T) {
	const records, partitions = 4000, 6
	b := memoryBroker(t)
	b.create("a", partitions)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	seen := map[string]int{}
	all := make(chan struct{})
	run := func(ctx context.Context) error {
		c, err := consumer.New(b, consumer.Group("g"), consumer.Topics("a"), consumer.MaxRecords(7))
		if err != nil {
			return err
		}
		for r, err := range c.Records(ctx) {
			if err != nil {
				return errors.Join(err, c.Close())
			}
			mu.Lock()
			seen[string(r.Value)]++
			if len(seen) == records {
				close(all)
			}
			mu.Unlock()
		}
		return c.Close()
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range records {
			b.send("a", int32(i%partitions), strconv.Itoa(i))
		}
	})
	wg.Go(func() { require.NoError(t, run(ctx)) })
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				member, leave := context.WithTimeout(ctx, 3*time.Millisecond)
				require.NoError(t, run(member))
				leave()
			}
		})
	}
	select {
	case <-all:
	case <-time.After(20 * time.Second):
		t.Error("records are missing")
	}
	cancel()
	wg.Wait()
	require.Len(t, seen, records)
	for v, n := range seen {
		require.Equal(t, 1, n, "record %s", v)
	}
}

func TestTopicsComeGrowAndGoWhileConsumersWait(t *testing.T) {
	b := memoryBroker(t)
	var told []string
	subscribed := b.consumer(consumer.Group("g"), consumer.Topics("a"),
		consumer.OnLost(func(p []record.TopicPartition) { told = append(told, fmt.Sprint(p)) }))
	given := b.consumer(consumer.Assign(tps("a", 0)...))
	for _, c := range []*consumer.Consumer{subscribed, given} {
		require.Empty(t, b.poke(c))
	}
	b.create("a", 1)
	b.send("a", 0, "1")
	require.Equal(t, []string{"1"}, b.poll(subscribed, 1))
	require.Equal(t, []string{"1"}, b.poll(given, 1))
	require.NoError(t, b.AddPartitions(t.Context(), "a", 2))
	b.send("a", 1, "2")
	require.Equal(t, []string{"2"}, b.poll(subscribed, 1))

	require.NoError(t, b.DeleteTopics(t.Context(), "a"))
	for _, c := range []*consumer.Consumer{subscribed, given} {
		require.Empty(t, b.poke(c))
	}
	require.Equal(t, []string{"[a-0 a-1]"}, told)
	b.create("a", 1)
	b.send("a", 0, "3")
	require.Equal(t, []string{"3"}, b.poll(subscribed, 1), "it begins anew, though offset 1 was committed")
	require.Equal(t, []string{"3"}, b.poll(given, 1))
}

func TestWhereToBegin(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 1)
	var times []time.Time
	for i := range 6 {
		times = append(times, time.UnixMilli(int64(1000*i)))
		_, err := b.p.Send(t.Context(), record.Record{Topic: "a", Timestamp: times[i], Value: []byte(strconv.Itoa(i))})
		require.NoError(t, err)
	}
	for _, test := range []struct {
		name string
		from consumer.Option
		want []string
	}{
		{"start", consumer.FromStart(), numbered(0, 6)},
		{"end", consumer.FromEnd(), nil},
		{"time", consumer.FromTime(times[2].Add(1)), numbered(2, 6)},
		{"later time", consumer.FromTime(times[5].Add(time.Second)), nil},
		{"offset", consumer.FromOffset(4), numbered(4, 6)},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := b.consumer(test.from, consumer.Group(test.name), consumer.Topics("a"))
			require.Equal(t, test.want, b.poke(c))
			c = b.consumer(test.from, consumer.Assign(tps("a", 0)...))
			require.Equal(t, test.want, b.poke(c))
		})
	}
}

func TestOffsetOutOfRange(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 1)
	b.send("a", 0, numbered(0, 6)...)
	at := tps("a", 0)[0]
	c := b.consumer(consumer.Assign(at), consumer.MaxRecords(2))
	require.Equal(t, numbered(0, 2), b.poll(c, 2))
	require.NoError(t, c.Seek(t.Context(), at, 99))
	_, err := c.Poll(t.Context())
	require.ErrorIs(t, err, fault.OffsetOutOfRange)
	require.ErrorContains(t, err, "a-0 at offset 99")
	require.Equal(t, numbered(0, 2), b.poll(c, 2), "it goes on where it would begin")
	_, err = b.DeleteRecords(t.Context(), map[record.TopicPartition]int64{at: 5})
	require.NoError(t, err)
	require.NoError(t, c.Seek(t.Context(), at, 3))
	_, err = c.Poll(t.Context())
	require.ErrorIs(t, err, fault.OffsetOutOfRange)
	require.False(t, consumer.Fatal(err))
	require.Equal(t, []string{"5"}, b.poll(c, 1))
}

func TestSeekPauseResume(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 2)
	b.send("a", 0, numbered(0, 6)...)
	b.send("a", 1, numbered(10, 12)...)
	zero, one := tps("a", 0)[0], tps("a", 1)[0]
	c := b.consumer(consumer.Group("g"), consumer.Topics("a"))
	var got []string
	for r, err := range c.Records(t.Context()) {
		require.NoError(t, err)
		got = append(got, string(r.Value))
		switch string(r.Value) {
		case "2":
			require.NoError(t, c.Pause(zero))
		case "11":
			require.NoError(t, c.Resume(zero))
			require.NoError(t, c.Seek(t.Context(), one, 1))
		}
		if len(got) == 9 {
			break
		}
	}
	slices.Sort(got)
	require.Equal(t, []string{"0", "1", "10", "11", "11", "2", "3", "4", "5"}, got)
	at, err := c.Position(t.Context(), one)
	require.NoError(t, err)
	require.LessOrEqual(t, at, int64(2))
	_, err = c.Position(t.Context(), record.TopicPartition{Topic: "b"})
	require.ErrorIs(t, err, fault.NotAssigned)
	require.NoError(t, c.SeekTo(t.Context(), topic.Latest()))
	lag, err := c.Lag(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[record.TopicPartition]int64{zero: 0, one: 0}, lag)
	require.NoError(t, c.SeekTo(t.Context(), topic.Earliest(), zero))
	lag, err = c.Lag(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(6), lag[zero])
}

func TestPartitionsTakeTurns(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 3)
	for n := range int32(3) {
		b.send("a", n, numbered(0, 4)...)
	}
	c := b.consumer(consumer.Assign(tps("a", 0, 1, 2)...), consumer.MaxRecords(2))
	var turns []int32
	for range 6 {
		records, err := c.Poll(t.Context())
		require.NoError(t, err)
		require.Len(t, records, 2)
		turns = append(turns, records[0].Partition)
	}
	require.Equal(t, turns[:3], turns[3:])
	require.ElementsMatch(t, []int32{0, 1, 2}, turns[:3])
}

// Files are read through with the next chunk on its way, buffers used again or
// not, compressed or not.
func TestReplayFromFiles(t *testing.T) {
	dir := t.TempDir()
	broker, err := Open(dir, DefaultDurability(topic.OS))
	b := newTestBroker(t, broker, err)
	const n = 30_000
	for _, compression := range []record.Compression{record.None, record.Zstd} {
		name := "a-" + compression.String()
		b.create(name, 1)
		p, err := producer.New(b, producer.Compression(compression), producer.Partitioner(topic.ManualPartitioner))
		require.NoError(t, err)
		for i := range n {
			p.SendAsync(t.Context(), record.Record{Topic: name, Key: []byte(strconv.Itoa(i)), Value: fmt.Appendf(nil, "%0100d", i)}, nil)
		}
		require.NoError(t, p.Flush(t.Context()))
		require.NoError(t, p.Close())
	}
	require.NoError(t, b.Close())

	broker, err = Open(dir)
	b = newTestBroker(t, broker, err)
	for _, name := range []string{"a-none", "a-zstd"} {
		for _, opts := range [][]consumer.Option{
			{},
			{consumer.ReuseBuffers()},
			{consumer.ReuseBuffers(), consumer.MaxBytes(40 << 10)},
			{consumer.MaxBytes(1)},
		} {
			c := b.consumer(append(opts, consumer.Assign(tps(name, 0)...))...)
			for i := 0; i < n; {
				records, err := c.Poll(t.Context())
				require.NoError(t, err)
				for _, r := range records {
					if string(r.Key) != strconv.Itoa(i) || string(r.Value) != fmt.Sprintf("%0100d", i) || r.Offset != int64(i) {
						t.Fatalf("record %d came as %s %s at %d", i, r.Key, r.Value, r.Offset)
					}
					i++
				}
			}
			require.NoError(t, c.Close())
		}
	}
}

func TestClosing(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 1)
	c := b.consumer(consumer.Group("g"), consumer.Topics("a"))
	result := make(chan error)
	go func() {
		_, err := c.Poll(context.Background())
		result <- err
	}()
	require.Eventually(t, func() bool { return len(c.Assignment()) == 1 }, time.Second, time.Millisecond)
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-result, fault.Closed)
	require.NoError(t, c.Close())
	_, err := c.Poll(t.Context())
	require.ErrorIs(t, err, fault.Closed)
	groups, err := b.Groups(t.Context())
	require.NoError(t, err)
	require.Equal(t, []consumer.GroupListing{{Name: "g", State: consumer.GroupEmpty}}, groups)

	c = b.consumer(consumer.Group("g"), consumer.Topics("a"))
	b.poke(c)
	require.NoError(t, b.Close())
	_, err = c.Poll(t.Context())
	require.ErrorIs(t, err, fault.Closed)
	_, err = consumer.New(b)
	require.ErrorIs(t, err, fault.Closed)
	_, err = b.Groups(t.Context())
	require.ErrorIs(t, err, fault.Closed)
}

func TestGroupsFromOutside(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 2)
	ctx := t.Context()
	groups, err := b.Groups(ctx)
	require.NoError(t, err)
	require.Empty(t, groups)
	_, err = b.DescribeGroups(ctx, "g")
	require.ErrorIs(t, err, fault.GroupNotFound)
	_, err = b.GroupOffsets(ctx, "g")
	require.ErrorIs(t, err, fault.GroupNotFound)
	require.ErrorIs(t, b.DeleteGroups(ctx, "g"), fault.GroupNotFound)

	set := map[record.TopicPartition]consumer.Offset{{Topic: "a", Partition: 1}: {Offset: 1, LeaderEpoch: -1}}
	require.NoError(t, b.SetGroupOffsets(ctx, "g", set))
	b.send("a", 1, "0", "1")
	c := b.consumer(consumer.Group("g"), consumer.Topics("a"), consumer.ClientID("me"))
	require.Equal(t, []string{"1"}, b.poll(c, 1))
	require.ErrorIs(t, b.SetGroupOffsets(ctx, "g", set), fault.NonEmptyGroup)
	require.ErrorIs(t, b.DeleteGroups(ctx, "g"), fault.NonEmptyGroup)
	d, err := b.DescribeGroups(ctx, "g")
	require.NoError(t, err)
	require.Equal(t, consumer.GroupStable, d[0].State)
	require.Equal(t, "uniform", d[0].Assignor)
	m := d[0].Members[0]
	require.Equal(t, "me", m.ClientID)
	require.Equal(t, tps("a", 0, 1), m.Assigned)
	require.Equal(t, m.Assigned, m.Target)
	require.NoError(t, c.Close())
	require.NoError(t, b.DeleteGroups(ctx, "g"))
	names := b.consumer(consumer.Group("h"), consumer.Topics("a"))
	b.poke(names)
	listed, err := b.Topics(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, listed, "the groups' own topic is internal")
}

func TestGroupHashIsJavas(t *testing.T) {
	for name, want := range map[string]int32{
		"": 0, "a": 97, "quickstart": 1_698_122_389, "größe": 98_762_257, "😀": 1_772_899,
		"my-group": 1_906_497_762, "polygenelubricants": 0, // negative in Java, and the most negative
	} {
		require.Equal(t, want, groupHash(name), name)
	}
}

func TestCommitsWithoutMembership(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 1)
	b.send("a", 0, "0", "1", "2")
	c := b.consumer(consumer.Group("g"), consumer.Assign(tps("a", 0)...), consumer.MaxRecords(1))
	require.Equal(t, []string{"0"}, b.poll(c, 1))
	require.NoError(t, c.Commit(t.Context()))
	c = b.consumer(consumer.Group("g"), consumer.Assign(tps("a", 0)...))
	require.Equal(t, []string{"1", "2"}, b.poll(c, 2))
	alone := b.consumer(consumer.Assign(tps("a", 0)...))
	require.ErrorIs(t, alone.Commit(t.Context()), fault.InvalidGroup)
	require.NoError(t, alone.Assign(t.Context()))
	require.Empty(t, alone.Assignment())
}
