package runnel

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
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
	require.Eventually(t, func() bool { return len(c.Assignment()) == 1 }, time.Minute, time.Millisecond)
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
	b = memoryBroker(t)
	require.NoError(t, b.Close())
	_, err = b.Groups(t.Context())
	require.ErrorIs(t, err, fault.Closed, "also where there never was a group")
}

// Damage in one partition is reported once, with its place; the others go on, and so
// does this one behind the damage.
func TestCorruptRange(t *testing.T) {
	dir := t.TempDir()
	broker, err := Open(dir, DefaultDurability(topic.OS))
	b := newTestBroker(t, broker, err)
	b.create("a", 2)
	b.send("a", 0, numbered(0, 9)...) // a batch each
	b.send("a", 1, "fine")
	require.NoError(t, b.Close())
	file := filepath.Join(dir, "a-0", "00000000000000000000.log")
	bytes, err := os.ReadFile(file)
	require.NoError(t, err)
	bytes[len(bytes)/2] ^= 1 // within the batch of offset 4
	require.NoError(t, os.WriteFile(file, bytes, 0o644))

	broker, err = Open(dir)
	b = newTestBroker(t, broker, err)
	zero := tps("a", 0)[0]
	c := b.consumer(consumer.Assign(zero))
	require.Equal(t, numbered(0, 4), b.poll(c, 4))
	require.NoError(t, c.Assign(t.Context(), tps("a", 0, 1)...))
	var failed error
	got := []string{}
	for len(got) == 0 || failed == nil {
		records, err := c.Poll(t.Context())
		if err != nil {
			require.NoError(t, failed, "told twice")
			failed = err
		}
		for _, r := range records {
			got = append(got, string(r.Value))
		}
	}
	require.Equal(t, []string{"fine"}, got)
	var corrupt *fault.Corruption
	require.ErrorAs(t, failed, &corrupt)
	require.Equal(t, []any{"a", int32(0), int64(4), file}, []any{corrupt.Topic, corrupt.Partition, corrupt.Offset, corrupt.File})
	require.Empty(t, b.poke(c))
	require.NoError(t, c.Seek(t.Context(), zero, 5))
	require.Equal(t, numbered(5, 9), b.poll(c, 4))
}

// Records that a program holds stay what they are, while the buffers of others
// are used again.
func TestHeldRecordsStay(t *testing.T) {
	dir := t.TempDir()
	broker, err := Open(dir, DefaultDurability(topic.OS))
	b := newTestBroker(t, broker, err)
	b.create("a", 1)
	const n = 60_000 // several chunks
	for i := range n {
		b.p.SendAsync(t.Context(), record.Record{Topic: "a", Value: fmt.Appendf(nil, "%0100d", i)}, nil)
	}
	require.NoError(t, b.p.Flush(t.Context()))
	require.NoError(t, b.Close())
	broker, err = Open(dir)
	b = newTestBroker(t, broker, err)
	var held []record.Record
	for range 5 {
		c := b.consumer(consumer.Assign(tps("a", 0)...))
		for got := 0; got < n; {
			records, err := c.Poll(t.Context())
			require.NoError(t, err)
			for _, r := range records {
				if r.Offset%7919 == 0 {
					held = append(held, r)
				}
			}
			got += len(records)
		}
		require.NoError(t, c.Close())
		runtime.GC()
	}
	for _, r := range held {
		require.Equal(t, fmt.Sprintf("%0100d", r.Offset), string(r.Value))
	}
}

// What a record costs the garbage collector, from memory and over whole batches.
func TestPollingAllocatesLittle(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 1)
	const n = 10_000
	for range n {
		b.p.SendAsync(t.Context(), record.Record{Topic: "a", Key: []byte("key"), Value: make([]byte, 100)}, nil)
	}
	require.NoError(t, b.p.Flush(t.Context()))
	for _, opts := range [][]consumer.Option{nil, {consumer.ReuseBuffers()}} {
		c := b.consumer(append(opts, consumer.Assign(tps("a", 0)...))...)
		perRecord := testing.AllocsPerRun(5, func() {
			require.NoError(t, c.SeekTo(t.Context(), topic.Earliest()))
			for got := 0; got < n; {
				records, err := c.Poll(t.Context())
				require.NoError(t, err)
				got += len(records)
			}
		}) / n
		require.LessOrEqual(t, perRecord, 0.05)
	}
}
