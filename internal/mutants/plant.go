package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// verdict is what became of a bug.
type verdict int

const (
	caught verdict = iota
	survived
	broken
)

func (v verdict) String() string { return [...]string{"caught", "SURVIVED", "ERROR"}[v] }

type result struct {
	verdict
	why    string // of what is broken
	output string
	took   time.Duration
}

// hang is how long a command may take. What hangs has noticed the bug, but a
// table of such would take hours.
const hang = 10 * time.Minute

// plant runs m's command with m in the sources.
func plant(ctx context.Context, root, scratch string, m mutant) result {
	began := time.Now()
	r := result{verdict: broken}
	overlay, err := writeOverlay(root, scratch, m)
	if err != nil {
		r.why = err.Error()
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, hang)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", m.test)
	cmd.Dir = root
	cmd.WaitDelay = time.Second
	// What vet says of a bug does not count: tests have to notice it.
	cmd.Env = append(os.Environ(), "GOFLAGS=-overlay="+overlay+" -vet=off -timeout=60s")
	out, err := cmd.CombinedOutput()
	r.output, r.took = string(out), time.Since(began)
	r.verdict, r.why = judge(err != nil, r.output)
	return r
}

// judge says what a command's outcome means.
func judge(failed bool, output string) (verdict, string) {
	switch {
	case strings.Contains(output, "[build failed]") || strings.Contains(output, "[setup failed]"):
		return broken, "it does not compile"
	case strings.Contains(output, "no tests to run") || strings.Contains(output, "[no test files]"):
		return broken, "the command runs no test"
	case !failed:
		return survived, ""
	case !strings.Contains(output, "FAIL"):
		return broken, "the command does not work: " + strings.TrimSpace(output)
	}
	return caught, ""
}

// writeOverlay writes the changed file, and the file that tells the go command
// about it.
func writeOverlay(root, scratch string, m mutant) (string, error) {
	path := filepath.Join(root, filepath.FromSlash(m.file))
	source, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	changed, err := m.apply(string(source))
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(scratch, "planted")
	if err != nil {
		return "", err
	}
	planted := filepath.Join(dir, filepath.Base(path))
	if err := os.WriteFile(planted, []byte(changed), 0o600); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {path: planted}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}
