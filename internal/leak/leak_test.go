package leak_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/runnel-go/runnel/internal/leak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leak.Patient(m)) }

// A goroutine that takes longer than goleak waits, and then ends, is no leak: neither of a
// test nor, as the test leaves one, of the package.
func TestAGoroutineThatEndsLate(t *testing.T) {
	before, end := goleak.IgnoreCurrent(), make(chan struct{})
	go func() { <-end }()
	if goleak.Find(before) == nil {
		t.Fatal("goleak does not see it")
	}
	time.AfterFunc(time.Second, func() { close(end) })
	leak.None(t, before)
	go func() { <-time.After(time.Second) }()
}
