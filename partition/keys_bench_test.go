package partition_test

import (
	"encoding/binary"
	"testing"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// BenchmarkIndexOfKeys appends batches of 100 records of 100 bytes with keys of 16 to a
// topic without an index of keys, with one that was never used, and with one that is. In
// append-if each record comes alone, and demands the last record of one of 10,000 keys.
func BenchmarkIndexOfKeys(b *testing.B) {
	const count = 100
	batchAt := func(n int) []byte {
		builder := record.NewBuilder(1 << 20)
		var key [16]byte
		for i := range count {
			binary.BigEndian.PutUint64(key[8:], uint64((n*count+i)%1_000_003))
			builder.Add(1000, key[:], make([]byte, 84), nil)
		}
		batch, err := builder.Batch(nil, record.None, 0)
		if err != nil {
			b.Fatal(err)
		}
		return append([]byte(nil), batch.Bytes...)
	}
	var batches [64][]byte
	for i := range batches {
		batches[i] = batchAt(i)
	}
	for _, c := range []struct {
		name       string
		index, use bool
	}{{"without", false, false}, {"unused", true, false}, {"used", true, true}} {
		b.Run(c.name, func(b *testing.B) {
			cfg := configOn(vfs.NewMemory())
			cfg.KeyIndex = c.index
			cfg.Log.SegmentBytes = 64 << 20
			p, _ := open(b, cfg)
			defer p.Close()
			if c.use {
				if _, _, _, err := p.ReadKey(b.Context(), []byte("k"), 0, partition.ReadUncommitted, 1); err != nil {
					b.Fatal(err)
				}
			}
			for n := 0; b.Loop(); n++ {
				p.Append(append([]byte(nil), batches[n%len(batches)]...), nil, ignore{})
				if n%5000 == 4999 { // memory is not what is measured
					b.StopTimer()
					if _, err := p.DeleteRecords(-1); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*count), "ns/record")
		})
	}
	b.Run("append-if", func(b *testing.B) {
		cfg := configOn(vfs.NewMemory())
		cfg.KeyIndex = true
		p, _ := open(b, cfg)
		defer p.Close()
		var last [10_000]int64
		for n := 0; b.Loop(); n++ {
			var key [16]byte
			k := n % len(last)
			binary.BigEndian.PutUint64(key[8:], uint64(k))
			condition := absent
			if n >= len(last) {
				condition = keyAt(last[k])
			}
			base, err := appendIf(p, keyed(string(key[:]), "value"), condition).wait()
			if err != nil {
				b.Fatal(err)
			}
			last[k] = base
		}
	})
}
