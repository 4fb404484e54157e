// Package transporttest tests implementations of [replica.Transport]. A test calls [Run]
// with a function that opens a [Cluster] of the implementation:
//
//	func TestTransport(t *testing.T) {
//		transporttest.Run(t, func(t testing.TB) transporttest.Cluster { … })
//	}
//
// What it tests is what the comments on [replica.Transport], [replica.Handler],
// [replica.Stream] and [replica.Frame] promise. A transport that lives in one process
// and knows time only through package time runs it with [RunInBubble], in virtual time.
//
// A transport over a network runs it over [Loopback], where a test can cut what its nodes reach each other through.
// [RunHandshakes] tests which nodes meet over a network, and which do not.
package transporttest
