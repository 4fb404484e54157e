// Package memory connects the nodes of a cluster within one process, for tests: a
// [Network] with delays, losses and partitions on demand.
//
// A [Network] makes nodes, each of which is a [replica.Transport]. What happens on the
// way from one node to another follows the [Link] between them. Each link draws from
// a generator of its own, seeded by the network's seed and the two nodes: what
// happens to the n-th frame of a link does not depend on other links.
//
// A network runs whole in a testing/synctest bubble: it knows time only through
// package time and waits only on channels. Each started node has one goroutine, which
// makes all calls of its handler but HandleStream.
//
// # What differs from a real network
//
// A frame is copied when it is sent, so Release is called within Send. Loss, delay,
// duplication and reordering concern frames alone; the last two break promises of
// [replica.Transport] on purpose. A stream loses nothing until it breaks, which it does
// at once when either direction between its nodes is cut. There is no encryption, and
// no identity of a cluster: who has the Network is in it.
package memory
