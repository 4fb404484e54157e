package replica_test

import (
	"fmt"
	"time"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/replica"
)

// A group of one replica elects itself and commits what is proposed. A program does
// what an Output asks for; here, that is one disk's work.
func Example() {
	cfg := replica.DiskConfig{
		Log: log.Config{FS: vfs.NewMemory(), Dir: "/data/orders-0", Topic: "orders"},
		ID:  replica.NewID(1, 0),
	}
	if err := replica.CreateDisk(cfg, replica.Membership{Voters: []replica.ID{cfg.ID}}); err != nil {
		fmt.Println(err)
		return
	}
	disk, state, err := replica.OpenDisk(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	core, err := replica.New(replica.Config{ID: cfg.ID, Topic: "orders"}, state)
	if err != nil {
		fmt.Println(err)
		return
	}
	work := func() {
		for out := (replica.Output{}); ; out.Reset() {
			core.Advance(&out)
			for _, r := range out.Replies {
				r.Done(r.Result)
			}
			if len(out.Writes) == 0 {
				return
			}
			core.DiskDone(disk.Do(out.Writes))
		}
	}

	for core.Status().Role != replica.Leader {
		core.Tick(time.UnixMilli(0))
		work()
	}
	core.Propose(batchOf(1, 2), replica.AcksAll, func(r replica.Result) { fmt.Println("committed at offset", r.Offset, r.Err) })
	work()
	s := core.Status()
	fmt.Println(s.Role, "of epoch", s.Epoch, "with high watermark", s.HighWatermark)
	fmt.Println(disk.Close())
	// Output:
	// committed at offset 1 <nil>
	// leader of epoch 1 with high watermark 3
	// <nil>
}

// The second life of a replica on node 3 has another ID than the first.
func ExampleNewID() {
	fmt.Println(replica.NewID(3, 0), replica.NewID(3, 1))
	// Output: 3 3.1
}

// A directory without a replica is told from one that lost something.
func ExampleOpenDisk() {
	_, _, err := replica.OpenDisk(replica.DiskConfig{
		Log: log.Config{FS: vfs.NewMemory(), Dir: "/data/orders-0", Topic: "orders"}, ID: replica.NewID(1, 0),
	})
	fmt.Println(err)
	// Output: orders-0: the partition's storage has failed: /data/orders-0: there is no replica
}
