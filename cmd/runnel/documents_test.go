package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// session is what a document shows of a terminal: commands, each with what it prints.
type session []struct{ command, output string }

var consoles = regexp.MustCompile("(?ms)^```console\n(.*?)^```$")

// sessionIn collects the commands in a document's console blocks, in order.
func sessionIn(document string) (s session) {
	for _, block := range consoles.FindAllStringSubmatch(document, -1) {
		for line := range strings.Lines(block[1]) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				s = append(s, struct{ command, output string }{command: strings.TrimSpace(command)})
			} else {
				s[len(s)-1].output += line
			}
		}
	}
	return s
}

// onTerminal makes the last command of a pipeline print what it prints on a terminal.
func onTerminal(command string) string {
	last := command[strings.LastIndex(command, "|")+1:]
	if strings.HasPrefix(strings.TrimSpace(last), "runnel ") && !strings.Contains(last, ">") {
		return command + " --table"
	}
	return command
}

// settled hides what differs from run to run, and what a reader does not see.
func settled(output string) string {
	output = replaceAll(output, `[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{12}Z`, "TIME")
	output = replaceAll(output, `TopicId: [A-Za-z0-9_-]{22}`, "TopicId: ID")
	return replaceAll(output, `(?m)[ \t]+$`, "")
}

// TestConsolesInDocumentsAreReal types what the documents show into a shell, each
// document in a directory of its own, and compares what comes back. Only a command
// whose output is an error of runnel's may fail.
//
// go test's cache does not look at files outside of this module: after a change to a
// document alone, run it with -count=1.
func TestConsolesInDocumentsAreReal(t *testing.T) {
	paths, err := filepath.Glob("../../docs/*/*.md")
	require.NoError(t, err)
	more, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	typed := 0
	for _, path := range append(paths, more...) {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		dir := t.TempDir()
		for _, line := range sessionIn(string(text)) {
			cmd := exec.Command("sh", "-c", onTerminal(line.command))
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "TZ=UTC", "RUNNEL_AT=")
			out, err := cmd.CombinedOutput()
			require.Equal(t, strings.HasPrefix(line.output, "runnel: "), err != nil, "%s: %s: %s", path, line.command, out)
			require.Equal(t, settled(line.output), settled(string(out)), "%s: %s", path, line.command)
			typed++
		}
	}
	require.NotZero(t, typed)
}
