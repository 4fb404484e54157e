package serde_test

import (
	"encoding/binary"
	"fmt"

	"github.com/runnel-go/runnel/serde"
)

func ExampleFor() {
	totals := serde.For("output-topic", serde.String, serde.Int64)
	b, err := totals.Value.Append(nil, 3)
	fmt.Println(totals.Name, b, err)
	// Output: output-topic [0 0 0 0 0 0 0 3] <nil>
}

func ExampleJSON() {
	type visit struct {
		Page string `json:"page"`
	}
	visits := serde.JSON[visit]()
	b, err := visits.Append(nil, visit{Page: "/home"})
	fmt.Printf("%s %v\n", b, err)
	v, err := visits.Decode(b)
	fmt.Println(v.Page, err)
	// Output:
	// {"page":"/home"} <nil>
	// /home <nil>
}

func ExampleFunc() {
	// A custom format: numbers as varints.
	varints := serde.Func(
		func(dst []byte, v int64) ([]byte, error) { return binary.AppendVarint(dst, v), nil },
		func(src []byte) (int64, error) {
			v, n := binary.Varint(src)
			if n != len(src) || n <= 0 {
				return 0, fmt.Errorf("not a varint: % x", src)
			}
			return v, nil
		},
	)
	b, err := varints.Append(nil, -3)
	fmt.Println(b, err)
	// Output: [5] <nil>
}

func ExampleNullable() {
	s := serde.Nullable(serde.String)
	fmt.Println(s.IsNull(nil))
	// Output: true
}

func ExampleDefault() {
	_, known := serde.Default[int32]()
	fmt.Println(known)
	// Output: true
}
