package partition_test

import (
	"encoding/binary"
	"testing"

	"github.com/runnel-go/runnel/internal/turns"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// BenchmarkIndexOfKeys appends 64 batches of 100 records of 100 bytes with keys of 16 to a
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
	b.Run("append", func(b *testing.B) {
		var ways []turns.Way
		for _, c := range []struct {
			name       string
			index, use bool
		}{{"without", false, false}, {"unused", true, false}, {"used", true, true}} {
			cfg := configOn(vfs.NewMemory())
			cfg.KeyIndex = c.index
			cfg.Log.SegmentBytes = 8 << 20
			p, _ := open(b, cfg)
			defer p.Close()
			if c.use {
				if _, _, _, err := p.ReadKey(b.Context(), []byte("k"), 0, partition.ReadUncommitted, 1); err != nil {
					b.Fatal(err)
				}
			}
			ways = append(ways, turns.Way{Name: c.name, Do: func() {
				for _, batch := range batches {
					p.Append(append([]byte(nil), batch...), nil, ignore{})
				}
				if _, err := p.DeleteRecords(-1); err != nil { // memory is not what is measured
					b.Fatal(err)
				}
			}})
		}
		turns.Run(b, ways...)
	})
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
