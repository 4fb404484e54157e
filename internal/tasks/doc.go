// Package tasks assigns the tasks of a streams application to the members of its
// consumer group.
//
// A task is one sub-topology at work on one partition number: it reads that
// partition of each of the sub-topology's topics and owns that part of every
// store. Sharing out partitions one by one could part what belongs together, so
// that two members would each run half of one task on their own copy of its
// state. Here the task is what is shared out.
//
// What the assignor has to know of a member travels as bytes in the group's
// subscription, as the userData of Kafka's ConsumerPartitionAssignor do:
// [Metadata]. The broker's coordinator and the kafka module's group balancer
// both call [Assign], which is a pure function. What neither of them leaves to
// it is the order of moving: whoever carries an assignment out hands a task on
// only as a whole, once its old owner has given up all of its partitions.
package tasks
