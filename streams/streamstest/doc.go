// Package streamstest runs a topology inside a test: without a broker, without
// a goroutine, with a clock that the test advances.
//
// A [Driver] runs the same tasks as an application. [Input] and [Output] are
// typed ends of its topics, and [Store] reads a store:
//
//	d := streamstest.New(t, wordCount)
//	streamstest.Input(d, lines).SendValue("all streams lead to Kafka")
//	counts := streamstest.Table(streamstest.Output(d, totals))
//
// Every topic has one partition, so the order of all results is determined.
// Send processes a record, through repartition topics too, and commits it
// before it returns. Stores hold nothing back: every update is emitted.
//
// A Driver belongs to its test's goroutine.
package streamstest
