package attach

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/share"
	"github.com/runnel-go/runnel/topic"
)

func FuzzReadFrame(f *testing.F) {
	f.Add(appendHead(nil, kindCall, 7, 0))
	f.Add(append(appendHead(nil, kindPart, 7, 3), 1, 2, 3))
	f.Add([]byte{0x40, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2})
	f.Add([]byte{255, 255, 255, 255, 1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readFrame(bytes.NewReader(b))
		require.LessOrEqual(t, cap(got.body), 2*len(b)+readStep)
		if err != nil {
			return
		}
		whole := append(appendHead(nil, got.kind, got.id, len(got.body)), got.body...)
		require.Equal(t, b[:len(whole)], whole)
	})
}

// messages are all messages that a side decodes, each into a new value.
func messages() []fields {
	var (
		specs    []topic.Spec
		ds       []topic.Description
		cluster  topic.Cluster
		texts    []string
		tps      []record.TopicPartition
		spec     topic.OffsetSpec
		numbers  map[record.TopicPartition]int64
		listed   map[record.TopicPartition]topic.ListedOffset
		offsets  map[record.TopicPartition]consumer.Offset
		listings []consumer.GroupListing
		groups   []consumer.GroupDescription
		out      producer.Config
		in       consumer.Config
		got      consumer.Fetched
		err      error
		news     outcomes
		e        event
		h        hello

		work        share.Config
		acquired    []share.Acquired
		settlements []share.Settlement
		shares      share.GroupDescription
	)
	return []fields{
		func(c *coder) { list(c, 16, &specs, (*coder).topicSpec) },
		func(c *coder) { list(c, 16, &ds, (*coder).description) },
		func(c *coder) { c.texts(&texts) },
		func(c *coder) { c.cluster(&cluster) },
		func(c *coder) { c.partitions(&tps) },
		func(c *coder) { c.spec(&spec) },
		func(c *coder) { table(c, 8, &numbers, int64s) },
		func(c *coder) { table(c, 21, &listed, (*coder).listed) },
		func(c *coder) { table(c, 16, &offsets, (*coder).offset) },
		func(c *coder) { list(c, 16, &listings, (*coder).groupListing) },
		func(c *coder) { list(c, 20, &groups, (*coder).groupDescription) },
		func(c *coder) { c.producerConfig(&out) },
		func(c *coder) { c.consumerConfig(&in) },
		func(c *coder) { c.fetched(&got) },
		func(c *coder) { c.problem(&err) },
		func(c *coder) { c.shareConfig(&work) },
		func(c *coder) { list(c, 47, &acquired, (*coder).acquired) },
		func(c *coder) { list(c, 34, &settlements, (*coder).settlement) },
		func(c *coder) { c.shareGroup(&shares) },
		news.fields, e.fields, h.fields,
	}
}

// Whatever can be decoded can be encoded, and is then the same.
func FuzzMessages(f *testing.F) {
	for which := range messages() {
		f.Add(uint8(which), []byte{0, 0, 0, 1, 0, 0, 0, 1, 'a', 0, 0, 0, 0})
		f.Add(uint8(which), body(f, messages()[which]))
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		all, again := messages(), messages()
		m := all[int(which)%len(all)]
		if decode(b, m) != nil {
			return
		}
		require.NoError(t, decode(body(t, m), again[int(which)%len(all)]))
	})
}

// stub is a backend that does nothing.
type stub struct{}

func (stub) OpenProducer(context.Context, producer.Config) (producer.Session, error) {
	return stubProducer{}, nil
}

func (stub) OpenConsumer(_ context.Context, cfg consumer.Config) (consumer.Session, error) {
	return stubConsumer{cfg}, nil
}
func (stub) CreateTopics(context.Context, ...topic.Spec) error       { return nil }
func (stub) DeleteTopics(context.Context, ...string) error           { return nil }
func (stub) Topics(context.Context) ([]string, error)                { return []string{"orders"}, nil }
func (stub) AddPartitions(context.Context, string, int) error        { return nil }
func (stub) Verify(context.Context) error                            { return nil }
func (stub) DeleteGroups(context.Context, ...string) error           { return nil }
func (stub) Groups(context.Context) ([]consumer.GroupListing, error) { return nil, nil }

func (stub) ListTransactions(context.Context) ([]producer.TransactionListing, error) {
	return []producer.TransactionListing{{TransactionalID: "shop", State: producer.TransactionEmpty}}, nil
}

func (stub) DescribeTransactions(context.Context, ...string) ([]producer.TransactionDescription, error) {
	return make([]producer.TransactionDescription, 1), nil
}

func (stub) DescribeProducers(context.Context, ...record.TopicPartition) (map[record.TopicPartition][]producer.ProducerState, error) {
	return map[record.TopicPartition][]producer.ProducerState{{Topic: "orders"}: {{ProducerID: 1}}}, nil
}

func (stub) ForceTerminateTransaction(context.Context, string) error { return nil }

func (stub) AbortTransaction(context.Context, record.TopicPartition, producer.ProducerState) error {
	return nil
}

func (stub) Stream(_ context.Context, name string, w io.Writer) error {
	_, err := io.WriteString(w, name)
	return err
}

func (stub) DescribeTopics(context.Context, ...string) ([]topic.Description, error) {
	return []topic.Description{{Name: "orders", Partitions: make([]topic.PartitionDescription, 2)}}, nil
}

func (stub) DescribeCluster(context.Context) (topic.Cluster, error) {
	return topic.Cluster{Controller: 1, Nodes: []topic.Node{{ID: 1, Address: "here", Rack: "a", Alive: true}}}, nil
}
func (stub) ConfigureTopic(context.Context, string, topic.Config) error { return nil }

func (stub) DeleteRecords(_ context.Context, before map[record.TopicPartition]int64) (map[record.TopicPartition]int64, error) {
	return before, nil
}

func (stub) ListOffsets(context.Context, topic.OffsetSpec, ...record.TopicPartition) (map[record.TopicPartition]topic.ListedOffset, error) {
	return nil, fault.At(fault.UnknownTopic, "orders", 1, 2)
}

func (stub) DescribeGroups(context.Context, ...string) ([]consumer.GroupDescription, error) {
	return []consumer.GroupDescription{{Name: "g", Members: make([]consumer.Member, 1)}}, nil
}

func (stub) GroupOffsets(context.Context, string) (map[record.TopicPartition]consumer.Offset, error) {
	return map[record.TopicPartition]consumer.Offset{{Topic: "orders"}: {Offset: 1}}, nil
}

func (stub) SetGroupOffsets(context.Context, string, map[record.TopicPartition]consumer.Offset) error {
	return nil
}

func (stub) DeleteGroupOffsets(context.Context, string, ...record.TopicPartition) error { return nil }

func (stub) ReadKey(context.Context, consumer.KeyQuery) (consumer.KeyPage, error) {
	return consumer.KeyPage{Records: []record.Record{{Offset: 1, Key: []byte("k")}}, Next: 2, End: 2}, nil
}

func (stub) Sharing() (*Sharing, error) {
	return &Sharing{
		Open: func(context.Context, share.Config) (share.Session, error) { return stubShare{}, nil },
		List: func(context.Context) ([]string, error) { return []string{"g"}, nil },
		Describe: func(context.Context, string) (share.GroupDescription, error) {
			return share.GroupDescription{Group: "g", Partitions: make([]share.PartitionDescription, 1)}, nil
		},
		Delete:        func(context.Context, string) error { return nil },
		DeleteOffsets: func(context.Context, string, ...string) error { return fault.GroupNotFound },
		Reset:         func(context.Context, string, topic.OffsetSpec, ...record.TopicPartition) error { return nil },
	}, nil
}

type stubShare struct{}

func (stubShare) Acquire(context.Context, int) ([]share.Acquired, error) {
	return []share.Acquired{{Record: record.Record{Topic: "orders", Value: []byte("v")}, Acquisition: 1, Attempt: 1}}, nil
}

func (stubShare) Settle(_ context.Context, all []share.Settlement) ([]error, error) {
	errs := make([]error, len(all))
	for i := range errs {
		errs[i] = fault.InvalidRecordState
	}
	return errs, nil
}

func (stubShare) Close() error { return nil }

type stubProducer struct{}

func (stubProducer) Topic(context.Context, string) (producer.Writer, error) {
	return stubProducer{}, nil
}
func (stubProducer) Flush(context.Context) error { return nil }
func (stubProducer) Close() error                { return nil }
func (stubProducer) Partitions() int32           { return 2 }

func (stubProducer) Send(context.Context, record.Record) (record.Position, error) {
	return record.Position{}, nil
}

func (stubProducer) SendIf(_ context.Context, r record.Record, c producer.Condition) (record.Position, error) {
	return record.Position{}, &producer.Conflict{Topic: "orders", Partition: r.Partition, Want: c.Offset, Have: -1}
}

func (stubProducer) SendAsync(_ context.Context, r record.Record, fn producer.Callback) {
	if string(r.Value) == "fail" {
		fn(record.Position{Offset: -1}, fault.DiskFull)
		return
	}
	fn(record.Position{Offset: int64(len(r.Value))}, nil)
}

func (stubProducer) Append(_ context.Context, _ int32, _ *record.Batch, fn producer.Callback) {
	fn(record.Position{}, fault.NotLeader)
}

type stubConsumer struct{ cfg consumer.Config }

var stubPartition = record.TopicPartition{Topic: "orders", Partition: 1}

func (s stubConsumer) Fetch(_ context.Context, _ time.Duration, dst []record.Record) (consumer.Fetched, error) {
	s.cfg.OnAssigned([]record.TopicPartition{stubPartition})
	got := consumer.Fetched{TopicPartition: stubPartition}
	for i := range min(3, s.cfg.MaxRecords) {
		dst = append(dst, record.Record{Topic: "orders", Partition: 1, Offset: int64(i), LeaderEpoch: int32(i / 2), Value: []byte("v")})
	}
	got.Records = dst
	return got, nil
}
func (stubConsumer) Release(consumer.Lease) {}

func (s stubConsumer) Assign(context.Context, []record.TopicPartition) error {
	s.cfg.OnRevoked(nil)
	return nil
}

func (stubConsumer) Assignment() []record.TopicPartition {
	return []record.TopicPartition{stubPartition}
}

func (stubConsumer) Seek(context.Context, record.TopicPartition, topic.OffsetSpec) error { return nil }

func (stubConsumer) Position(context.Context, record.TopicPartition) (int64, error) { return 7, nil }

func (stubConsumer) Pause(...record.TopicPartition) error { return nil }

func (stubConsumer) Resume(...record.TopicPartition) error { return nil }

func (stubConsumer) Commit(context.Context, map[record.TopicPartition]consumer.Offset) error {
	return nil
}

func (stubConsumer) GroupMetadata(context.Context) (consumer.GroupMetadata, error) {
	return consumer.GroupMetadata{}, nil
}

func (stubConsumer) Committed(context.Context, ...record.TopicPartition) (map[record.TopicPartition]consumer.Offset, error) {
	return nil, nil
}

func (stubConsumer) Offsets(context.Context, topic.OffsetSpec, ...record.TopicPartition) (map[record.TopicPartition]int64, error) {
	return nil, nil
}
func (s stubConsumer) Close() error { s.cfg.OnRevoked(nil); return nil }

// recorded returns what a client sends to a server while do runs, and what the
// server answers, after the hellos.
func recorded(f *testing.F, do func(c *Client)) (said, answered []byte) {
	near, far := net.Pipe()
	var up, down bytes.Buffer
	v := newVisit(newServer(stub{}), &tee{far, &up, &down})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		v.run()
	}()
	c, r, err := meet(near)
	require.NoError(f, err)
	greetings := up.Len()
	welcome := down.Len()
	client := &Client{control: c}
	s := newSending(client, c, producer.Config{BatchBytes: 1 << 10, BufferBytes: 1 << 20})
	c.start(r)
	do(client)
	require.NoError(f, s.conn.call(f.Context(), openProducer, func(c *coder) { c.producerConfig(&s.cfg) }, none))
	w, err := s.Topic(f.Context(), "orders")
	require.NoError(f, err)
	_, err = w.Send(f.Context(), record.Record{Value: []byte("v"), Headers: []record.Header{{Key: "h"}}})
	require.NoError(f, err)
	c.close()
	<-ended
	return up.Bytes()[greetings:], down.Bytes()[welcome:]
}

// tee records what passes through a connection.
type tee struct {
	net.Conn
	up, down *bytes.Buffer
}

func (t tee) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	t.up.Write(b[:n])
	return n, err
}

func (t tee) Write(b []byte) (int, error) {
	t.down.Write(b)
	return t.Conn.Write(b)
}

// seeds are valid conversations.
func seeds(f *testing.F) (said, answered [][]byte) {
	ctx := f.Context()
	for _, do := range []func(c *Client){
		func(*Client) {},
		func(c *Client) { _, _ = c.DescribeTopics(ctx, "orders") },
		func(c *Client) { _, _ = c.DescribeGroups(ctx, "g") },
		func(c *Client) { _, _ = c.ListOffsets(ctx, topic.Latest(), stubPartition) },
		func(c *Client) { _ = c.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: 2}) },
		func(c *Client) { _, _ = c.GroupOffsets(ctx, "g") },
		func(c *Client) {
			_ = c.control.talk(ctx, streamBytes, func(c *coder) { name := "bytes"; text(c, &name) }, none, &dialogue{part: func([]byte) error { return nil }})
		},
	} {
		up, down := recorded(f, do)
		said, answered = append(said, up), append(answered, down)
	}
	// A consumer, whose connection has no producer.
	cfg := consumer.Config{MaxRecords: 10, MaxBytes: 1000}
	var up []byte
	for id, args := range []fields{
		func(c *coder) { m := openConsumer; c.method(&m); c.consumerConfig(&cfg) },
		func(c *coder) { m, wait := fetch, time.Second; c.method(&m); int64s(c, &wait) },
		func(c *coder) {
			m := seek
			c.method(&m)
			tp, spec := stubPartition, topic.Latest()
			c.partition(&tp)
			c.spec(&spec)
		},
		func(c *coder) { m := closeConsumer; c.method(&m) },
	} {
		call, err := encode(kindCall, uint32(id), args)
		require.NoError(f, err)
		up = append(append(up, call...), appendHead(nil, kindTold, uint32(id), 0)...)
	}
	said = append(said, up)
	work := share.Config{Group: "g", Topics: []string{"orders"}, LockTime: time.Second, Attempts: 1, Locks: 1, MaxBytes: 1000}
	up = nil
	for id, args := range []fields{
		func(c *coder) { m := openShare; c.method(&m); c.shareConfig(&work) },
		func(c *coder) { m, most := acquire, 3; c.method(&m); int64s(c, &most) },
		func(c *coder) {
			m, all := settle, []share.Settlement{{Position: record.Position{Topic: "orders"}, Acquisition: 1, Kind: share.Accept}}
			c.method(&m)
			list(c, 34, &all, (*coder).settlement)
		},
		func(c *coder) { m := closeShare; c.method(&m) },
		func(c *coder) { m, group := describeShareGroup, "g"; c.method(&m); text(c, &group) },
	} {
		call, err := encode(kindCall, uint32(id), args)
		require.NoError(f, err)
		up = append(up, call...)
	}
	said = append(said, up)
	var down []byte
	require.NoError(f, parts(stubPartition, []record.Record{{Topic: "orders", Value: []byte("v")}}, func(part []byte) {
		down = append(append(down, appendHead(nil, kindPart, 1, len(part))...), part...)
	}))
	return said, append(answered, down)
}

// Whatever a client sends, the server ends the visit without harm.
func FuzzServer(f *testing.F) {
	said, _ := seeds(f)
	for _, s := range said {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		near, far := net.Pipe()
		v := newVisit(newServer(stub{}), far)
		heard := make(chan struct{})
		go func() {
			defer close(heard)
			_, _ = io.Copy(io.Discard, near)
		}()
		go func() {
			_ = writeHello(near, self(0))
			_, _ = near.Write(b)
			_ = near.Close()
		}()
		v.run()
		<-heard
	})
}

// Whatever a server sends, a client's calls end without harm.
func FuzzClient(f *testing.F) {
	_, answered := seeds(f)
	for _, s := range answered {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		go func() {
			_ = writeHello(far, self(0))
			_, _ = far.Write(b)
			_ = far.Close()
		}()
		c, r, err := meet(near)
		require.NoError(t, err)
		in := newReceiving(nil, c, consumer.Config{MaxRecords: 10})
		out := newSending(nil, c, producer.Config{BatchBytes: 1 << 10, BufferBytes: 1 << 20})
		w := &writer{session: out, topic: "orders", lanes: map[int32]*lane{}}
		out.writers[0] = w
		told := 0
		for range 3 {
			w.SendAsync(t.Context(), record.Record{Value: []byte("v")}, func(record.Position, error) { told++ })
		}
		out.fill() // as if they were in flight
		c.start(r)
		got, err := in.Fetch(t.Context(), consumer.UntilDone, nil)
		if err != nil {
			require.Empty(t, got.Records)
		}
		_, _ = (&Client{control: c}).DescribeTopics(t.Context())
		<-c.over
		<-out.told.Drained()
		require.Equal(t, 3, told)
	})
}
