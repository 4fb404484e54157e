package streams

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/serde"
)

func FuzzChangeSerde(f *testing.F) {
	s := changeSerde[string]{serde.String}
	for _, c := range []change[string]{
		{},
		{new: "new", hasNew: true},
		{old: "old", hasOld: true},
		{new: "n", old: "o", hasNew: true, hasOld: true},
		{new: string(make([]byte, 300)), old: "o", hasNew: true, hasOld: true},
	} {
		b, err := s.Append([]byte("before"), c)
		require.NoError(f, err)
		again, err := s.Decode(b[len("before"):])
		require.NoError(f, err)
		require.Equal(f, c, again)
		f.Add(b[len("before"):])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := s.Decode(b)
		if err != nil {
			return
		}
		written, err := s.Append(nil, c)
		require.NoError(t, err)
		again, err := s.Decode(written)
		require.NoError(t, err)
		require.Equal(t, c, again)
	})
}
