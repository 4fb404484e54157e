// Package leak gives goroutines time to end before goleak looks for those that are left.
//
// goleak waits for less than half a second. A goroutine that has done its work, and that its
// owner has waited for, may need longer for its last instructions where many processes
// share few processors.
package leak

import (
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end.
const patience = time.Minute

// patient are tests that end when their goroutines have.
type patient struct{ goleak.TestingM }

// Run implements goleak.TestingM.
func (p patient) Run() int {
	code := p.TestingM.Run()
	if code == 0 {
		await()
	}
	return code
}

// Patient returns m's tests for goleak.VerifyTestMain.
func Patient(m goleak.TestingM) goleak.TestingM { return patient{m} }

// None is goleak.VerifyNone, later.
func None(t goleak.TestingT, options ...goleak.Option) {
	await(options...)
	goleak.VerifyNone(t, options...)
}

// await waits until no goroutine is left, each time for as long as goleak does.
func await(options ...goleak.Option) {
	for late := time.Now().Add(patience); goleak.Find(options...) != nil && time.Now().Before(late); {
	}
}
