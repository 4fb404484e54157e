package runneltest

import "github.com/runnel-go/runnel/internal/vfs"

// Loss says what a crash takes of what was not synced.
type Loss int

// What a crash takes.
const (
	// LoseAll takes everything that was not synced: power loss at its plainest.
	LoseAll Loss = iota

	// LoseTail takes the end of what was not synced, of every file from another
	// byte on.
	LoseTail

	// LoseSome takes any of the blocks that were not synced, and any of the names
	// of files that were made, renamed or removed since their directory was
	// synced: power loss on a disk that writes in the order it likes.
	LoseSome

	// LoseAny is one of the others, or something in between, as the seed says.
	LoseAny

	// LoseNothing is the end of the process alone, as by kill -9: the operating
	// system still has what was written.
	LoseNothing
)

// Crash ends the broker as a power loss would, and returns the one that opens
// afterwards on what the disk has left. Where several things are possible, a
// seed says which; a test that fails prints it.
//
// The old broker is closed and so are its producers and consumers: a send that
// was not acknowledged fails, and what they do later fails with fault.Closed.
// Faults are gone with it. A record of a durability less than topic.Fsync may be
// lost even though it was acknowledged.
//
// Without an argument a crash is LoseAll. It is called from the test's own
// goroutine.
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
	_ = b.Close() // it has lost its disk, and says so
	b.log.mute.Store(false)
	next.open()
	return next
}
