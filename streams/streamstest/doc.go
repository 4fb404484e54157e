// Package streamstest runs a topology inside a test: without a broker, without
// a goroutine, under a clock that the test moves.
//
// A [Driver] runs the same tasks as an application. [Input] and [Output] are
// typed ends of its topics, [Store] looks into a store:
//
//	d := streamstest.New(t, wordCount)
//	streamstest.Input(d, lines).SendValue("all streams lead to Kafka")
//	counts := streamstest.Table(streamstest.Output(d, totals))
//
// Every topic has one partition, so the order of all results is determined. A
// record is processed, through repartition topics too, and committed before Send
// returns. Stores hold nothing back: every update comes out.
//
// A Driver belongs to its test's goroutine.
package streamstest
