package runneltest

import "github.com/runnel-go/runnel/internal/vfs"

// Loss says what a crash loses of the data that was not synced.
type Loss int

// The kinds of loss.
const (
	// LoseAll loses everything that was not synced: the simplest power loss.
	LoseAll Loss = iota

	// LoseTail loses the end of what was not synced, in every file from a
	// different byte on.
	LoseTail

	// LoseSome loses any of the blocks that were not synced, and any of the
	// names of files that were created, renamed or removed since their
	// directory was synced: a power loss on a disk that reorders writes.
	LoseSome

	// LoseAny is one of the others, or something in between, as the seed
	// decides.
	LoseAny

	// LoseNothing is the end of the process only, as by kill -9: the operating
	// system still has what was written.
	LoseNothing
)

// Crash ends the broker as a power loss would, and returns the broker that
// opens on what remains on the disk. If several outcomes are possible, a seed
// chooses; a failing test prints it.
//
// The old broker is closed, and so are its producers and consumers: an
// unacknowledged send fails, and their later calls fail with fault.Closed.
// Faults end. A record of a durability below topic.Fsync may be lost even if it
// was acknowledged.
//
// Without an argument a crash is LoseAll. Crash must be called on the test's
// own goroutine.
func (b *Broker) Crash(loss ...Loss) *Broker {
	b.t.Helper()
	how := LoseAll
	for _, l := range loss {
		how = l
	}
	seed := b.seed + b.crashes
	var taken vfs.Loss
	switch how {
	case LoseAll:
		taken = vfs.Loss{Kept: vfs.KeepNone}
	case LoseTail:
		taken = vfs.Loss{Kept: vfs.KeepPrefix, Seed: seed}
	case LoseSome:
		taken = vfs.Loss{Kept: vfs.KeepSome, Seed: seed}
	case LoseAny:
		taken = vfs.RandomLoss(seed)
	case LoseNothing:
		taken = vfs.Loss{Kept: vfs.KeepAll}
	default:
		b.t.Fatalf("runneltest: Crash(%d): there is no such loss", how)
	}
	next := &Broker{t: b.t, log: b.log, opts: b.opts, disk: b.disk.Crash(taken), seed: b.seed, crashes: b.crashes + 1}
	b.crashed = true
	b.faults.Clear()
	b.log.mute.Store(true)
	_ = b.Close() // it has lost its disk and returns an error
	b.log.mute.Store(false)
	next.open()
	return next
}
