package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/runnel-go/runnel/log"
)

// maxListed is the longest file that is listed, in bytes: more than the longest
// index of a segment.
const maxListed = 64 << 20

// list prints the contents of an index or another small file.
func (s *shell) list(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxListed+1))
	if err != nil {
		return err
	}
	if len(b) > maxListed {
		return fmt.Errorf("%s is longer than %s", path, size(maxListed))
	}
	listing, damage := log.List(path, b)
	if !s.tables() {
		return errors.Join(s.listLines(path, listing), damage)
	}
	if _, err := fmt.Fprintln(s.out, path); err != nil {
		return err
	}
	columns := make([]string, len(listing.Columns))
	for i, c := range listing.Columns {
		columns[i] = strings.ToUpper(c)
		if len(listing.Rows) > 0 {
			if _, text := listing.Rows[0][i].(string); !text {
				columns[i] = "#" + columns[i]
			}
		}
	}
	t := newTable(columns...)
	for _, row := range listing.Rows {
		t.row(row...)
	}
	return errors.Join(t.print(s.out), damage)
}

// listLines prints a line of JSON for each row.
func (s *shell) listLines(path string, listing log.Listing) error {
	for _, row := range listing.Rows {
		line := map[string]any{"file": path}
		for i, c := range listing.Columns {
			line[camel(c)] = row[i]
		}
		if err := s.line(line); err != nil {
			return err
		}
	}
	return nil
}

// camel converts a name with dashes to JSON's camel case.
func camel(name string) string {
	words := strings.Split(name, "-")
	for i, w := range words[1:] {
		words[i+1] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, "")
}
