// Package attach carries a backend over a socket: whoever holds a data directory
// serves its broker to the other processes of the same user, which use it as if
// they had opened it.
//
// [Listen] makes the socket, [Serve] starts a [Server] of a [Backend] on it, and
// [Dial] returns a [Client], which implements the interfaces of packages
// producer, consumer and topic and passes the suite in backendtest. Neither side
// knows a broker: the package belongs to the client tower.
//
// # Connections
//
// A client has a connection for what belongs to no session, and one more for
// each session, so a slow reader holds up nobody but itself. When a connection
// ends, however it ends, the server closes its session: a member leaves its
// group, and records that were not acknowledged fail. A session cannot be taken
// up again. Both sides keep two goroutines for a connection, one that reads and
// one that writes; the server has one more that waits for clients, and one for
// each call at hand.
//
// # Bytes
//
// Each direction is a sequence of frames. Numbers are big-endian.
//
//	+--------+------+----+------------------+
//	| length | kind | ID | body             |
//	| 4      | 1    | 4  | length - 5 bytes |
//	+--------+------+----+------------------+
//
// A client's body has at most 128 MiB + 1 MiB, a server's 1 GiB + 1 MiB, and memory
// is taken only as its bytes come.
// Whoever sends anything that is not described here is cut off.
//
//	kind          from    ID       body
//	 0 hello      both    0        greeting, version, process, instance
//	 1 call       client  call     method, arguments
//	 2 cancel     client  call     -                      its ctx has ended
//	 3 told       client  call     -                      the event was taken note of
//	 4 parcel     client  parcel   topic, partition, failure, records as one batch
//	 5 batch      client  parcel   topic, partition, failure, a batch to be kept whole
//	 6 answer     server  call     an error or none, results
//	 7 event      server  call     assigned, revoked or lost, partitions
//	 8 part       server  call     topic, partition, records as one batch; or bytes
//	 9 outcomes   server  0        numbers of partitions, outcomes of records
//	10 bye        server  0        why the server hears this client no longer
//
// The hello comes first, from both sides, and keeps its form in all versions of
// the protocol; if the versions differ that is all there is. Calls run at once,
// up to 256 on a connection, each with an ID of the client's choice, and are
// answered in any order; the server reads no more of them while many answers are
// not read. Fields of arguments and results are those of package
// wire in its classic spelling, but for strings, which are written as bytes;
// records travel in the batches of package record. Errors keep what package
// fault knows of them, and the two errors of package context; others keep their
// text and what they wrap.
//
// A server keeps only so much of what its clients send, all of them together: 128
// MiB of calls at hand and of records whose outcome is not known, and as much of
// frames beyond 256 KiB, which come one at a time. Beyond that it reads no more until
// there is room, in the order of asking; what lingers is sent then. A large frame
// that does not go on while others wait ends its connection. There are 512
// connections at most; the next one is told so.
//
// Producing needs no call. Records gather in parcels while the connection is
// busy, and the server gives them, in order, to a session of the broker's, which
// makes the batches; outcomes come back as they are known, by parcel and number
// within it. Who sends waits while BufferBytes are not acknowledged, and the
// server reads no more parcels while outcomes are not read. Failures of an
// idempotent producer are numbered in each partition, and a parcel bears the
// number of the last one that its sender was told of: what was sent behind a
// record that could not be written, and before that was known, is refused when
// it comes. What a program sends while it is being told waits until it has been
// told everything. Callbacks run on a goroutine of the session's, not on the one
// that reads.
//
// Consuming is one call for each Fetch, whose records come before the answer, in
// parts. What the group assigns and revokes meanwhile comes as an event, which
// the client's own Fetch hands to the program: the server waits until it is told
// that this is over, and other calls are served.
//
// # What is not safe
//
// A Client's producer learns of new partitions, and of a topic's deletion, with
// the outcome of the next record that it sends. Nothing is encrypted: the socket's
// mode lets only its user in, and root.
package attach
