// Package replicatest runs a cluster of brokers inside a test.
//
// [Cluster] starts brokers on nodes of their own, which reach each other through a network
// in memory and keep their files on disks in memory that can crash. A test breaks the
// network ([Brokers.Partition], [Brokers.Cut], [Brokers.Heal]), takes power from nodes and
// gives it back ([Brokers.Crash], [Brokers.Restart]), lets nodes stand still
// ([Brokers.Pause]), makes disks slow or takes them away ([Brokers.SlowDisk],
// [Brokers.LoseDisk]), and moves leaders ([Brokers.MoveLeader], [Brokers.MoveLeaders]).
//
// It is apart from package runneltest, so that the tests of a program without replicas
// link no raft.
//
// # Time
//
// In a testing/synctest bubble all of it takes no time: elections, timeouts and delays
// pass in virtual time.
//
// # What fails the test
//
// A broker that does not open, and one that does not close at the end. A failing test
// says from which seed the network and the crashes drew; the same again with the
// environment variable RUNNEL_SEED.
//
// # What is not safe
//
// The methods belong to the test's goroutine. What the brokers do is safe for concurrent
// use as always.
package replicatest
