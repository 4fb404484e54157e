package wire

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
)

func TestBytesAreKafkas(t *testing.T) {
	null := (*string)(nil)
	text := "añ"
	tests := []struct {
		name  string
		write func(w *Writer)
		want  []byte
	}{
		{"bool", func(w *Writer) { w.Bool(true); w.Bool(false) }, []byte{1, 0}},
		{"int8", func(w *Writer) { w.Int8(-2) }, []byte{0xfe}},
		{"int16", func(w *Writer) { w.Int16(-2) }, []byte{0xff, 0xfe}},
		{"int32", func(w *Writer) { w.Int32(0x01020304) }, []byte{1, 2, 3, 4}},
		{"int64", func(w *Writer) { w.Int64(math.MinInt64) }, []byte{0x80, 0, 0, 0, 0, 0, 0, 0}},
		{"uvarint", func(w *Writer) { w.Uvarint(300); w.Uvarint(math.MaxUint32) }, []byte{0xac, 2, 0xff, 0xff, 0xff, 0xff, 0xf}},
		{"string", func(w *Writer) { w.String(text); w.String("") }, []byte{0, 3, 'a', 0xc3, 0xb1, 0, 0}},
		{"nullable string", func(w *Writer) { w.NullableString(null); w.NullableString(&text) }, []byte{0xff, 0xff, 0, 3, 'a', 0xc3, 0xb1}},
		{"compact string", func(w *Writer) { w.CompactString(text); w.CompactString("") }, []byte{4, 'a', 0xc3, 0xb1, 1}},
		{"compact nullable string", func(w *Writer) { w.CompactNullableString(null); w.CompactNullableString(&text) }, []byte{0, 4, 'a', 0xc3, 0xb1}},
		{"bytes", func(w *Writer) { w.Bytes(nil); w.Bytes([]byte{}); w.Bytes([]byte{9}) }, []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 9}},
		{"compact bytes", func(w *Writer) { w.CompactBytes(nil); w.CompactBytes([]byte{}); w.CompactBytes([]byte{9}) }, []byte{0, 1, 2, 9}},
		{"array", func(w *Writer) { w.ArrayLen(-1); w.ArrayLen(2) }, []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2}},
		{"compact array", func(w *Writer) { w.CompactArrayLen(-1); w.CompactArrayLen(2) }, []byte{0, 3}},
		{"uuid", func(w *Writer) { w.UUID([16]byte{15: 7}) }, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7}},
		{"tags", func(w *Writer) { w.NoTags(); w.Tags(1); w.Tag(5, []byte{8, 9}) }, []byte{0, 1, 5, 2, 8, 9}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var w Writer
			test.write(&w)
			require.NoError(t, w.Err())
			require.Equal(t, test.want, w.B)
		})
	}
}

// field is one field with a value, written and read back.
type field struct {
	write func(w *Writer)
	check func(t require.TestingT, r *Reader)
}

func fieldGen() *rapid.Generator[field] {
	text := rapid.StringN(0, 40, 120)
	data := rapid.SliceOfN(rapid.Byte(), 0, 40)
	return rapid.Custom(func(t *rapid.T) field {
		switch rapid.IntRange(0, 11).Draw(t, "kind") {
		case 0:
			v := rapid.Bool().Draw(t, "v")
			return field{func(w *Writer) { w.Bool(v) }, func(t require.TestingT, r *Reader) { require.Equal(t, v, r.Bool()) }}
		case 1:
			v := rapid.Int8().Draw(t, "v")
			return field{func(w *Writer) { w.Int8(v) }, func(t require.TestingT, r *Reader) { require.Equal(t, v, r.Int8()) }}
		case 2:
			v := rapid.Int16().Draw(t, "v")
			return field{func(w *Writer) { w.Int16(v) }, func(t require.TestingT, r *Reader) { require.Equal(t, v, r.Int16()) }}
		case 3:
			v := rapid.Int32().Draw(t, "v")
			return field{func(w *Writer) { w.Int32(v) }, func(t require.TestingT, r *Reader) { require.Equal(t, v, r.Int32()) }}
		case 4:
			v := rapid.Int64().Draw(t, "v")
			return field{func(w *Writer) { w.Int64(v) }, func(t require.TestingT, r *Reader) { require.Equal(t, v, r.Int64()) }}
		case 5:
			v := rapid.Uint32().Draw(t, "v")
			return field{func(w *Writer) { w.Uvarint(v) }, func(t require.TestingT, r *Reader) { require.Equal(t, v, r.Uvarint()) }}
		case 6:
			v := text.Draw(t, "v")
			return field{func(w *Writer) { w.String(v) }, func(t require.TestingT, r *Reader) { require.Equal(t, v, r.String()) }}
		case 7:
			v := rapid.Ptr(text, true).Draw(t, "v")
			return field{func(w *Writer) { w.NullableString(v) }, func(t require.TestingT, r *Reader) { require.Equal(t, v, r.NullableString()) }}
		case 8:
			v := text.Draw(t, "v")
			return field{func(w *Writer) { w.CompactString(v) }, func(t require.TestingT, r *Reader) { require.Equal(t, v, r.CompactString()) }}
		case 9:
			v := rapid.Ptr(text, true).Draw(t, "v")
			return field{func(w *Writer) { w.CompactNullableString(v) }, func(t require.TestingT, r *Reader) { require.Equal(t, v, r.CompactNullableString()) }}
		case 10:
			v := data.Draw(t, "v")
			return field{func(w *Writer) { w.Bytes(v) }, func(t require.TestingT, r *Reader) { require.Equal(t, v, r.Bytes()) }}
		default:
			v := data.Draw(t, "v")
			return field{func(w *Writer) { w.CompactBytes(v) }, func(t require.TestingT, r *Reader) { require.Equal(t, v, r.CompactBytes()) }}
		}
	})
}

func TestReadsWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fields := rapid.SliceOfN(fieldGen(), 0, 20).Draw(t, "fields")
		var w Writer
		for _, f := range fields {
			f.write(&w)
		}
		require.NoError(t, w.Err())
		r := NewReader(w.B)
		for _, f := range fields {
			f.check(t, &r)
		}
		require.NoError(t, r.End())
	})
}

func TestReaderRefuses(t *testing.T) {
	tests := []struct {
		name string
		b    []byte
		read func(r *Reader)
	}{
		{"a number cut short", []byte{0, 0, 0}, func(r *Reader) { r.Int32() }},
		{"a varint cut short", []byte{0x80}, func(r *Reader) { r.Uvarint() }},
		{"a varint of 33 bits", []byte{0xff, 0xff, 0xff, 0xff, 0x1f}, func(r *Reader) { r.Uvarint() }},
		{"a varint of six bytes", []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0}, func(r *Reader) { r.Uvarint() }},
		{"a string cut short", []byte{0, 2, 'a'}, func(r *Reader) { _ = r.String() }},
		{"a string of negative length", []byte{0xff, 0xfe}, func(r *Reader) { r.NullableString() }},
		{"null where a string must stand", []byte{0xff, 0xff}, func(r *Reader) { _ = r.String() }},
		{"compact null where a string must stand", []byte{0}, func(r *Reader) { r.CompactString() }},
		{"a compact string beyond Kafka's limit", append([]byte{0x81, 0x80, 2}, make([]byte, 1<<15)...), func(r *Reader) { r.CompactString() }},
		{"bytes of negative length", []byte{0xff, 0xff, 0xff, 0xfe}, func(r *Reader) { r.Bytes() }},
		{"bytes that claim 2 GiB", []byte{0x7f, 0xff, 0xff, 0xff, 1}, func(r *Reader) { r.Bytes() }},
		{"an array that claims 2^31 elements", []byte{0x7f, 0xff, 0xff, 0xff}, func(r *Reader) { r.ArrayLen(1) }},
		{"an array of negative length", []byte{0xff, 0xff, 0xff, 0xfe}, func(r *Reader) { r.ArrayLen(1) }},
		{"elements that do not fit", []byte{4, 0, 0, 0, 0, 0, 0, 0, 0}, func(r *Reader) { r.CompactArrayLen(4) }},
		{"tags that fall", []byte{2, 5, 0, 5, 0}, func(r *Reader) { r.Tags(nil) }},
		{"a tag cut short", []byte{1, 5, 3, 0}, func(r *Reader) { r.Tags(nil) }},
		{"a tag's value cut short", []byte{1, 5, 1, 0}, func(r *Reader) { r.Tags(func(_ uint32, v *Reader) { v.Int16() }) }},
		{"bytes left over", []byte{1}, func(*Reader) {}},
		{"what a decoder found", []byte{}, func(r *Reader) { r.Fail("a state of %d", 7) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := NewReader(test.b)
			test.read(&r)
			err := r.End()
			require.ErrorIs(t, err, fault.CorruptMessage)
			require.Zero(t, r.Int64(), "after an error everything is zero")
			require.Empty(t, r.CompactBytes())
			require.Zero(t, r.CompactArrayLen(1))
			require.Equal(t, err, r.Err(), "the first error stays")
		})
	}
}

func TestUnknownTagsArePassedOver(t *testing.T) {
	var value Writer
	value.Int32(7)
	value.Int32(8)
	var w Writer
	w.Tags(3)
	w.Tag(0, nil)
	w.Tag(2, value.B)
	w.Tag(9, []byte("from the future"))
	w.Int8(42)

	r := NewReader(w.B)
	var numbers []uint32
	var seven int32
	r.Tags(func(number uint32, v *Reader) {
		numbers = append(numbers, number)
		if number == 2 {
			seven = v.Int32() // and does not read the rest
		}
	})
	require.Equal(t, []uint32{0, 2, 9}, numbers)
	require.EqualValues(t, 7, seven)
	require.EqualValues(t, 42, r.Int8())
	require.NoError(t, r.End())
}

func TestWriterRefusesWhatIsTooLong(t *testing.T) {
	long := strings.Repeat("x", math.MaxInt16+1)
	for name, write := range map[string]func(w *Writer){
		"string":         func(w *Writer) { w.String(long) },
		"compact string": func(w *Writer) { w.CompactString(long) },
		"array":          func(w *Writer) { w.ArrayLen(math.MaxInt32 + 1) },
		"compact array":  func(w *Writer) { w.CompactArrayLen(math.MaxInt32) },
	} {
		t.Run(name, func(t *testing.T) {
			var w Writer
			write(&w)
			require.ErrorIs(t, w.Err(), fault.InvalidRequest)
		})
	}
}

func TestBytesAreCapped(t *testing.T) {
	r := NewReader([]byte{2, 'a', 2, 'b'})
	first := r.CompactBytes()
	_ = append(first, 'X')
	require.Equal(t, "b", r.CompactString(), "appending to a slice that was read must not write into the message")
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, []byte{0, 3, 'a', 'b', 'c', 0x7f, 0xff, 0xff, 0xff, 2, 1, 0})
	f.Add([]byte{9, 9, 5}, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 1})
	f.Fuzz(func(t *testing.T, script, message []byte) {
		r := NewReader(message)
		for _, op := range script {
			before := r.Len()
			switch op % 11 {
			case 0:
				r.Bool()
			case 1:
				r.Int16()
			case 2:
				r.Int64()
			case 3:
				r.Uvarint()
			case 4:
				_ = r.String()
			case 5:
				r.CompactNullableString()
			case 6:
				require.LessOrEqual(t, len(r.Bytes()), before)
			case 7:
				require.LessOrEqual(t, len(r.CompactBytes()), before)
			case 8:
				require.LessOrEqual(t, r.ArrayLen(1), before)
			case 9:
				r.Tags(func(_ uint32, v *Reader) { v.CompactString() })
			case 10:
				r.UUID()
			}
			require.LessOrEqual(t, r.Len(), before)
		}
		if r.End() != nil {
			require.Zero(t, r.Len())
		}
	})
}
