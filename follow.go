package runnel

import (
	"errors"
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// reconcile makes topics of this process what the catalogue says: it deletes, creates,
// extends and reconfigures them. It is the one way from the catalogue to the topics,
// for the node that appended a command as for all others. Only the catalogue's writer
// may call it.
func (b *Broker) reconcile(names []string) error {
	if len(names) == 0 && b.followed.Load() == b.metadata.Next() {
		return nil
	}
	slices.Sort(names)
	var errs []error
	var grown []growth
	var configured []string
	for _, name := range slices.Compact(names) {
		now := b.metadata.Catalogue.Topic(name)
		t, held := b.host.Lookup(name)
		if held && (now == nil || now.ID != t.ID) {
			errs = append(errs, b.host.Delete(t))
			held = false
		}
		if now == nil {
			continue
		}
		from := 0
		if held {
			from = len(t.Placement())
		}
		if from < len(now.Partitions) {
			grown = append(grown, growth{name, from})
		}
		if held && t.Config() != now.Config {
			configured = append(configured, name)
		}
	}
	errs = append(errs, b.establish(grown)...)
	for _, name := range configured {
		b.publish(name)
		t, _ := b.host.Lookup(name)
		errs = append(errs, b.host.Reconfigure(t))
	}
	b.followed.Store(b.metadata.Next()) // before those who wait for it look again
	b.host.Announce()
	return errors.Join(errs...)
}

// growth is a topic with new partitions, from a number on.
type growth struct {
	name string
	from int
}

// establish publishes new partitions, and opens them. They are in the catalogue
// already, so a full disk or a lack of file handles must not be reported as an error
// after which to create them again.
func (b *Broker) establish(grown []growth) (errs []error) {
	topics := make([]*host.Topic, len(grown))
	for i, g := range grown {
		now := b.metadata.Catalogue.Topic(g.name)
		for n := g.from; n < len(now.Partitions); n++ {
			errs = append(errs, b.host.Clear(record.TopicPartition{Topic: g.name, Partition: int32(n)}, now.ID))
		}
		b.publish(g.name)
		topics[i], _ = b.host.Lookup(g.name)
	}
	errs = append(errs, b.host.OpenTopics(topics))
	for i, t := range topics {
		for n, p := range t.Partitions() {
			if err := p.Err(); err != nil && n >= grown[i].from {
				code := fault.Storage
				if errors.Is(err, fault.PermissionDenied) {
					code = fault.PermissionDenied
				}
				errs = append(errs, fault.At(code, t.Name, int32(n), -1).
					Detailf("the topic exists as requested, but its files do not: they are created when it is used").Because(err).ForGood())
			}
		}
	}
	return errs
}

// catchUp brings the catalogue and the topics up to what is committed, which another
// node may have appended. Only the catalogue's writer may call it. What becomes of the
// topics is no error of the command that comes next.
func (b *Broker) catchUp() error {
	if err := b.metadata.CatchUp(); err != nil {
		return err
	}
	if err := b.reconcile(b.metadata.TakeChanged()); err != nil {
		b.journal.Warn("a topic is not what the catalogue says", "error", err)
	}
	return nil
}

// openCatalogue returns how to open the catalogue's partition; nil for one copy.
func (b *Broker) openCatalogue() func(partition.Config) (partition.Opened, log.Recovery, error) {
	if b.replication == nil {
		return nil
	}
	return func(cfg partition.Config) (partition.Opened, log.Recovery, error) {
		cfg.Replica = true
		return b.replication.Open(topic.Placement{TopicPartition: layout.Catalogue, ID: catalogueID}, cfg)
	}
}

// catalogueID is the ID that Kafka gives __cluster_metadata.
var catalogueID = topic.ID{15: 1}

// follow catches up whenever a record of the catalogue is committed, until the broker
// closes or the catalogue can't be read any more.
func (b *Broker) follow() {
	wake := make(wakeup, 1)
	defer b.metadata.CancelAwait(wake)
	for {
		select {
		case b.writer <- struct{}{}:
		case <-b.host.Closing():
			return
		}
		err := b.catchUp()
		waits := err == nil && b.metadata.Await(wake)
		b.release()
		if err != nil {
			b.journal.Error("the catalogue can't be followed", "error", err)
			return
		}
		if !waits {
			continue // more came meanwhile
		}
		select {
		case <-wake:
		case <-b.host.Closing():
			return
		}
	}
}

// wakeup is a Waker that one goroutine waits for.
type wakeup chan struct{}

// Wake implements partition.Waker.
func (w wakeup) Wake() {
	select {
	case w <- struct{}{}:
	default:
	}
}

// leadershipChanged tells the coordinators that they have
// begun or ceased to lead a partition.
func (b *Broker) leadershipChanged(tp record.TopicPartition) {
	switch tp.Topic {
	case topic.ConsumerOffsets:
		b.groups.LeadershipChanged(tp.Partition)
	case topic.TransactionState:
		b.transactions.LeadershipChanged(tp.Partition)
	case topic.ShareGroupState:
		b.shareLeadershipChanged(tp.Partition)
	}
}
