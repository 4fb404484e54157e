package replica

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
)

// GroupConfig configures a Node's replica of one partition.
type GroupConfig struct {
	Group GroupID
	Disk  DiskConfig // but the ID's node is the Node's

	// Members are those with which the group began. They count when the directory has
	// no replica yet; later changes of members are in the log.
	Members Membership

	// Asks says that a replica that has nothing on its disk, or less than it had, asks the
	// others whether it may begin as one of Members, and has to replace itself if not.
	// Otherwise nothing on its disk means that it is new.
	Asks bool

	// Preferred is the node that leads while it can; 0 is none. See NodeConfig.Rebalance.
	Preferred NodeID

	Settings partition.Settings

	// UncommittedBytes is how many bytes of batches may be proposed and not committed.
	// Beyond it appends fail with fault.BufferFull. Default 64 MiB.
	UncommittedBytes int

	// Changed is called when Status returns something else than before but for
	// offsets: another role, leader, epoch or membership. When it says Leading, the
	// partition takes appends. It runs on goroutines that many replicas share, so it must
	// not block. It may be nil.
	Changed func(Status)

	// LeadershipChanged is as partition.Config.LeadershipChanged.
	LeadershipChanged func()
}

// Replica is a node's copy of a partition, driven by its Node. Its Partition is what
// sessions read and, where it leads, append to.
type Replica struct {
	node    *Node
	stepper *stepper
	group   GroupID
	cfg     GroupConfig
	home    *Disk // only its writer's jobs use it
	disk    writer
	route   route
	healing healing

	part     atomic.Pointer[partition.Partition] // over home's log
	proposed atomic.Int64                        // bytes that were proposed and have no outcome

	published published
	demand    demand
	tenure    tenure
	activity  activity

	id atomic.Uint64 // its ID

	// The stepper's own.
	core       *Core     // nil once the replica is closed, and while it is a newcomer
	newcomer   *newcomer // nil once it has begun
	companions []ID      // the newcomers that asked while it was one

	closing sync.Once
	gone    chan struct{} // closed when nothing is written any more
	failure error         // of closing
}

// Add opens the node's replica of a group, and makes its directory if it has none.
// ErrLost means that it may have lost what it had acknowledged.
func (n *Node) Add(cfg GroupConfig) (*Replica, error) {
	r, _, err := n.add(cfg)
	return r, err
}

func (n *Node) add(cfg GroupConfig) (*Replica, log.Recovery, error) {
	var state DiskState
	if cfg.UncommittedBytes <= 0 {
		cfg.UncommittedBytes = 64 << 20
	}
	if cfg.Disk.ID.Node() != n.cfg.ID {
		return nil, state.Recovery, fault.At(fault.InvalidConfig, cfg.Disk.Log.Topic, cfg.Disk.Log.Partition, -1).
			Detailf("replica %v was to be opened by node %v", cfg.Disk.ID, n.cfg.ID)
	}
	cfg.Disk.Group, cfg.Disk.Keyed = cfg.Group, cfg.Settings.Keyed
	home, opened, err := openOrMend(n.ctx, n, cfg.Disk)
	if cfg.Asks && (errors.Is(err, ErrAbsent) || errors.Is(err, ErrLost)) {
		return n.addNewcomer(cfg, err)
	}
	if errors.Is(err, ErrAbsent) {
		if err = CreateDisk(cfg.Disk, cfg.Members); err == nil {
			home, opened, err = OpenDisk(cfg.Disk)
		}
	}
	state = opened
	if err != nil {
		return nil, state.Recovery, err
	}
	r := &Replica{node: n, group: cfg.Group, cfg: cfg, home: home, gone: make(chan struct{})}
	r.id.Store(uint64(cfg.Disk.ID))
	if r.core, err = r.newCore(state); err != nil {
		return nil, state.Recovery, errors.Join(err, home.Close())
	}
	r.published.status = r.core.Status()
	return r, state.Recovery, n.adopt(r)
}

// newCore returns the core of a replica whose disk was opened with this state.
func (r *Replica) newCore(state DiskState) (*Core, error) {
	c, err := New(Config{
		ID: r.ID(), Topic: r.cfg.Disk.Log.Topic, Partition: r.cfg.Disk.Log.Partition,
		ElectionTicks: r.node.cfg.ElectionTicks, UncommittedBytes: 2 * r.cfg.UncommittedBytes, // the partition refuses first
	}, state)
	if err == nil {
		c.SetMinimum(int(r.demand.minimum.Load())) // a newcomer's was set before it had a core
	}
	return c, err
}

// adopt makes the node drive a replica. After an error the replica is closed.
func (n *Node) adopt(r *Replica) error {
	r.disk.replica, r.route.way = r, r
	r.attach()
	r.part.Load().Commit(r.published.status.HighWatermark)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errors.Join(fault.Closed, r.part.Load().Close(), r.home.Close())
	}
	r.stepper = n.steppers[int(r.group.hash())%len(n.steppers)]
	if _, exists := n.replicas.LoadOrStore(r.group, r); exists {
		return errors.Join(fault.At(fault.InvalidRequest, r.cfg.Disk.Log.Topic, r.cfg.Disk.Log.Partition, -1).
			Detailf("node %v has a replica of group %v already", n.cfg.ID, r.group), r.part.Load().Close(), r.home.Close())
	}
	r.stepper.adopt(r)
	r.demands(r.cfg.Settings.MinReplicas)
	return nil
}

// ID names the replica. It is another one after the replica had to replace itself.
func (r *Replica) ID() ID { return ID(r.id.Load()) }

// hash spreads groups over steppers.
func (g GroupID) hash() uint32 {
	h := uint32(g.Partition)
	for _, b := range g.Topic {
		h = h*31 + uint32(b)
	}
	return h & 0x7fffffff
}

// attach puts a partition over the log of home.
func (r *Replica) attach() {
	settings := copySettings(r.cfg.Settings)
	if p := r.part.Load(); p != nil {
		settings = *p.Settings()
	}
	p := partition.Over(r.home.Log(), partition.Config{
		Log: r.cfg.Disk.Log, Settings: settings, SetStart: r.setStart, StartBatch: startBatch, LeadershipChanged: r.cfg.LeadershipChanged,
	})
	r.part.Store(p)
}

// setStart lets the log begin later, as the partition's writer. A follower that needs
// what is gone begins there, too.
func (r *Replica) setStart(offset int64) error {
	start, err := r.home.SetStart(offset)
	if start.Index > 0 { // with an error, too
		r.stepper.post(event{r, func(c *Core) { c.Rebase(start) }, 0})
	}
	return err
}

// Copy returns the replica's partition. It is another one after the replica fell
// behind the beginning of its group's log: then the old one answers fault.UnknownTopic,
// and its readers go on with the new one.
func (r *Replica) Copy() *partition.Partition { return r.part.Load() }

// GroupID names the group.
func (r *Replica) GroupID() GroupID { return r.group }

// Transfer hands the leadership to another voter, as soon as that has the whole log.
// It does not wait for it. fault.NotLeader where this replica does not lead.
func (r *Replica) Transfer(to ID) error {
	done := make(chan error, 1)
	r.stepper.post(event{r, func(c *Core) {
		r.wakes()
		done <- c.Transfer(to)
	}, 0})
	select {
	case err := <-done:
		return err
	case <-r.gone:
		return fault.Closed
	}
}

// doAsWriter does writes in the partition's turn.
func (d *writer) doAsWriter(writes []DiskWrite) (result DiskResult) {
	r := d.replica
	p, l := r.part.Load(), r.home.Log()
	err := p.Write(func() error {
		result = r.home.Do(writes)
		return nil
	})
	if err != nil {
		return DiskResult{Err: err}
	}
	if r.home.Log() != l {
		r.attach()
		p.Abandon()
	}
	return result
}

// load reads batches for a follower that is behind, in turn with the writes: a
// snapshot may put another log in the place of this one.
func (d *writer) load(l Load) {
	r := d.replica
	d.then(func() {
		result := r.home.Load(l)
		if result.Err != nil {
			r.node.run(func() { r.heal(result.Err) }) // the follower is tried again
		}
		r.stepper.post(event{r, func(c *Core) { c.Loaded(result) }, 0})
	})
}

// Close ends the replica, and hands its leadership over before if another node can take
// it: its appends fail, its readers find it closed, and its log is on disk. It waits for
// what the disk does at the moment.
func (r *Replica) Close() error {
	return r.shut(func() { r.node.resign(r) }, fault.Closed, fault.UnknownOutcome, func(p *partition.Partition) { r.failure = p.Close() })
}

// shut ends the replica, unless it has ended: begin is called before, and end ends its
// partition. Appends that were not sent fail with queued, the others with sent.
func (r *Replica) shut(begin func(), queued, sent fault.Code, end func(*partition.Partition)) error {
	r.closing.Do(func() {
		begin()
		gone := make(chan struct{})
		r.stepper.abandon(r, func() { close(gone) })
		<-gone
		r.disk.close()
		close(r.gone)
		r.node.replicas.Delete(r.group)
		place := func(code fault.Code) error {
			return fault.At(code, r.cfg.Disk.Log.Topic, r.cfg.Disk.Log.Partition, -1)
		}
		r.route.close(place(queued), place(sent))
		end(r.part.Load())
		r.failure = errors.Join(r.failure, r.home.Close())
	})
	return r.failure
}
