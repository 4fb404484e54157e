package wire_test

import (
	"fmt"

	"github.com/runnel-go/runnel/internal/wire"
)

// A flexible structure: a name, a number, no tagged fields.
func Example() {
	var w wire.Writer
	w.CompactString("orders")
	w.Int32(3)
	w.NoTags()
	fmt.Printf("% x\n", w.B)

	r := wire.NewReader(w.B)
	name, partitions := r.CompactString(), r.Int32()
	r.Tags(nil)
	fmt.Println(name, partitions, r.End())
	// Output:
	// 07 6f 72 64 65 72 73 00 00 00 03 00
	// orders 3 <nil>
}
