package attach

import (
	"context"
	"io"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// handle runs a call, whose arguments c reads, and returns the fields of its results. id is
// the call's.
//
// A handler declares its arguments by calling args once, with the same fields that the
// client wrote them with. args also reports bytes that are left over, and values that are
// well-formed but that no backend should get.
func (v *visit) handle(ctx context.Context, m method, id uint32, c *coder) (results fields, err error) {
	args := func(all fields) error {
		if all(c); c.r.End() != nil {
			return c.r.Err()
		}
		return c.wrong
	}
	switch {
	case m == streamBytes:
		return v.handleStream(ctx, id, args)
	case m <= setGroupOffsets || m == verify || m == describeCluster || m == deleteGroupOffsets || m == readKey:
		return v.handleAdmin(ctx, m, args)
	case m <= flush || m == sendIf:
		return v.handleProducer(ctx, m, args)
	case m >= openShare:
		return v.handleSharing(ctx, m, args)
	case m >= listTransactions && m <= abortTransaction:
		return v.handleTransactionAdmin(ctx, m, args)
	case m == beginTransaction || m == endTransaction || m == sendOffsets:
		return v.handleTransaction(ctx, m, args)
	}
	return v.handleConsumer(ctx, m, id, args)
}

func unknownMethod(m method) error {
	return fault.Newf(fault.InvalidRequest, "a call of the unknown method %d", m)
}

// handleStream runs a call whose answer is bytes, which come in parts.
func (v *visit) handleStream(ctx context.Context, id uint32, args func(fields) error) (fields, error) {
	var name string
	if err := args(func(c *coder) { text(c, &name) }); err != nil {
		return nil, err
	}
	return none, v.server.backend.Stream(ctx, name, &partWriter{v, id})
}

// partWriter writes parts of the answer to a call.
type partWriter struct {
	visit *visit
	call  uint32
}

// Write implements io.Writer.
func (w *partWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		part := b[:min(len(b), partBytes)]
		if !w.visit.send(append(appendHead(nil, kindPart, w.call, len(part)), part...)) {
			return n, io.ErrClosedPipe
		}
		n, b = n+len(part), b[len(part):]
	}
	return n, nil
}

// handleAdmin runs the calls that belong to no session.
func (v *visit) handleAdmin(ctx context.Context, m method, args func(fields) error) (fields, error) {
	b := v.server.backend
	var names []string
	var name string
	switch m {
	case createTopics:
		var specs []topic.Spec
		if err := args(func(c *coder) { list(c, 16, &specs, (*coder).topicSpec) }); err != nil {
			return nil, err
		}
		return none, b.CreateTopics(ctx, specs...)
	case deleteTopics:
		if err := args(func(c *coder) { c.texts(&names) }); err != nil {
			return nil, err
		}
		return none, b.DeleteTopics(ctx, names...)
	case listTopics:
		if err := args(none); err != nil {
			return nil, err
		}
		names, err := b.Topics(ctx)
		return func(c *coder) { c.texts(&names) }, err
	case describeTopics:
		if err := args(func(c *coder) { c.texts(&names) }); err != nil {
			return nil, err
		}
		ds, err := b.DescribeTopics(ctx, names...)
		return func(c *coder) { list(c, 16, &ds, (*coder).description) }, err
	case describeCluster:
		if err := args(none); err != nil {
			return nil, err
		}
		cluster, err := b.DescribeCluster(ctx)
		return func(c *coder) { c.cluster(&cluster) }, err
	case addPartitions:
		var total int
		err := args(func(c *coder) {
			text(c, &name)
			int64s(c, &total)
		})
		if err != nil {
			return nil, err
		}
		return none, b.AddPartitions(ctx, name, total)
	case configureTopic:
		var cfg topic.Config
		err := args(func(c *coder) {
			text(c, &name)
			c.config(&cfg)
		})
		if err != nil {
			return nil, err
		}
		return none, b.ConfigureTopic(ctx, name, cfg)
	case deleteRecords:
		var before map[record.TopicPartition]int64
		if err := args(func(c *coder) { table(c, 8, &before, int64s) }); err != nil {
			return nil, err
		}
		starts, err := b.DeleteRecords(ctx, before)
		return func(c *coder) { table(c, 8, &starts, int64s) }, err
	case listOffsets:
		var spec topic.OffsetSpec
		var partitions []record.TopicPartition
		err := args(func(c *coder) {
			c.spec(&spec)
			c.partitions(&partitions)
		})
		if err != nil {
			return nil, err
		}
		listed, err := b.ListOffsets(ctx, spec, partitions...)
		return func(c *coder) { table(c, 21, &listed, (*coder).listed) }, err
	case readKey:
		var q consumer.KeyQuery
		if err := args(func(c *coder) { c.keyQuery(&q) }); err != nil {
			return nil, err
		}
		page, err := b.ReadKey(ctx, q)
		return func(c *coder) { c.keyPage(&page, &q) }, err
	case verify:
		if err := args(none); err != nil {
			return nil, err
		}
		return none, b.Verify(ctx)
	}
	return v.handleGroups(ctx, m, args)
}

// handleGroups runs the calls about groups.
func (v *visit) handleGroups(ctx context.Context, m method, args func(fields) error) (fields, error) {
	b := v.server.backend
	var names []string
	var name string
	switch m {
	case listGroups:
		if err := args(none); err != nil {
			return nil, err
		}
		groups, err := b.Groups(ctx)
		return func(c *coder) { list(c, 16, &groups, (*coder).groupListing) }, err
	case describeGroups:
		if err := args(func(c *coder) { c.texts(&names) }); err != nil {
			return nil, err
		}
		groups, err := b.DescribeGroups(ctx, names...)
		return func(c *coder) { list(c, 20, &groups, (*coder).groupDescription) }, err
	case deleteGroups:
		if err := args(func(c *coder) { c.texts(&names) }); err != nil {
			return nil, err
		}
		return none, b.DeleteGroups(ctx, names...)
	case groupOffsets:
		if err := args(func(c *coder) { text(c, &name) }); err != nil {
			return nil, err
		}
		all, err := b.GroupOffsets(ctx, name)
		return func(c *coder) { table(c, 16, &all, (*coder).offset) }, err
	case setGroupOffsets:
		var all map[record.TopicPartition]consumer.Offset
		err := args(func(c *coder) {
			text(c, &name)
			table(c, 16, &all, (*coder).offset)
		})
		if err != nil {
			return nil, err
		}
		return none, b.SetGroupOffsets(ctx, name, all)
	case deleteGroupOffsets:
		var partitions []record.TopicPartition
		err := args(func(c *coder) {
			text(c, &name)
			c.partitions(&partitions)
		})
		if err != nil {
			return nil, err
		}
		return none, b.DeleteGroupOffsets(ctx, name, partitions...)
	}
	return nil, unknownMethod(m)
}

// handleProducer runs the calls of a producer's session.
func (v *visit) handleProducer(ctx context.Context, m method, args func(fields) error) (fields, error) {
	switch m {
	case openProducer:
		var cfg producer.Config
		if err := args(func(c *coder) { c.producerConfig(&cfg) }); err != nil {
			return nil, err
		}
		return none, v.intake.open(ctx, v.server.backend, cfg)
	case openTopic:
		var name string
		if err := args(func(c *coder) { text(c, &name) }); err != nil {
			return nil, err
		}
		number, partitions, err := v.intake.topic(ctx, name)
		return func(c *coder) {
			int32s(c, &number)
			int32s(c, &partitions)
		}, err
	case sendIf:
		var number uint32
		var r record.Record
		var condition record.Condition
		err := args(func(c *coder) {
			int32s(c, &number)
			c.sentIf(&r, &condition)
		})
		if err != nil {
			return nil, err
		}
		at, err := v.intake.sendIf(ctx, number, r, condition)
		return func(c *coder) { int64s(c, &at.Offset) }, err
	case flush:
		if err := args(none); err != nil {
			return nil, err
		}
		s, err := v.intake.current()
		if err != nil {
			return nil, err
		}
		return none, s.Flush(ctx)
	}
	return nil, unknownMethod(m)
}

// handleConsumer runs the calls of a consumer's session.
func (v *visit) handleConsumer(ctx context.Context, m method, id uint32, args func(fields) error) (fields, error) {
	var partitions []record.TopicPartition
	switch m {
	case openConsumer:
		var cfg consumer.Config
		if err := args(func(c *coder) { c.consumerConfig(&cfg) }); err != nil {
			return nil, err
		}
		return none, v.outlet.open(ctx, v.server.backend, cfg)
	case fetch:
		var wait time.Duration
		if err := args(func(c *coder) { int64s(c, &wait) }); err != nil {
			return nil, err
		}
		got, err := v.outlet.fetch(ctx, id, wait)
		return func(c *coder) { c.fetched(&got) }, err
	case assign:
		if err := args(func(c *coder) { c.partitions(&partitions) }); err != nil {
			return nil, err
		}
		return none, v.outlet.alone(id, func(s consumer.Session) error { return s.Assign(ctx, partitions) })
	case closeConsumer:
		if err := args(none); err != nil {
			return nil, err
		}
		return none, v.outlet.leave(id)
	}
	s, err := v.outlet.current()
	if err != nil {
		return nil, err
	}
	return v.handleSession(ctx, s, m, args)
}

// handleSession runs the calls of a consumer's session that don't change its assignment,
// and so cause no events. They may run while a Fetch waits.
func (v *visit) handleSession(ctx context.Context, s consumer.Session, m method, args func(fields) error) (fields, error) {
	var tp record.TopicPartition
	var partitions []record.TopicPartition
	var spec topic.OffsetSpec
	switch m {
	case assignment:
		if err := args(none); err != nil {
			return nil, err
		}
		partitions = s.Assignment()
		return func(c *coder) { c.partitions(&partitions) }, nil
	case seek:
		err := args(func(c *coder) {
			c.partition(&tp)
			c.spec(&spec)
		})
		if err != nil {
			return nil, err
		}
		return none, v.outlet.seek(func(s consumer.Session) error { return s.Seek(ctx, tp, spec) })
	case position:
		if err := args(func(c *coder) { c.partition(&tp) }); err != nil {
			return nil, err
		}
		at, err := s.Position(ctx, tp)
		return func(c *coder) { int64s(c, &at) }, err
	case pause, resume:
		if err := args(func(c *coder) { c.partitions(&partitions) }); err != nil {
			return nil, err
		}
		if m == pause {
			return none, s.Pause(partitions...)
		}
		return none, s.Resume(partitions...)
	case commit:
		var all map[record.TopicPartition]consumer.Offset
		if err := args(func(c *coder) { table(c, 16, &all, (*coder).offset) }); err != nil {
			return nil, err
		}
		return none, s.Commit(ctx, all)
	case groupMetadata:
		if err := args(none); err != nil {
			return nil, err
		}
		g, err := s.GroupMetadata(ctx)
		return func(c *coder) { c.groupMetadata(&g) }, err
	case committed:
		if err := args(func(c *coder) { c.partitions(&partitions) }); err != nil {
			return nil, err
		}
		all, err := s.Committed(ctx, partitions...)
		return func(c *coder) { table(c, 16, &all, (*coder).offset) }, err
	case offsets:
		err := args(func(c *coder) {
			c.spec(&spec)
			c.partitions(&partitions)
		})
		if err != nil {
			return nil, err
		}
		all, err := s.Offsets(ctx, spec, partitions...)
		return func(c *coder) { table(c, 8, &all, int64s) }, err
	}
	return nil, unknownMethod(m)
}
