package partition_test

import (
	"fmt"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// printed is a Completion.
type printed struct{}

func (printed) Appended(base int64, err error) { fmt.Println("appended at", base, err) }

func Example() {
	p, _, err := partition.Open(partition.Config{
		Log: log.Config{FS: vfs.NewMemory(), Dir: "greetings-0", Topic: "greetings"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()

	b := record.NewBuilder(1 << 20)
	b.Add(0, []byte("world"), []byte("hello"), nil)
	batch, _ := b.Batch(nil, record.None, 0)
	p.Append(batch.Bytes, nil, printed{}) // without Fsync Appended is called before Append returns

	s, err := p.Read(0, 1<<20, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	read, _ := record.Parse(s.Bytes)
	records, _ := read.Records(nil)
	for r := (record.Record{}); records.Next(&r); {
		fmt.Printf("%d: %s %s, of %d\n", r.Offset, r.Value, r.Key, s.HighWatermark)
	}
	// Output:
	// appended at 0 <nil>
	// 0: hello world, of 1
}
