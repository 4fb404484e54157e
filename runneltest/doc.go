// Package runneltest gives a test a broker of its own, which can crash.
//
// [New] opens a broker on a file system in memory, without files, ports or
// waiting, and closes it when the test ends. It is the same code as a broker on
// disk and acknowledges in the same way, so a test that passes here is valid
// there. Inside a testing/synctest bubble, time is the bubble's.
//
//	func TestOrders(t *testing.T) {
//		broker := runneltest.New(t)
//		…
//	}
//
// [Broker.Crash] ends the broker as a power loss would, and returns the broker
// that opens on what remains on the disk: everything that was synced, and of
// the rest what a [Loss] says. [Broker.Inject] makes operations of the disk
// fail, be late, or return wrong data, and [Broker.LimitSpace] fills the disk.
// Whatever is random is drawn from a seed: by default the test's name,
// otherwise RUNNEL_SEED.
//
// At the test's end, New's broker checks for mistakes of programs that would
// show much later in production: producers and consumers that were not closed,
// and writes into the bytes of records, which are read-only. Either fails the
// test.
//
// Any number of goroutines may use a Broker. New and Crash must be called on
// the test's own goroutine.
package runneltest
