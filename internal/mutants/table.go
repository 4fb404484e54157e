package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mutant is one bug of the table.
type mutant struct {
	name string
	file string // from the tree's top, with slashes
	test string // a command of the shell
	old  string // whole lines
	new  string
	at   string // its place in the table
}

// readTable reads every file of a directory.
func readTable(dir string) ([]mutant, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var all []mutant
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		found, err := parseTable(filepath.Base(file), string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// parseTable reads the bugs of one file.
func parseTable(name, text string) ([]mutant, error) {
	var all []mutant
	for i, line := range strings.Split(text, "\n") {
		at := fmt.Sprintf("%s:%d", name, i+1)
		if begin, ok := strings.CutPrefix(line, "=== "); ok {
			all = append(all, mutant{name: begin, at: at})
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("%s: no bug begins before this line, with === and its name", at)
		}
		m := &all[len(all)-1]
		switch key, rest, _ := strings.Cut(line, " "); key {
		case "file:":
			m.file = rest
		case "test:":
			m.test = rest
		case "<":
			m.old += rest + "\n"
		case ">":
			m.new += rest + "\n"
		default:
			return nil, fmt.Errorf("%s: not a line of the table: %q", at, line)
		}
	}
	for _, m := range all {
		if m.name == "" || m.file == "" || m.test == "" || m.old == "" || m.old == m.new {
			return nil, fmt.Errorf("%s: %q needs a file, a test, lines that are replaced (<) and others in their place (>)", m.at, m.name)
		}
	}
	return all, nil
}

// apply returns the source with the bug in it.
func (m mutant) apply(source string) (string, error) {
	// Whole lines: what is before the first begins one.
	source = "\n" + source
	at := strings.Index(source, "\n"+m.old)
	if at < 0 {
		return "", fmt.Errorf("%s has no such text", m.file)
	}
	if strings.Contains(source[at+1:], "\n"+m.old) {
		return "", fmt.Errorf("%s has that text more than once", m.file)
	}
	return source[1:at+1] + m.new + source[at+1+len(m.old):], nil
}
