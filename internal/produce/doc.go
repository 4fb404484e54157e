// Package produce has the sessions of producers on a host: a session gathers records into
// batches, gives them sequences, and hands them to partitions in order.
//
// Sessions opens them. A Session has a lane into each partition that it sends to. A
// lane has one openBatch, which any number of goroutines fill at once, and a queue of
// batches that are sealed. A batch goes through these states (state.go), from one settled
// to the next:
//
//	          makeRoom        seal             last copier           sender
//	settled ------------> open ------> sealed ------------> ready ------------> handed
//	 |   ^                                                  ^   |                  |
//	 |   |    sendIdle, a large record, a whole batch       |   |                  |
//	 +---|--------------------------------------------------+   |                  |
//	     |                                      the lane fails  |  Appended,       |
//	     |                                      or closes       |  or it closes    |
//	     |       callbacks have returned          settler       v                  |
//	     +---------------------------- telling <-------------- done <--------------+
//
// A batch whose records are all copied when it is sealed is ready at once. If records are
// still being copied when the lane fails or closes, the batch becomes ready first, because
// its memory is in use.
//
// Two roles are passed between goroutines (package role). The sender hands ready batches to
// the partition, the settler delivers outcomes to callbacks and waiting Sends, both in the
// queue's order. A caller that brings work takes a free role itself if that doesn't make
// it wait; otherwise a goroutine does. An idle lane has no goroutine.
//
// The order of a lane's records is that of their sends. With idempotence nothing is
// written twice, and nothing is written behind a batch that failed until its failure
// was delivered: so a partition never has a hole (sequence.go).
//
// Locks: lane.mu guards a lane, its queue and the states of its batches. Methods that need
// it end in Locked, and so do those of a batch; a queue's all need it. Each function that
// locks also unlocks. Neither the partition nor a callback is called with it held. What
// senders do for each record needs no lock (openbatch.go).
package produce
