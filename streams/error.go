package streams

import (
	"fmt"

	"github.com/runnel-go/runnel/record"
)

// ProcessingError says that a record could not be processed: its bytes are not
// what the serde expects, its result could not be written, or a function of the
// topology panicked.
type ProcessingError struct {
	Node string          // the operator's name
	Task TaskID          // the task that it worked in
	At   record.Position // the record being processed; Offset is -1 when results were being committed
	Err  error           // what happened
}

// Error names the node, the record and what happened.
func (e *ProcessingError) Error() string {
	if e.At.Offset < 0 {
		return fmt.Sprintf("%s in task %s: %v", e.Node, e.Task, e.Err)
	}
	return fmt.Sprintf("%s in task %s, at %s: %v", e.Node, e.Task, e.At, e.Err)
}

// Unwrap returns what happened.
func (e *ProcessingError) Unwrap() error { return e.Err }

// PanicError is a panic in a function of the topology.
type PanicError struct {
	Value any    // what panic was called with
	Stack []byte // of the goroutine, from the panic on
}

// Error says what panic was called with.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
