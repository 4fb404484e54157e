// Package runneltest gives a test a broker of its own.
//
// [New] opens a broker in memory, without files, ports or waiting, and closes it
// when the test ends. It is the same code as a broker on disk, so what passes
// here holds there. Inside a testing/synctest bubble time is the test's own.
//
//	func TestOrders(t *testing.T) {
//		broker := runneltest.New(t)
//		…
//	}
//
// At the end it looks for what programs do wrong with a broker and a production
// run shows much later: producers and consumers that nobody closed, and records
// whose bytes, which are read-only, were written to. Either fails the test.
//
// A Broker may be used by any number of goroutines. New is called from the
// test's own.
package runneltest
