package log_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// batch encodes one record, stamped with an offset and leader epoch 0.
func batch(offset, ms int64, value string) []byte {
	b := record.NewBuilder(1 << 20)
	b.Add(ms, nil, []byte(value), nil)
	sealed, err := b.Batch(nil, record.None, 0)
	if err != nil {
		panic(err)
	}
	record.Stamp(sealed.Bytes, offset, 0)
	return sealed.Bytes
}

func Example() {
	cfg := log.Config{FS: vfs.NewMemory(), Dir: "orders-0", Topic: "orders"}
	l, _, err := log.Open(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, value := range []string{"one", "two", "three"} {
		if err := l.Append(batch(int64(i), 1000*int64(i), value), nil); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println("synced below", l.SyncedOffset(), "of", l.EndOffset())
	fmt.Println(l.Sync(), l.SyncedOffset())
	fmt.Println(l.Close())

	l, found, err := log.Open(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	fmt.Println("clean:", found.Clean, "verified:", found.Batches, "end:", l.EndOffset())
	// Output:
	// synced below 0 of 3
	// <nil> 3
	// <nil>
	// clean: true verified: 0 end: 3
}

func ExampleLog_Read() {
	l, _, err := log.Open(log.Config{FS: vfs.NewMemory(), Dir: "orders-0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	for i, value := range []string{"one", "two", "three"} {
		if err := l.Append(batch(int64(i), 0, value), nil); err != nil {
			fmt.Println(err)
		}
	}
	highWatermark := int64(2) // "three" is not to be seen yet
	for offset := int64(0); offset < highWatermark; {
		s, err := l.Read(offset, highWatermark, 1<<20, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		for rest := s.Bytes; len(rest) > 0; {
			b, err := record.Parse(rest)
			if err != nil {
				fmt.Println(err)
				return
			}
			it, _ := b.Records(nil)
			for r := (record.Record{}); it.Next(&r); {
				fmt.Printf("%d %s\n", r.Offset, r.Value)
			}
			offset, rest = b.NextOffset(), rest[b.Size():]
		}
		s.Release()
	}
	// Output:
	// 0 one
	// 1 two
}

func ExampleLog_OffsetForTime() {
	l, _, err := log.Open(log.Config{FS: vfs.NewMemory(), Dir: "orders-0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	for i, ms := range []int64{1000, 3000, 2000, 4000} {
		if err := l.Append(batch(int64(i), ms, "value"), nil); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(l.OffsetForTime(1500))
	fmt.Println(l.OffsetForTime(5000))
	// Output:
	// 1 3000 true <nil>
	// 0 0 false <nil>
}

func ExampleLog_SetStart() {
	l, _, err := log.Open(log.Config{FS: vfs.NewMemory(), Dir: "orders-0", Topic: "orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	for i := range int64(10) {
		if err := l.Append(batch(i, 0, "value"), nil); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(l.SetStart(4))
	_, err = l.Read(3, 10, 1<<20, nil)
	fmt.Println(err)
	fmt.Println(l.Truncate(6), l.StartOffset(), l.EndOffset())
	// Output:
	// <nil>
	// orders-0 at offset 3: the offset is outside the range that the partition holds: it has the offsets 4 to 10
	// <nil> 4 6
}

func ExampleInspect() {
	cfg := log.Config{FS: vfs.NewMemory(), Dir: "orders-0", Topic: "orders"}
	l, _, err := log.Open(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(l.Append(batch(0, 1000, "one"), nil), l.Close())

	// A bit of the record flips.
	f, err := cfg.FS.OpenFile("orders-0/00000000000000000000.log", os.O_RDWR)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := f.WriteAt([]byte{'x'}, 70); err != nil {
		fmt.Println(err)
	}

	found, err := log.Inspect(context.Background(), cfg, log.InspectOptions{})
	fmt.Println(found.Worst(), err)
	for _, f := range found.Findings {
		fmt.Println(f.File, "at byte", f.Pos, "offset", f.Offset)
	}
	// Output:
	// <nil> <nil>
	// damage <nil>
	// orders-0/00000000000000000000.log at byte 0 offset 0
}

func ExampleRepair() {
	cfg := log.Config{FS: vfs.NewMemory(), Dir: "orders-0", Topic: "orders"}
	l, _, err := log.Open(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(l.Append(batch(0, 1000, "one"), nil), l.Append(batch(1, 2000, "two"), nil), l.Close())
	f, err := cfg.FS.OpenFile("orders-0/00000000000000000000.log", os.O_RDWR)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := f.WriteAt([]byte{'x'}, 70); err != nil { // in the first batch
		fmt.Println(err)
	}

	steps, err := log.Repair(context.Background(), cfg, log.RepairOptions{Stamp: "today"})
	for _, s := range steps {
		if s.Lost[1] > 0 {
			fmt.Println("lost: the offsets from", s.Lost[0], "to before", s.Lost[1])
		}
	}
	found, _ := log.Inspect(context.Background(), cfg, log.InspectOptions{})
	fmt.Println(found.Records, "record is left, below offset", found.End, err)
	// Output:
	// <nil> <nil> <nil>
	// lost: the offsets from 0 to before 1
	// 1 record is left, below offset 2 <nil>
}

func ExampleAdopt() {
	// A segment was copied from somewhere.
	cfg := log.Config{FS: vfs.NewMemory(), Dir: "orders-0", Topic: "orders"}
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		fmt.Println(err)
	}
	f, err := cfg.FS.OpenFile("orders-0/00000000000000000007.log", os.O_RDWR|os.O_CREATE)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := f.WriteAt(batch(7, 1000, "seven"), 0); err != nil {
		fmt.Println(err)
	}
	end, err := log.Adopt(cfg, 0)
	fmt.Println("the log ends at offset", end, err)
	// Output: the log ends at offset 8 <nil>
}

func ExampleList() {
	l, err := log.List("leader-epoch-checkpoint", []byte("0\n2\n0 0\n3 1042\n"))
	fmt.Println(l.Columns, l.Rows, err)
	// Output: [epoch start-offset] [[0 0] [3 1042]] <nil>
}

func ExampleFindBatch() {
	bytes := append([]byte("damage"), batch(7, 1000, "seven")...)
	at, ok, err := log.FindBatch(strings.NewReader(string(bytes)), 0, int64(len(bytes)), 0)
	fmt.Println(at, ok, err)
	// Output: 6 true <nil>
}
