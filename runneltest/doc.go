// Package runneltest gives a test a broker of its own, which can crash.
//
// [New] opens a broker on a file system in memory, without files, ports or
// waiting, and closes it when the test ends. It is the same code as a broker on
// disk, and acknowledges as that does, so what passes here holds there. Inside a
// testing/synctest bubble time is the test's own.
//
//	func TestOrders(t *testing.T) {
//		broker := runneltest.New(t)
//		…
//	}
//
// [Broker.Crash] ends the broker as a power loss would, and returns the one that
// opens on what the disk has left: all that was synced, and of the rest what a
// [Loss] says. [Broker.Inject] makes operations of the disk fail, late or wrong
// by rule, and [Broker.LimitSpace] fills it. Whatever is left to chance is drawn
// from a seed: by default the test's name, otherwise RUNNEL_SEED.
//
// At the end New's broker looks for what programs do wrong with it and a
// production run shows much later: producers and consumers that nobody closed,
// and records whose bytes, which are read-only, were written to. Either fails
// the test.
//
// A Broker may be used by any number of goroutines; New and Crash are called
// from the test's own.
package runneltest
