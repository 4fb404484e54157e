// Package backendtest is the conformance suite of backends: whatever claims to
// be a [producer.Backend], [consumer.Backend], [topic.Admin] and
// [consumer.Admin] passes [Run], so that a program may move from one to another
// by changing one line.
//
// A test of a backend is one call:
//
//	func TestBackend(t *testing.T) {
//		backendtest.Run(t, open, backendtest.Features{AtomicTopics: true})
//	}
//
// [Features] declares the few points in which backends may differ. Everything
// else is demanded of all of them in the same way.
//
// The suite works at the level of sessions, below package producer's and
// consumer's own choices of partition and of when to commit, which are the same
// on every backend; a few programs use those packages on top. Every test uses topics and groups of its own, so one backend
// may serve the whole suite. Nothing in it sleeps: a test waits for what it
// demands, within a deadline.
package backendtest
