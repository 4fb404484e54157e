package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPrintsWhatHappened(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), nil, &out))
	commands, rest, _ := strings.Cut(out.String(), "\n\n")
	require.Equal(t, strings.TrimPrefix(`
  0 open household                    household was opened
  1 open holidays                     holidays was opened
  2 open bakery                       bakery was opened
  3 deposit household 2450.00         2450.00 went to household
  4 transfer household holidays 300   300.00 went from household to holidays
  5 transfer household bakery 12.80   12.80 went from household to bakery
    withdraw holidays 500             refused: holidays has 300.00, which is less than 500.00
  6 deposit holidays 219.99           219.99 went to holidays
  7 withdraw holidays 500             500.00 went out of holidays
    transfer household baker 4.20     refused: there is no account baker
  8 transfer household bakery 4.20    4.20 went from household to bakery
  9 withdraw household 61.05          61.05 went out of household
    open bakery                       refused: bakery is open already`, "\n"), commands)
	balances, history, _ := strings.Cut(rest, "\n\n")
	require.Equal(t, strings.TrimPrefix(`
    balance      now  before event 5
     bakery    17.00            0.00
   holidays    19.99          300.00
  household  2071.95         2150.00`, "\n"), balances)
	require.Contains(t, history, "The history of household\n  0  ")
	require.Equal(t, 7, strings.Count(history, "\n"), "its heading, and the six events that concern it")
}

func TestGoesOnInTheSameDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	file := filepath.Join(t.TempDir(), "commands")
	require.NoError(t, os.WriteFile(file, []byte("# a comment\n\nopen a\ndeposit a 5\n"), 0o644))
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"--at", dir, file}, &out))
	require.NotContains(t, out.String(), "already.")

	require.NoError(t, os.WriteFile(file, []byte("deposit a 7"), 0o644))
	out.Reset()
	require.NoError(t, run(t.Context(), []string{"--at", dir, file}, &out))
	require.Contains(t, out.String(), "2 events are there already.")
	require.Contains(t, out.String(), "12.00")
}

func TestBadInput(t *testing.T) {
	file := filepath.Join(t.TempDir(), "commands")
	require.NoError(t, os.WriteFile(file, []byte("open a\nclose a\n"), 0o644))
	require.ErrorContains(t, run(t.Context(), []string{file}, new(bytes.Buffer)), "line 2: the commands are")
	require.Error(t, run(t.Context(), []string{"no such file"}, new(bytes.Buffer)))
	require.Error(t, run(t.Context(), []string{"--colour"}, new(bytes.Buffer)))
}
