package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// TestMain is a node of the example's cluster where the example starts this binary.
func TestMain(m *testing.M) {
	if isNode() {
		main()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// The example kills a process, and loses nothing.
func TestCluster(t *testing.T) {
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out), out.String())
	require.Contains(t, out.String(), "has all 1000 acknowledged records, each once")
}
