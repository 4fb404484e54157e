package wordcount

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func cut(t require.TestingT, text io.Reader) (all []string, err error) {
	p := newPieces(text)
	for {
		piece, err := p.next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		require.LessOrEqual(t, len(piece), MaxPiece)
		all = append(all, string(piece))
	}
}

func TestPiecesAreLines(t *testing.T) {
	for text, want := range map[string][]string{
		"":                      nil,
		"\n \n\t\n":             nil,
		"one\ntwo":              {"one", "two"},
		"  one \r\n\n two\n":    {"one \r", "two"},
		"\u2003wide\u00a0space": {"wide\u00a0space"},
	} {
		all, err := cut(t, strings.NewReader(text))
		require.NoError(t, err)
		require.Equal(t, want, all, "%q", text)
	}
}

func TestLongLinesAreCutAtSpaces(t *testing.T) {
	longest := strings.Repeat("x", MaxPiece)
	for _, text := range []string{
		longest,
		longest + " " + longest,
		longest + "\u2003" + longest + "\n",
		" " + longest + "  " + longest[1:] + " y",
		strings.Repeat("word ", MaxPiece),
		strings.Repeat(" ", 3*MaxPiece) + "y",
	} {
		all, err := cut(t, strings.NewReader(text))
		require.NoError(t, err)
		require.Equal(t, strings.Fields(text), strings.Fields(strings.Join(all, "\n")))
	}
	all, err := cut(t, strings.NewReader(longest+" "+longest))
	require.NoError(t, err)
	require.Len(t, all, 2)
}

func TestTooLongAWord(t *testing.T) {
	word := strings.Repeat("x", MaxPiece+1)
	for _, text := range []string{word, "a " + word, word + " a", strings.Repeat("x", 3*MaxPiece)} {
		_, err := cut(t, strings.NewReader(text))
		require.ErrorIs(t, err, ErrWordTooLong)
	}
}

// How a text is cut does not depend on how it is read. Only then can another
// run continue after the pieces of the first.
func TestPiecesDependOnTheTextAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "ß", " ", "\u2003", "\n", "L"}), 0, 60).Draw(t, "L is long")
		text := strings.ReplaceAll(strings.Join(parts, ""), "L", strings.Repeat("long", 30_000))
		longest := 0
		for _, word := range strings.Fields(text) {
			longest = max(longest, len(word))
		}
		all, err := cut(t, strings.NewReader(text))
		half, halfErr := cut(t, iotest.HalfReader(strings.NewReader(text)))
		require.Equal(t, all, half)
		require.Equal(t, err, halfErr)
		if longest > MaxPiece {
			require.ErrorIs(t, err, ErrWordTooLong)
		} else {
			require.NoError(t, err)
			require.Equal(t, strings.Fields(text), strings.Fields(strings.Join(all, "\n")))
		}
	})
}
