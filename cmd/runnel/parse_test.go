package main

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/topic"
)

func replaceAll(text, pattern, by string) string {
	return regexp.MustCompile(pattern).ReplaceAllString(text, by)
}

func TestParseFrom(t *testing.T) {
	now := time.Date(2026, 5, 2, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]topic.OffsetSpec{
		"":                     topic.Earliest(),
		"start":                topic.Earliest(),
		"earliest":             topic.Earliest(),
		"End":                  topic.Latest(),
		"latest":               topic.Latest(),
		"0":                    topic.AtOffset(0),
		"42":                   topic.AtOffset(42),
		"90m":                  topic.AtTime(now.Add(-90 * time.Minute)),
		"-90m":                 topic.AtTime(now.Add(-90 * time.Minute)),
		"2026-05-01":           topic.AtTime(time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)),
		"2026-05-01T12:00":     topic.AtTime(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)),
		"2026-05-01 12:00:30":  topic.AtTime(time.Date(2026, 5, 1, 12, 0, 30, 0, time.UTC)),
		"2026-05-01T12:00:00Z": topic.AtTime(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)),
	} {
		got, err := parseFrom(text, now)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"-1", "yesterday", "2026-13-01", "--5m", "1e3", "99999999999999999999"} {
		_, err := parseFrom(text, now)
		require.ErrorAs(t, err, new(usageError), text)
	}
}

func FuzzParseFrom(f *testing.F) {
	for _, text := range []string{"start", "end", "42", "90m", "2026-05-01T12:00", "2026-05-01T12:00:00.5+02:00", "-9223372036854775808ns"} {
		f.Add(text)
	}
	now := time.Date(2026, 5, 2, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		spec, err := parseFrom(text, now)
		if err != nil {
			require.ErrorAs(t, err, new(usageError))
			return
		}
		if offset, ok := spec.Offset(); ok {
			require.GreaterOrEqual(t, offset, int64(0))
		}
		if at, ok := spec.Time(); ok && !strings.Contains(text, "-") {
			require.False(t, at.After(now))
		}
	})
}

// A line that was taken apart is the line again when put together.
func FuzzParseLine(f *testing.F) {
	f.Add("alice:1", ":", "")
	f.Add("alice\tNULL", "\t", "NULL")
	f.Add("no separator", "::", "no")
	f.Fuzz(func(t *testing.T, line, sep, null string) {
		p := &produceFlags{keySep: sep, null: null}
		r, err := p.parse([]byte(line))
		key, value := r.Key, r.Value
		if err != nil {
			require.NotContains(t, line, sep)
			return
		}
		show := func(b []byte) string {
			if b == nil {
				return null
			}
			return string(b)
		}
		if sep == "" {
			require.Nil(t, key)
			require.Equal(t, line, show(value))
			return
		}
		require.Equal(t, line, show(key)+sep+show(value))
	})
}

func TestReadLines(t *testing.T) {
	all := func(r io.Reader) (lines []string, err error) {
		source := readLines(t.Context(), r)
		for {
			line, err := source.next(t.Context(), nil)
			if err != nil {
				return lines, err
			}
			lines = append(lines, string(line))
			require.Len(t, lines, source.n)
		}
	}
	lines, err := all(strings.NewReader("a\r\nb\n\nlast"))
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, []string{"a", "b", "", "last"}, lines)

	long := bytes.Repeat([]byte("x"), maxLine+1)
	_, err = all(bytes.NewReader(append([]byte("short\n"), long...)))
	require.EqualError(t, err, "line 2 is longer than 16 MiB")

	// Somebody at a terminal who types nothing is not waited for when there is
	// something else to do.
	r, w := io.Pipe()
	defer w.Close()
	source, nudge := readLines(t.Context(), r), make(chan struct{}, 1)
	nudge <- struct{}{}
	_, err = source.next(t.Context(), nudge)
	require.ErrorIs(t, err, errNudged)
	go func() { _, _ = io.WriteString(w, "late\n") }()
	line, err := source.next(t.Context(), nudge)
	require.NoError(t, err)
	require.Equal(t, "late", string(line))
}

func TestTable(t *testing.T) {
	table := newTable("NAME", "#COUNT", "NOTE")
	table.row("ключ", 7, "")
	table.row("a", 12345, "yes")
	var out strings.Builder
	require.NoError(t, table.print(&out))
	require.Equal(t, "NAME  COUNT  NOTE\nключ      7\na     12345  yes\n", out.String())
	out.Reset()
	table.row("b", 1, "more")
	require.NoError(t, table.print(&out))
	require.Equal(t, "b         1  more\n", out.String())
}

func TestText(t *testing.T) {
	for want, b := range map[string][]byte{
		"null": nil, "": {}, "这是第一条消息": []byte("这是第一条消息"), "a\tb": []byte("a\tb"),
		`"a\nb"`: []byte("a\nb"), `"\xff\x00"`: {0xff, 0}, `"\x1b[31m"`: []byte("\x1b[31m"),
	} {
		require.Equal(t, want, text(b))
	}
	j, err := jsonText{0xff}.MarshalJSON()
	require.NoError(t, err)
	require.JSONEq(t, `{"base64":"/w=="}`, string(j))
}
