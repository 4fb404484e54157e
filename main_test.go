package runnel_test

import (
	"fmt"
	"io"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/internal/leak"
)

// holdVariable names a directory that the test binary, run again by a test, is
// to hold until its standard input ends.
const holdVariable = "RUNNEL_TEST_HOLD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdVariable); dir != "" {
		hold(dir)
		return
	}
	if dir := os.Getenv(killVariable); dir != "" {
		fmt.Println("error:", sendUntilKilled(dir, os.Getenv(killRound)))
		os.Exit(1)
	}
	goleak.VerifyTestMain(leak.Patient(m))
}

// hold opens a directory, says so, and waits.
func hold(dir string) {
	b, err := runnel.Open(dir)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("holding")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := b.Close(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
