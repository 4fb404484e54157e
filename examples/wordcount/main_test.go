package main

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExitStatus(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	require.Equal(t, 1, command(t.Context(), []string{missing}), "a mistake")
	require.Equal(t, 0, command(t.Context(), []string{"-h"}), "a question")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, 130, command(ctx, []string{"main.go"}), "interrupted")
}
