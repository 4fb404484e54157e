package serde_test

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/serde"
)

// The bytes are what Kafka's serializers of the same names write.
func TestBasicSerdesWriteKafkasBytes(t *testing.T) {
	encodes(t, serde.String, "日本", []byte{0xe6, 0x97, 0xa5, 0xe6, 0x9c, 0xac})
	encodes(t, serde.String, "", []byte{})
	encodes(t, serde.Bytes, []byte{0, 255}, []byte{0, 255})
	encodes(t, serde.Bytes, []byte{}, []byte{})
	encodes(t, serde.Bool, true, []byte{1})
	encodes(t, serde.Bool, false, []byte{0})
	encodes(t, serde.Int16, -2, []byte{0xff, 0xfe})
	encodes(t, serde.Int32, 1, []byte{0, 0, 0, 1})
	encodes(t, serde.Int32, math.MinInt32, []byte{0x80, 0, 0, 0})
	encodes(t, serde.Int64, -1, bytes.Repeat([]byte{0xff}, 8))
	encodes(t, serde.Int, 258, []byte{0, 0, 0, 0, 0, 0, 1, 2})
	encodes(t, serde.Uint16, math.MaxUint16, []byte{0xff, 0xff})
	encodes(t, serde.Uint32, 1<<31, []byte{0x80, 0, 0, 0})
	encodes(t, serde.Uint64, math.MaxUint64, bytes.Repeat([]byte{0xff}, 8))
	encodes(t, serde.Float32, 1, []byte{0x3f, 0x80, 0, 0})
	encodes(t, serde.Float64, -2, []byte{0xc0, 0, 0, 0, 0, 0, 0, 0})
}

func encodes[T any](t *testing.T, s serde.Serde[T], v T, want []byte) {
	t.Helper()
	got, err := s.Append([]byte("before"), v)
	require.NoError(t, err)
	require.Equal(t, append([]byte("before"), want...), got)
	back, err := s.Decode(want)
	require.NoError(t, err)
	require.Equal(t, v, back)
}

func TestDecodingRefusesOtherSizes(t *testing.T) {
	for _, src := range [][]byte{nil, {}, {1, 2, 3}, bytes.Repeat([]byte{1}, 9)} {
		refuses(t, serde.Bool, src)
		refuses(t, serde.Int16, src)
		refuses(t, serde.Int32, src)
		refuses(t, serde.Int64, src)
		refuses(t, serde.Int, src)
		refuses(t, serde.Uint16, src)
		refuses(t, serde.Uint32, src)
		refuses(t, serde.Uint64, src)
		refuses(t, serde.Float32, src)
		refuses(t, serde.Float64, src)
	}
	refuses(t, serde.Bool, []byte{2})
}

func refuses[T any](t *testing.T, s serde.Serde[T], src []byte) {
	t.Helper()
	_, err := s.Decode(src)
	require.Error(t, err)
}

func TestDecodedValuesShareNothing(t *testing.T) {
	src := []byte("abc")
	text, err := serde.String.Decode(src)
	require.NoError(t, err)
	raw, err := serde.Bytes.Decode(src)
	require.NoError(t, err)
	clear(src)
	require.Equal(t, "abc", text)
	require.Equal(t, []byte("abc"), raw)
}

func TestNumbersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		roundTrips(t, serde.Int16, rapid.Int16())
		roundTrips(t, serde.Int32, rapid.Int32())
		roundTrips(t, serde.Int64, rapid.Int64())
		roundTrips(t, serde.Int, rapid.Int())
		roundTrips(t, serde.Uint16, rapid.Uint16())
		roundTrips(t, serde.Uint32, rapid.Uint32())
		roundTrips(t, serde.Uint64, rapid.Uint64())
		roundTrips(t, serde.Float32, rapid.Float32())
		roundTrips(t, serde.Float64, rapid.Float64())
		roundTrips(t, serde.JSON[map[string]int](), rapid.MapOf(rapid.String(), rapid.Int()))
	})
}

func roundTrips[T any](t *rapid.T, s serde.Serde[T], values *rapid.Generator[T]) {
	v := values.Draw(t, "value")
	b, err := s.Append(nil, v)
	require.NoError(t, err)
	back, err := s.Decode(b)
	require.NoError(t, err)
	require.Equal(t, v, back)
}

type order struct {
	ID    int    `json:"id"`
	Notes string `json:"notes,omitempty"`
}

func TestJSON(t *testing.T) {
	s := serde.JSON[order]()
	encodes(t, s, order{ID: 7, Notes: "<a&b>"}, []byte(`{"id":7,"notes":"<a&b>"}`))
	encodes(t, serde.JSON[[]int](), []int{1, 2}, []byte(`[1,2]`))

	_, err := s.Decode([]byte(`{"id":7} trailing`))
	require.Error(t, err)
	dst, err := serde.JSON[func()]().Append([]byte("kept"), nil)
	require.Error(t, err)
	require.Equal(t, []byte("kept"), dst)
}

func TestBinary(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	want, err := at.MarshalBinary()
	require.NoError(t, err)
	encodes(t, serde.Binary[time.Time](), at, want)
	refuses(t, serde.Binary[time.Time](), []byte{9})
}

func TestFunc(t *testing.T) {
	failure := errors.New("no")
	s := serde.Func(
		func(dst []byte, v byte) ([]byte, error) { return append(dst, v), nil },
		func([]byte) (byte, error) { return 0, failure },
	)
	b, err := s.Append(nil, 9)
	require.NoError(t, err)
	require.Equal(t, []byte{9}, b)
	_, err = s.Decode(b)
	require.ErrorIs(t, err, failure)
}

func TestNullable(t *testing.T) {
	s := serde.Nullable(serde.Int32)
	seven := int32(7)
	encodes(t, serde.Serde[*int32](s), &seven, []byte{0, 0, 0, 7})
	require.True(t, s.IsNull(nil))
	require.False(t, s.IsNull(&seven))
	_, err := s.Append(nil, nil)
	require.Error(t, err)
	refuses(t, serde.Serde[*int32](s), []byte{1})
}

func TestDefault(t *testing.T) {
	has[string](t)
	has[[]byte](t)
	has[bool](t)
	has[int](t)
	has[int16](t)
	has[int32](t)
	has[int64](t)
	has[uint16](t)
	has[uint32](t)
	has[uint64](t)
	has[float32](t)
	has[float64](t)

	_, ok := serde.Default[order]()
	require.False(t, ok)
	_, ok = serde.Default[any]()
	require.False(t, ok)
}

func has[T any](t *testing.T) {
	t.Helper()
	s, ok := serde.Default[T]()
	require.True(t, ok)
	var zero T
	b, err := s.Append(nil, zero)
	require.NoError(t, err)
	_, err = s.Decode(b)
	require.NoError(t, err)
}

func TestAppendingAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 64)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		buf, _ = serde.String.Append(buf[:0], "hello")
		buf, _ = serde.Int64.Append(buf, 42)
		buf, _ = serde.Float64.Append(buf, 4.2)
	}))
}
