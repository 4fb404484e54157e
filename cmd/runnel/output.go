package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// line prints v as one line of JSON.
func (s *shell) line(v any) error {
	enc := json.NewEncoder(s.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table collects rows and prints them in columns. Columns whose name begins
// with # hold numbers, which are right-aligned.
type table struct {
	columns []string
	rows    [][]string
	widths  []int // of the columns, from what was printed; nil before the first print
}

func newTable(columns ...string) *table { return &table{columns: columns} }

// row adds a row; values are printed with %v.
func (t *table) row(values ...any) {
	row := make([]string, len(values))
	for i, v := range values {
		row[i] = fmt.Sprint(v)
	}
	t.rows = append(t.rows, row)
}

// print writes the rows with two spaces between columns, and on the first call
// the columns' names before them. It then removes the rows.
func (t *table) print(w io.Writer) error {
	head := make([]string, len(t.columns))
	right := make([]bool, len(t.columns))
	for i, c := range t.columns {
		head[i] = strings.TrimPrefix(c, "#")
		right[i] = head[i] != c
	}
	all := t.rows
	t.rows = nil
	if t.widths == nil {
		t.widths = make([]int, len(head))
		all = append([][]string{head}, all...)
	}
	widths := t.widths
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range all {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				line.WriteString("  ")
			}
			if right[i] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// text formats bytes for people: printable text unchanged, other bytes quoted,
// and null as null.
func text(b []byte) string {
	if b == nil {
		return "null"
	}
	if !utf8.Valid(b) || strings.ContainsFunc(string(b), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return fmt.Sprintf("%q", b)
	}
	return string(b)
}

// count returns "1 record", "3 records".
func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
