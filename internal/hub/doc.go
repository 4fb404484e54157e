// Package hub is what the transports over a network have in common: the peers that a node keeps
// connected, the lanes of frames that wait for each of them, the nodes from which frames arrive, and
// the limits on all of that. What a connection is, and how bytes travel on it, is the transport's.
//
// A transport makes a [Hub] with a function that connects to a peer and returns a [Link]. For
// each peer the hub has a goroutine, which connects, tells the handler, has the link send what is put
// into the lanes, and connects again after a pause, which grows from 10 ms to 1 s and is random by half.
//
// For a connection from another node, a transport asks for the node's [Source], which counts the
// connections and what the handler keeps of their frames.
//
// Locks are leaves, but that the hub's may be held while a source's is taken.
package hub
