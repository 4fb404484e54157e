package processtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/fixture"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/tcp"
	"github.com/runnel-go/runnel/topic"
)

const (
	nodes      = 3
	partitions = 3
	topicName  = "orders"
	groupName  = "shipping"

	// The profile of a local network.
	tick          = 20 * time.Millisecond
	electionTicks = 10
)

// What the parent tells a process: its node, how often that has been started before, and its directory.
const (
	nodeVariable        = "PROCESSES_NODE"
	incarnationVariable = "PROCESSES_INCARNATION"
	dirVariable         = "PROCESSES_DIR"
	tlsVariable         = "PROCESSES_TLS" // a file with the nodes' certificate, its authority's, and its key
)

// process is the program of one node. It speaks with its parent in lines. On its output:
//
//	address A         the transport listens there
//	open              the broker is open, and the topic is there
//	acked P N O T     record N of this process is acknowledged in partition P, at offset O; it was sent at T
//	failed P N E      it has failed
//	assigned P        its member of the group may read a partition
//	got P F L         the member has got all records of a partition from one offset to another
//	committed P O     it has committed the offset
//	record P O V      asked for: a record
//	offset P O        asked for: what the group has committed
//	end               all of them have been said
//
// On its input: the addresses of all nodes; then "read" with an offset for each partition, for all records up to there and the offsets of the group, and "stop". SIGUSR1
// fills its disk, and SIGUSR2 makes room again.
type process struct {
	name string
	in   *bufio.Scanner

	mu sync.Mutex
}

func (p *process) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Printf(format+"\n", args...) // one write, which a kill does not divide
}

func runProcess() (err error) {
	var id replica.NodeID
	if _, err := fmt.Sscan(os.Getenv(nodeVariable), &id); err != nil {
		return err
	}
	p := &process{name: fmt.Sprint("node ", id, ".", os.Getenv(incarnationVariable)), in: bufio.NewScanner(os.Stdin)}
	config, err := tlsConfig(os.Getenv(tlsVariable))
	if err != nil {
		return err
	}
	transport, err := tcp.New("processes", "127.0.0.1:0", tcp.TLS(config))
	if err != nil {
		return err
	}
	p.say("address %s", transport.Addr())
	if !p.in.Scan() {
		return errors.Join(errors.New("no addresses came"), transport.Close())
	}
	peers := map[replica.NodeID]string{}
	for i, address := range strings.Fields(p.in.Text()) {
		peers[replica.NodeID(i+1)] = address
	}
	node, err := replica.StartNode(replica.NodeConfig{ID: id, Transport: transport, Peers: peers, Tick: tick, ElectionTicks: electionTicks})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	disk, err := vfs.OpenDisk(os.Getenv(dirVariable), 0o644)
	if err != nil {
		return err
	}
	defer disk.Close()
	faulty := vfs.NewFaulty(disk)
	opened, err := fixture.Open(faulty, os.Getenv(dirVariable), []runnel.Option{runnel.Replicated(node)})
	if err != nil {
		return err
	}
	b := opened.(*runnel.Broker)
	defer func() { err = errors.Join(err, b.Close()) }()
	if os.Getenv(recordsVariable) != "" {
		return p.pipeline(b, int(id))
	}
	err = b.CreateTopics(context.Background(), topic.Spec{Name: topicName, Partitions: partitions, Replicas: nodes})
	if err != nil && !errors.Is(err, fault.TopicExists) {
		return err
	}
	p.say("open")
	return p.work(b, id, faulty)
}

// work sends, one record after the other into each partition, until the parent says stop.
func (p *process) work(b *runnel.Broker, id replica.NodeID, disk *vfs.Faulty) error {
	sent, err := producer.New(b, producer.Partitioner(topic.ManualPartitioner))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var work sync.WaitGroup
	for partition := range int32(partitions) {
		work.Go(func() { p.send(ctx, sent, partition) })
	}
	work.Go(func() { p.share(ctx, b, id) })
	space := make(chan os.Signal, 10)
	signal.Notify(space, syscall.SIGUSR1, syscall.SIGUSR2)
	work.Go(func() {
		for s := range space {
			if s == syscall.SIGUSR1 {
				disk.SetFree(0)
			} else {
				disk.SetFree(-1)
			}
		}
	})
	for p.in.Scan() && p.in.Text() != "stop" {
		for partition, until := range strings.Fields(p.in.Text())[1:] {
			if err := p.read(ctx, b, int32(partition), until); err != nil {
				return err
			}
		}
		if err := p.sayOffsets(ctx, b); err != nil {
			return err
		}
		p.say("end")
	}
	signal.Stop(space)
	close(space)
	stop()
	work.Wait()
	return sent.CloseNow()
}

func (p *process) send(ctx context.Context, to *producer.Producer, partition int32) {
	for n := 0; ; n++ {
		at := time.Now()
		position, err := to.Send(ctx, record.Record{Topic: topicName, Partition: partition, Value: fmt.Append(nil, p.name, " ", n)})
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			p.say("failed %d %d %v", partition, n, err)
			return
		}
		p.say("acked %d %d %d %d", partition, n, position.Offset, at.UnixNano())
	}
}

// read says what this node's copy of a partition has, up to an offset.
func (p *process) read(ctx context.Context, b *runnel.Broker, partition int32, until string) error {
	last, err := strconv.ParseInt(until, 10, 64)
	if err != nil {
		return err
	}
	c, err := consumer.New(b, consumer.Assign(record.TopicPartition{Topic: topicName, Partition: partition}), consumer.FromStart())
	if err != nil {
		return err
	}
	for r, err := range c.Records(ctx) {
		if err != nil {
			return err
		}
		p.say("record %d %d %s", partition, r.Offset, r.Value)
		if r.Offset >= last {
			break
		}
	}
	return c.Close()
}
