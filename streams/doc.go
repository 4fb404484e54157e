// Package streams processes topics with a topology of operators, in the manner of
// Kafka Streams.
//
// A function declares the topology: [Stream] opens a topic as a [KStream];
// operators that keep its types are methods (Filter, Peek, Merge, Split,
// GroupByKey), those that change one are functions ([Map], [FlatMapValues],
// [GroupBy]). [Count], [Reduce] and [Aggregate] turn a grouped stream into a
// [KTable], whose ToStream and To lead to a topic again.
//
// [Table] and ToTable read a topic or a stream as a table at once: of each key the
// last record counts. Tables have operators of their own: Filter, [MapTable]
// and [GroupTable], after which Count, Reduce and [AggregateTable] follow every
// change of a row, by subtracting the old one and adding the new one. [JoinTable]
// and [LeftJoinTable] join a stream with a table's rows; [JoinTables],
// [LeftJoinTables] and [OuterJoinTables] join two tables by key, [JoinTablesBy]
// and [LeftJoinTablesBy] by a reference from one to the other; [JoinGlobal]
// joins a stream with a [GlobalTable], of which every instance has all rows. A
// function on a table says so where one on a stream has Kafka's name; as methods
// both have Kafka's.
//
// WindowedBy puts the records of a grouped stream into windows of time ([Tumbling],
// [Hopping], [Unlimited]), which are the keys of the table then.
//
// [Process] and [ProcessValues] put a function of the program's own between
// operators: with state for each task, calls at intervals ([TaskContext.Schedule]),
// and a free choice of what it forwards.
//
// With Go 1.27, which has generic methods, each of these functions is a method
// too, and a topology is one chain:
//
//	streams.Stream(t, lines).
//		FlatMapValues(func(line string) []string { return strings.Fields(strings.ToLower(line)) }).
//		GroupBy(func(_, word string) string { return word }).
//		Count("counts").
//		ToStream().
//		To(totals)
//
// Both forms build the same topology. The toolchain decides, not the go line of
// go.mod. Older versions of Go leave the methods out.
//
// [New] checks the topology for a [Backend] and an application's name; [App.Run]
// runs it until its context ends. [NewSimulation], and package streamstest above
// it, run the same tasks without a backend.
//
// # How it runs
//
// The topology is cut where the key changed before records are gathered by key:
// there lies a repartition topic, <application>-<name>-repartition, and on each
// side a sub-topology. A sub-topology has a task for each partition of the topics
// that it reads; tasks are spread over threads, and over processes, by the
// consumer group that bears the application's name. When an instance comes or
// goes, as few tasks move as possible, and one moves only when its old owner has
// committed and let it go: a task never has two owners. Within a task operators
// hand typed values to each other by calls.
//
// A task that reads several topics takes the record with the smallest timestamp
// next, of equal ones that of the topic declared first; within a topic it keeps
// the order of the offsets. It waits for records that its topics hold and that are
// not fetched yet, so that replaying topics gives the order in which they were
// processed while they were written. [TaskIdle] makes it wait for more.
//
// Every store is backed by a compacted topic, <application>-<store>-changelog,
// and is restored from it when its task starts.
//
// Topics that are read may get partitions while an application runs, which goes
// on: repartition topics keep their number. Where a store is fed by a topic that
// grows, without a repartition topic between, keys are in other partitions than
// what is known of them: Run returns fault.InvalidPartitions and says what to do.
//
// # States
//
// An [App] is in one of Kafka's states:
//
//	Created --Run--> Rebalancing <-----> Running
//	                      |                 |
//	                      +--------+--------+
//	                               | Run's context ended
//	                               v
//	                        PendingShutdown
//	                               | last commit
//	                               v
//	                           NotRunning
//
// An error leads from each of them to Failed. Run may be called again in NotRunning
// and Failed. Rebalancing lasts while no thread has got tasks yet, or a thread
// restores stores.
//
// A thread takes each task that the group assigns to it through these steps:
//
//	assigned --stores restored--> processing --revoked: commit--> released
//	                                  |                               ^
//	                                  +---lost: no commit-------------+
//
// A revoked task is committed before it is released, so its next owner continues
// behind it. A lost one may have another owner already: what it held back is
// dropped, and that owner processes again what was not committed.
//
// # What is guaranteed
//
// Processing is at least once. A commit writes the stores' changes to their
// changelogs and sends them on, waits until everything written is acknowledged,
// and then commits the offsets of what was processed. An application that is
// stopped by its context commits before Run returns: nothing is lost and nothing
// is doubled. After a crash, what was processed since the last commit is
// processed again.
//
// A record that cannot be processed ends the application, and does so again at
// every start, unless a [Handler] says to go on without it: [OnError] skips it, or
// writes it to a dead-letter topic, whose records are acknowledged before the
// offsets of what they came from are committed. Operators' functions return no
// errors: one that cannot go on panics, which is an error of the one record, named
// with node, topic, partition and offset. A [Processor] returns its error.
//
// Event time is the records' own timestamp, or what [EventTime] takes from them. A
// record that an operator makes has the timestamp and the headers of the one it
// came from; a result of an aggregation has the largest timestamp of its records.
// A task's stream time is the largest timestamp that it has read; it is committed
// with the offsets, so it never goes back.
//
// # What is not safe
//
// A Topology belongs to the goroutine that declares it. Functions given to
// operators run in several tasks at once. An App's methods may be called from
// any goroutine.
package streams
