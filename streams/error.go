package streams

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/runnel-go/runnel/record"
)

// ProcessingError says that a record could not be processed: its bytes are not
// what the serde expects, its result could not be written, or a function of the
// topology panicked.
type ProcessingError struct {
	Node  string // the operator's name
	Task  TaskID // the task that processed it; Partition is -1 if a topic refused a result
	Phase Phase

	// At is the position of the record being processed. While results are being
	// committed, Offset is -1 and At names the topic of the record in Raw.
	At record.Position

	// Raw is the record as it was read, or what a dead letter contains instead
	// (see DeadLetter).
	Raw record.Record

	Err error // what happened

	hinted bool // the message suggests setting a handler
}

// Error names the node, the record, what happened, and what can be done about it.
func (e *ProcessingError) Error() string {
	var b strings.Builder
	b.WriteString(e.Node)
	if e.Task.Partition >= 0 {
		fmt.Fprintf(&b, " in task %s", e.Task)
	}
	switch {
	case e.At.Offset >= 0:
		fmt.Fprintf(&b, ", at %s", e.At)
	case e.At.Topic != "":
		fmt.Fprintf(&b, ", for %s", e.At.TopicPartition())
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	if e.hinted {
		option := map[Phase]string{
			Processing: "OnProcessingError", Deserialization: "OnDeserializationError", Production: "OnProductionError",
		}[e.Phase]
		fmt.Fprintf(&b, " (the application stops here at every start; to continue without such records, give streams.New an %s(Skip()) or (DeadLetter(topic)))", option)
	}
	return b.String()
}

// Unwrap returns what happened.
func (e *ProcessingError) Unwrap() error { return e.Err }

// PanicError is a panic in a function of the topology.
type PanicError struct {
	Value any    // what panic was called with
	Stack []byte // of the goroutine, from the panic on
}

// Error returns the value that panic was called with, as text.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// panicked returns the error of a recovered panic.
func panicked(p any) error { return &PanicError{Value: p, Stack: debug.Stack()} }

// errExited is the error of a function that did not return because it called
// runtime.Goexit.
var errExited = errors.New("a function called runtime.Goexit, as t.FailNow of package testing does; " +
	"to have one record handled as an error, panic instead")
