// Package attach carries a backend over a socket: the process that holds a data
// directory serves its broker to the other processes of the same user, which
// use it as if they had opened it.
//
// [Listen] creates the socket, [Serve] starts a [Server] of a [Backend] on it,
// and [Dial] returns a [Client], which implements the interfaces of packages
// producer, consumer and topic and passes the suite in backendtest. Neither
// side knows a broker: the package belongs to the client tower.
//
// # Types
//
// Both sides of a connection have a link, which queues and writes frames. What reads
// them, and what the frames belong to, differs:
//
//	             client                        server
//	             Client                        Server
//	connection   conn                          visit
//	producer     sending, writer, lane         intake, target, gate
//	             parcel, news            ->    arrival
//	consumer     receiving                     outlet
//	share        working                       workshop
//	call         call, dialogue                handling
//
// # Connections
//
// A client has one connection for calls that belong to no session, and one more
// for each session, so a slow reader holds up only itself. When a connection
// ends, for whatever reason, the server closes its session: a member leaves its
// group, and records that were not acknowledged fail. A session cannot be
// resumed. Both sides have two goroutines for a connection, one that reads and
// one that writes. The server has one more that accepts connections, and one
// for each call in progress.
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
// A client's body has at most 128 MiB + 1 MiB, a server's 1 GiB + 1 MiB, and
// memory is allocated only as the bytes arrive. A peer that sends anything not
// described here is disconnected.
//
//	kind          from    ID       body
//	 0 hello      both    0        greeting, version, process, instance
//	 1 call       client  call     method, arguments
//	 2 cancel     client  call     -                      its ctx has ended
//	 3 told       client  call     -                      the event's callback has returned
//	 4 parcel     client  parcel   topic, partition, failure, records as one batch
//	 5 batch      client  parcel   topic, partition, failure, a batch to be kept whole
//	 6 answer     server  call     an error or none, results
//	 7 event      server  call     assigned, revoked or lost, partitions
//	 8 part       server  call     topic, partition, records as one batch; or bytes
//	 9 outcomes   server  0        numbers of partitions, outcomes of records
//	10 bye        server  0        why the server disconnects this client
//
// The hello comes first, from both sides, and keeps its form in all versions of
// the protocol. If the versions differ, nothing follows.
//
// Calls run concurrently, up to 256 on a connection, each with an ID that the
// client chooses, and are answered in any order. While many answers are unread,
// the server reads no more calls. Fields of arguments and results are those of
// package wire in its classic encoding, except that strings are written as
// bytes. Records travel in the batches of package record. Errors keep
// everything that package fault knows about them, and so do the two errors of
// package context. Other errors keep their text and what they wrap.
//
// # Limits
//
// A server limits what its clients make it keep, all of them together: 128 MiB
// of calls in progress and of records whose outcome is not known, and as much
// of frames beyond 256 KiB, which are received one at a time. At a limit it
// stops reading until there is room, in the order of asking, and sends
// lingering batches. A large frame that makes no progress while others wait
// ends its connection. There are 512 connections at most; a further client gets
// a bye.
//
// # Producing
//
// Producing needs no call. Records gather in parcels while the connection is
// busy. The server passes them, in order, to a session of the broker's, which
// makes the batches. Outcomes come back as they become known, by parcel and
// number within it. A sender waits while BufferBytes are not acknowledged, and
// the server reads no more parcels while outcomes are not read.
//
// A partition must have no holes: a record sent behind one that could not be
// written, before its sender knew that, must not be written either. So failures
// of an idempotent producer are numbered in each partition, and a parcel
// carries the number of the last failure that its sender knew of. The server
// refuses a parcel with an older number. Records that a program sends while
// callbacks report a failure to it wait until all of them have run. Callbacks
// run on a goroutine of the session's, not on the one that reads.
//
// A transaction is the server's session's: to begin and to end one are calls. They wait for
// the server even if their context ends, so that both sides know the same of the
// transaction. A record that fails on the client's side fails the transaction there. When a
// connection ends, its open transaction stays open until its timeout, or until the next
// producer with its transactional ID.
//
// # Consuming
//
// Consuming is one call for each Fetch, whose records come before the answer,
// in parts. If the group assigns or revokes partitions during the call, the
// server sends an event, and the client's Fetch calls the program. The server
// waits until the client reports that the callback has returned, and serves
// other calls in the meantime.
//
// # Share groups
//
// A share consumer's session is the server's, too: to acquire and to settle records are calls.
// Acquired records come in the answer. When the connection ends, the session is closed, and what
// it had locked is available to others.
//
// # What is not safe
//
// A Client's producer learns of new partitions, and of a topic's deletion, only
// with the outcome of the next record that it sends. Nothing is encrypted: the
// socket's mode admits only its user, and root.
package attach
