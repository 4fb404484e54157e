package streams_test

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/serde"
)

// datum is a key or a value of a case: text, an integer, or null.
type datum struct {
	kind byte // 0: null, 's': text, 'i': integer
	text string
	n    int64
}

// caseKey is a datum, in a window or not.
type caseKey struct {
	datum
	windowed   bool
	start, end int64
}

func text(s string) datum   { return datum{kind: 's', text: s} }
func integer(n int64) datum { return datum{kind: 'i', n: n} }
func (d datum) null() bool  { return d.kind == 0 }
func (d datum) even() bool  { return d.kind == 'i' && d.n%2 == 0 }
func (d datum) String() string {
	switch d.kind {
	case 's':
		return d.text
	case 'i':
		return strconv.FormatInt(d.n, 10)
	}
	return "null"
}

func (d datum) compare(o datum) int {
	return cmp.Or(cmp.Compare(d.kind, o.kind), cmp.Compare(d.text, o.text), cmp.Compare(d.n, o.n))
}

func (d datum) bytes() []byte {
	if d.null() {
		return nil
	}
	b, _ := data{}.Append(nil, d)
	return b
}

func (d *datum) UnmarshalJSON(b []byte) error {
	switch {
	case string(b) == "null":
		*d = datum{}
		return nil
	case b[0] == '"':
		d.kind = 's'
		return json.Unmarshal(b, &d.text)
	}
	d.kind = 'i'
	return json.Unmarshal(b, &d.n)
}

func (k *caseKey) UnmarshalJSON(b []byte) error {
	if b[0] != '{' {
		return json.Unmarshal(b, &k.datum)
	}
	var w struct {
		Key        datum
		Start, End int64
	}
	err := json.Unmarshal(b, &w)
	*k = caseKey{w.Key, true, w.Start, w.End}
	return err
}

// data is the serde of datum.
type data struct{}

var _ serde.NullableSerde[datum] = data{}

func (data) IsNull(d datum) bool { return d.null() }

func (data) Append(dst []byte, d datum) ([]byte, error) {
	if d.null() {
		return dst, errors.New("null has no bytes")
	}
	dst = append(dst, d.kind)
	if d.kind == 's' {
		return append(dst, d.text...), nil
	}
	return binary.BigEndian.AppendUint64(dst, uint64(d.n)), nil
}

func (data) Decode(b []byte) (datum, error) {
	switch {
	case len(b) > 0 && b[0] == 's':
		return text(string(b[1:])), nil
	case len(b) == 9 && b[0] == 'i':
		return integer(int64(binary.BigEndian.Uint64(b[1:]))), nil
	}
	return datum{}, fmt.Errorf("no datum: %q", b)
}

// function is a named function with its parameters.
type function struct {
	Fn, Sep, Text string
	Mod, Eq, Than int64
	Value         datum
	Equals        string
	ElseNull      bool `json:"else_null"`
}

// of returns a function of key and value.
func (f function) of(t require.TestingT) func(k, v datum) datum {
	onValue := func(g func(v datum) datum) func(k, v datum) datum { return func(_, v datum) datum { return g(v) } }
	switch f.Fn {
	case "identity", "value":
		return onValue(func(v datum) datum { return v })
	case "key":
		return func(k, _ datum) datum { return k }
	case "const":
		return onValue(func(datum) datum { return f.Value })
	case "upper":
		return onValue(func(v datum) datum { return text(strings.ToUpper(v.text)) })
	case "lower":
		return onValue(func(v datum) datum { return text(strings.ToLower(v.text)) })
	case "length":
		return onValue(func(v datum) datum { return integer(int64(len([]rune(v.String())))) })
	case "parse_int":
		return onValue(func(v datum) datum {
			n, err := strconv.ParseInt(v.text, 10, 64)
			if err != nil {
				panic(err)
			}
			return integer(n)
		})
	case "first_char":
		return onValue(func(v datum) datum { return text(v.String()[:1]) })
	case "prefix":
		return onValue(func(v datum) datum { return text(f.Text + v.String()) })
	case "suffix":
		return onValue(func(v datum) datum { return text(v.String() + f.Text) })
	case "key_colon_value":
		return func(k, v datum) datum { return text(k.String() + ":" + v.String()) }
	case "after":
		return onValue(func(v datum) datum {
			if _, after, found := strings.Cut(v.text, f.Sep); found {
				return text(after)
			}
			return datum{}
		})
	case "before":
		return onValue(func(v datum) datum {
			before, _, found := strings.Cut(v.text, f.Sep)
			if !found && f.ElseNull {
				return datum{}
			}
			return text(before)
		})
	case "throw_if":
		return onValue(func(v datum) datum {
			if v.String() == f.Equals {
				panic(fmt.Errorf("the value is %s", v))
			}
			return v
		})
	}
	require.Fail(t, "unknown function", f.Fn)
	return nil
}

func (f function) predicate(t require.TestingT) func(k, v datum) bool {
	switch f.Fn {
	case "key_mod":
		return func(k, _ datum) bool { return k.n%f.Mod == f.Eq }
	case "value_even":
		return func(_, v datum) bool { return v.even() }
	case "value_gt":
		return func(_, v datum) bool { return !v.null() && v.n > f.Than }
	}
	require.Fail(t, "unknown predicate", f.Fn)
	return nil
}

var nonWord = regexp.MustCompile(`\W+`)

func (f function) splitter(t require.TestingT) func(v datum) []datum {
	split := func(s string) []string { return strings.Split(s, f.Sep) }
	switch f.Fn {
	case "split":
	case "split_lower_words":
		split = func(s string) []string { return nonWord.Split(strings.ToLower(s), -1) }
	default:
		require.Fail(t, "unknown function", f.Fn)
	}
	return func(v datum) (out []datum) {
		for _, s := range split(v.text) {
			if s != "" {
				out = append(out, text(s))
			}
		}
		return out
	}
}

// adder returns an adder, a subtractor or a reducer: a function of the aggregate
// and an element.
func (f function) adder(t require.TestingT) func(a, v datum) datum {
	switch f.Fn {
	case "append":
		return func(a, v datum) datum { return text(a.String() + f.Sep + v.String()) }
	case "sum":
		return func(a, v datum) datum { return integer(a.n + v.n) }
	case "subtract":
		return func(a, v datum) datum { return integer(a.n - v.n) }
	case "count":
		return func(a, _ datum) datum { return integer(a.n + 1) }
	case "max":
		return func(a, v datum) datum {
			if a.compare(v) > 0 {
				return a
			}
			return v
		}
	case "latest":
		return func(_, v datum) datum { return v }
	case "sum_null_if_zero":
		return func(a, v datum) datum {
			if sum := a.n + v.n; sum != 0 {
				return integer(sum)
			}
			return datum{}
		}
	}
	require.Fail(t, "unknown adder", f.Fn)
	return nil
}

// joiner returns a function of a key and two values, of which one may be null.
func (f function) joiner(t require.TestingT) func(k, left, right datum) datum {
	concat := func(_, l, r datum) datum { return text(l.String() + f.Sep + r.String()) }
	switch f.Fn {
	case "concat":
		return concat
	case "concat_with_key":
		return func(k, l, r datum) datum { return text(k.String() + ":" + concat(k, l, r).text) }
	}
	require.Fail(t, "unknown joiner", f.Fn)
	return nil
}
