// Package kafka is the backend on a Kafka or Redpanda cluster, over franz-go:
// producers, consumers, groups, topics and streams run on a [Cluster] as they
// run on a broker in the process.
//
//	cluster, err := kafka.Connect("broker-1:9092,broker-2:9092")
//	if err != nil { … }
//	defer cluster.Close()
//	p, err := producer.New(cluster)
//
// [Connect] returns a [Cluster], which is a producer.Backend, a
// consumer.Backend, a topic.Admin and a consumer.Admin. Every session has
// connections of its own; closing the Cluster closes the sessions.
//
// It passes the suite in package backendtest, so a program may rely on what the
// interfaces promise. Some things differ on a cluster:
//
//   - Topics are created one by one, not all or none.
//   - topic.Config.Durability is not sent: a cluster's durability is its own.
//     The durable offset of a partition is unknown, -1.
//   - The server assigns partitions to a group's members (KIP-848) if the
//     cluster supports that. Otherwise, or with [ClassicGroups], a member does,
//     with the classic protocol. "roundrobin" and "sticky" are always classic.
//   - A change of a topic made elsewhere is noticed within [MetadataMaxAge].
//   - A batch that is appended whole is sent again record by record.
//   - A commit whose outcome is unknown may be made again while it is on its
//     way. If the client gives it up, the outcome stays unknown, and the
//     transaction is to be aborted, which has no effect if it is committed.
//   - Offsets that are sent in a transaction take a request more than Kafka's
//     own clients make, and a connection of the session's own.
//   - A producer of transactions is fenced by the timeout of one of them, if
//     the cluster's transaction.version is 2.
//
// Errors that a cluster answers with have Kafka's numbers, like those of
// package fault, so errors.Is(err, fault.UnknownTopic) works here too. An error
// with a number that package fault does not name keeps the number and Kafka's
// text.
//
// All methods of Cluster are safe for concurrent use. OnAssigned, OnRevoked and
// OnLost are called on the goroutine that fetches, as on every backend. They
// must not close their own session.
package kafka
