// Package backendtest is the conformance suite of backends. Every
// [producer.Backend], [consumer.Backend], [topic.Admin], [consumer.Admin] and [producer.Admin]
// must pass [Run], so that a program can move from one to another by changing
// one line.
//
// A test of a backend is one call:
//
//	func TestBackend(t *testing.T) {
//		backendtest.Run(t, open, backendtest.Features{AtomicTopics: true})
//	}
//
// [Features] declares the few points in which backends may differ. Everything
// else is required of all of them in the same way.
//
// The suite tests sessions, below package producer's and consumer's own choices
// of partition and of when to commit, which are the same on every backend; a
// few tests use those packages on top. Every test uses topics and groups of its
// own, so one backend may serve the whole suite. Nothing in it sleeps: a test
// waits for what it requires, within a deadline.
package backendtest
