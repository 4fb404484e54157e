// Package produce is what a producer's session does on a host: it gathers records into
// batches, gives them their sequence, and hands them to partitions in order.
//
// Sessions opens them. A Session has a lane into each partition that it sends to. A
// lane has one openBatch, which any number of goroutines fill at once, and a queue of
// batches that are sealed. A batch goes through these states:
//
//	        seal            last copier          sender             outcome
//	open ---------> copied ------------> ready ----------> handed -----------> done
//	                  |                    |                                     |
//	                  +--------------------+--- the lane fails or closes ------->|
//	                                                                   settler   v
//	                                                                          settled
//
// Two roles are passed as tokens: the sender hands ready batches to the partition, the
// settler tells outcomes; both in the queue's order. With the lane idle there is no
// goroutine.
//
// The order of a lane's records is that of their sends. With idempotence nothing is
// written twice, and nothing is written behind a batch that failed until its failure
// was told: so a partition never has a hole (sequence.go).
package produce
