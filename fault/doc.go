// Package fault holds every error that a caller of this module can act on, in
// one table.
//
// A [Code] is a kind of error: Kafka's number, its name, whether the call may
// be repeated, and one sentence. An [Error] is a code with the topic, partition
// and offset it happened at. A [Corruption] names the file and the position of
// damaged bytes. All of them answer errors.Is with a Code:
//
//	if errors.Is(err, fault.UnknownTopic) { … }
//	if fault.Retriable(err) { … }
//
// The numbers are Kafka's, so a backend for a Kafka cluster maps its errors one
// to one. Numbers from 10000 on are Runnel's own.
//
// Everything here is immutable once built and safe for concurrent use.
package fault
