package archive

import (
	"archive/tar"
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestFilesThroughASocket writes files in any pieces: what is archived is what was
// sent, and what is not whole is not taken for whole.
func TestFilesThroughASocket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type file struct {
			name  string
			bytes []byte
		}
		var sent bytes.Buffer
		var want []file
		for range rapid.IntRange(0, 5).Draw(t, "files") {
			f := file{rapid.StringMatching(`[a-z][a-z./-]{0,198}[a-z]`).Draw(t, "name"), rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "bytes")}
			require.NoError(t, Send(&sent, f.name, f.bytes))
			want = append(want, f)
		}
		var out bytes.Buffer
		r := &Receiver{archive: NewWriter(&out)}
		for sent.Len() > 0 {
			piece := sent.Next(rapid.IntRange(1, 2000).Draw(t, "piece"))
			n, err := r.Write(piece)
			require.NoError(t, err)
			require.Len(t, piece, n)
		}
		require.Zero(t, r.left)
		require.Empty(t, r.head)
		require.NoError(t, r.archive.Close())
		in := tar.NewReader(&out)
		for _, f := range want {
			h, err := in.Next()
			require.NoError(t, err)
			require.Equal(t, f.name, h.Name)
			got, err := io.ReadAll(in)
			require.NoError(t, err)
			require.True(t, bytes.Equal(f.bytes, got))
		}
		_, err := in.Next()
		require.ErrorIs(t, err, io.EOF)
	})
}

// FuzzReceiver: whatever comes from the other side makes an archive or an
// error, in memory that does not depend on what it says.
func FuzzReceiver(f *testing.F) {
	var good bytes.Buffer
	require.NoError(f, Send(&good, "orders-0/00000000000000000000.log", []byte("bytes")))
	f.Add(good.Bytes())
	f.Add([]byte{0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 'x'})
	f.Add([]byte{0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &Receiver{archive: NewWriter(io.Discard)}
		n, err := r.Write(b)
		require.True(t, err != nil || n == len(b))
		require.LessOrEqual(t, len(r.head), fileHeadLen+1<<16)
	})
}
