package record_test

import (
	"fmt"

	"github.com/runnel-go/runnel/record"
)

// Records are encoded into a batch, and decoded from its bytes.
func Example() {
	builder := record.NewBuilder(1 << 20)
	builder.Add(1700000000000, []byte("k1"), []byte("hello"), nil)
	builder.Add(1700000000001, nil, nil, []record.Header{{Key: "trace", Value: []byte("7")}})
	batch, err := builder.Batch(nil, record.None, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	record.Stamp(batch.Bytes, 1042, 3) // the leader assigns its offset

	read, err := record.Parse(batch.Bytes)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(read.Count, "records in", read.Size(), "bytes, up to offset", read.LastOffset())
	it, err := read.Records(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	var r record.Record
	for it.Next(&r) {
		fmt.Printf("%d %q %q %d headers\n", r.Offset, r.Key, r.Value, len(r.Headers))
	}
	fmt.Println(it.Err())
	// Output:
	// 2 records in 90 bytes, up to offset 1043
	// 1042 "k1" "hello" 0 headers
	// 1043 "" "" 1 headers
	// <nil>
}

func ExampleParse() {
	builder := record.NewBuilder(1 << 20)
	builder.Add(1700000000000, nil, []byte("hello"), nil)
	batch, _ := builder.Batch(nil, record.None, 0)
	batch.Bytes[70] ^= 1 // a bit flips
	_, err := record.Parse(batch.Bytes)
	fmt.Println(err)
	// Output:
	// the bytes do not match their checksum or their format: the batch at offset 0 says checksum e641a44b, its bytes say 43003635
}

// Put writes records side by side into one buffer, which Seal turns into a
// batch.
func ExamplePut() {
	values := []string{"one", "two"}
	buf := make([]byte, record.HeaderLen)
	for i, v := range values {
		size := record.Size(int32(i), 0, nil, []byte(v), nil)
		at := len(buf)
		buf = append(buf, make([]byte, size)...)
		record.Put(buf[at:], int32(i), 0, nil, []byte(v), nil)
	}
	batch := record.Seal(buf, record.BatchHeader{
		LeaderEpoch: record.NoLeaderEpoch, ProducerID: record.NoProducerID,
		ProducerEpoch: record.NoProducerEpoch, BaseSequence: record.NoSequence,
		LastOffsetDelta: 1, Count: 2,
		BaseTimestamp: 1700000000000, MaxTimestamp: 1700000000000,
	})
	fmt.Println(batch.Size(), batch.VerifyCRC())
	// Output:
	// 81 <nil>
}

func ExampleCodec() {
	codec := record.NewCodec(1 << 20) // no batch may grow beyond a MiB
	packed, err := codec.Compress(nil, record.Zstd, 0, make([]byte, 100_000))
	if err != nil {
		fmt.Println(err)
		return
	}
	plain, err := codec.Decompress(nil, record.Zstd, packed)
	fmt.Println(len(packed) < 100, len(plain), err)

	packed, _ = codec.Compress(nil, record.Zstd, 0, make([]byte, 2<<20))
	_, err = codec.Decompress(nil, record.Zstd, packed)
	fmt.Println(err)
	// Output:
	// true 100000 <nil>
	// the batch expands to more bytes than are allowed here: with zstd, beyond 1048576
}

func ExampleRecord_Header() {
	r := record.Record{Headers: []record.Header{
		{Key: "retry", Value: []byte("1")},
		{Key: "retry", Value: []byte("2")},
	}}
	value, ok := r.Header("retry")
	fmt.Println(string(value), ok)
	// Output:
	// 2 true
}

func ExampleParseCompression() {
	c, err := record.ParseCompression("zstd")
	fmt.Println(c, err)
	_, err = record.ParseCompression("zip")
	fmt.Println(err)
	// Output:
	// zstd <nil>
	// the compression is not one of none, gzip, snappy, lz4, zstd: "zip"
}
