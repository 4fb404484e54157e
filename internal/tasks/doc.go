// Package tasks assigns the tasks of a streams application to the members of
// its consumer group.
//
// A task runs one sub-topology on one partition number: it reads that partition
// of each of the sub-topology's topics and owns that part of every store. An
// assignment of single partitions could split a task, so that two members would
// each run half of it on their own copy of its state. Therefore this package
// assigns whole tasks.
//
// The assignor's information about a member, [Metadata], travels as bytes in
// the group's subscription, like the userData of Kafka's
// ConsumerPartitionAssignor. The broker's coordinator and the kafka module's
// group balancer both call [Assign], which is a pure function. The order of
// moving tasks is left to them: a task may go to its new owner only as a whole,
// after its old owner has given up all of its partitions.
package tasks
