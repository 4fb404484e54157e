package wordcount

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// expected is the expected output of the command, computed by a plain loop.
func expected(text string) string {
	counts := make(map[string]int64)
	for line := range strings.Lines(text) {
		for _, word := range strings.Fields(strings.ToLower(line)) {
			counts[word]++
		}
	}
	var b strings.Builder
	for _, word := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, "%7d %s\n", counts[word], word)
	}
	return b.String()
}

// fast keeps tests from waiting for commits.
var fast = []streams.Option{streams.CommitInterval(time.Millisecond)}

func count(ctx context.Context, broker *runnel.Broker, text io.Reader) (counts, progress string, err error) {
	var out, say bytes.Buffer
	err = Run(ctx, broker, Job{Text: text, Counts: &out, Progress: &say, Options: fast})
	return out.String(), say.String(), err
}

func TestCountsEqualAPlainLoops(t *testing.T) {
	word := rapid.OneOf(rapid.StringN(0, 8, -1), rapid.SampledFrom([]string{"a", "A", "ß", "İ", "\u2003", "\xff\xfe", "\r", "\x00"}))
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(word, 0, 80).Draw(t, "words"), rapid.SampledFrom([]string{" ", "\n", "\t \n"}).Draw(t, "space"))
		broker, err := runnel.OpenMemory()
		require.NoError(t, err)
		defer broker.Close()
		counts, _, err := count(context.Background(), broker, strings.NewReader(text))
		require.NoError(t, err)
		require.Equal(t, expected(text), counts)
	})
}

func TestProgressNamesTheMostFrequentWords(t *testing.T) {
	broker, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer broker.Close()
	_, progress, err := count(context.Background(), broker, strings.NewReader("to be or\nnot to be\n a b c d e f"))
	require.NoError(t, err)
	require.Equal(t, "3 lines, 12 words, 10 different: be 2, to 2, a 1, b 1, c 1\n", progress)
}

// stopping is a text that ends its reader's context when it is read beyond some
// point.
type stopping struct {
	io.Reader
	stop context.CancelFunc
}

func (s stopping) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p[:min(len(p), 100)])
	if err == io.EOF {
		s.stop()
	}
	return n, err
}

// However often it is stopped half way, in the end every count is exact.
func TestItGoesOnWhereTheTopicEnds(t *testing.T) {
	var text strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&text, "line %d of a text with word%d\n", i, i%97)
	}
	dir := t.TempDir()
	for _, part := range []int{10, 3, 3, 2} {
		broker, err := runnel.Open(dir)
		require.NoError(t, err)
		ctx, stop := context.WithCancel(context.Background())
		lines := strings.LastIndexByte(text.String()[:text.Len()/part], '\n') + 1
		half := stopping{strings.NewReader(text.String()[:lines]), stop}
		counts, _, err := count(ctx, broker, half)
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, counts)
		require.NoError(t, broker.Close())
	}
	for range 2 { // the second run has nothing left to do
		broker, err := runnel.Open(dir)
		require.NoError(t, err)
		counts, _, err := count(context.Background(), broker, strings.NewReader(text.String()))
		require.NoError(t, err)
		require.Equal(t, expected(text.String()), counts)
		require.NoError(t, broker.Close())
	}
}

func TestAnotherTextIsRefused(t *testing.T) {
	broker, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer broker.Close()
	_, _, err = count(context.Background(), broker, strings.NewReader("a\nb\nc\n"))
	require.NoError(t, err)
	for _, other := range []string{"a\nb\nx\nd\n", "a\nb\n", ""} {
		_, _, err = count(context.Background(), broker, strings.NewReader(other))
		require.ErrorIs(t, err, ErrOtherText, "%q", other)
	}
	counts, _, err := count(context.Background(), broker, strings.NewReader("a\nb\nc\na"))
	require.NoError(t, err)
	require.Equal(t, expected("a b c a"), counts)
}

func TestTheLongestWordIsCountedAndALongerOneIsAnError(t *testing.T) {
	longest := strings.Repeat("x", MaxPiece)
	text := longest + " y " + longest
	broker, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer broker.Close()
	counts, _, err := count(context.Background(), broker, strings.NewReader(text))
	require.NoError(t, err)
	require.Equal(t, expected(text), counts)

	other, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer other.Close()
	_, _, err = count(context.Background(), other, strings.NewReader(longest+"x"))
	require.ErrorIs(t, err, ErrWordTooLong)
}

func TestATextThatCannotBeReadIsAnError(t *testing.T) {
	broker, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer broker.Close()
	broken := errors.New("broken")
	_, _, err = count(context.Background(), broker, io.MultiReader(strings.NewReader("a\n"), brokenReader{broken}))
	require.ErrorIs(t, err, broken)
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }
