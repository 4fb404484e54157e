package runnel

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// lies are batches of three offsets whose checksum fits, and whose inside does
// not.
func lies(t *testing.T) map[string][]byte {
	t.Helper()
	codec := record.NewCodec(0)
	sealed := func(h record.BatchHeader, payload []byte) []byte {
		h.LastOffsetDelta, h.LeaderEpoch = 2, record.NoLeaderEpoch
		h.ProducerID, h.ProducerEpoch, h.BaseSequence = record.NoProducerID, record.NoProducerEpoch, record.NoSequence
		if h.Count == 0 {
			h.Count = 3
		}
		return record.Seal(append(make([]byte, record.HeaderLen), payload...), h).Bytes
	}
	records := func(deltas ...int32) (payload []byte) {
		for _, d := range deltas {
			at := len(payload)
			payload = append(payload, make([]byte, record.Size(d, 0, []byte("k"), []byte("value"), nil))...)
			record.Put(payload[at:], d, 0, []byte("k"), []byte("value"), nil)
		}
		return payload
	}
	whole := records(0, 1, 2)
	all := map[string][]byte{
		"fewer records than it says": sealed(record.BatchHeader{}, records(0, 1)),
		"more records than it says":  sealed(record.BatchHeader{}, records(0, 1, 2, 3)),
		"an offset twice":            sealed(record.BatchHeader{}, records(0, 0, 1)),
		"an offset beyond the last":  sealed(record.BatchHeader{}, records(0, 1, math.MaxInt32)),
		"a negative offset":          sealed(record.BatchHeader{}, records(-1, 0, 1)),
		"a length of 2^31-1":         sealed(record.BatchHeader{}, slices.Concat([]byte{0xfe, 0xff, 0xff, 0xff, 0x0f}, whole)),
		"a length that never ends":   sealed(record.BatchHeader{}, slices.Concat(slices.Repeat([]byte{0xff}, 20), whole)),
		"a negative length":          sealed(record.BatchHeader{}, slices.Concat([]byte{1}, whole)),
		"2^30 headers":               sealed(record.BatchHeader{}, slices.Concat([]byte{24, 0, 0, 0, 1, 1, 0x80, 0x80, 0x80, 0x80, 8, 0, 0}, whole)),
		"only zeros":                 sealed(record.BatchHeader{}, make([]byte, 100)),
		"records that are cut short": sealed(record.BatchHeader{}, whole[:len(whole)-1]),
		"garbage behind the records": sealed(record.BatchHeader{}, append(slices.Clone(whole), 7)),
	}
	for _, c := range []record.Compression{record.Gzip, record.Snappy, record.LZ4, record.Zstd} {
		packed, err := codec.Compress(nil, c, 0, make([]byte, record.DefaultMaxDecompressed+1<<20))
		require.NoError(t, err)
		all["a bomb in "+c.String()] = sealed(record.BatchHeader{Attributes: int16(c)}, packed)
		all["no "+c.String()+" at all"] = sealed(record.BatchHeader{Attributes: int16(c)}, whole)
		packed, err = codec.Compress(nil, c, 0, records(0, 1))
		require.NoError(t, err)
		all["fewer records than it says, in "+c.String()] = sealed(record.BatchHeader{Attributes: int16(c)}, packed)
	}
	return all
}

// TestLyingBatches: whatever a batch says of itself, a consumer gets what is
// before it, one error that names the place and the way on, and what is behind
// it, within bounded memory.
func TestLyingBatches(t *testing.T) {
	for name, lie := range lies(t) {
		t.Run(name, func(t *testing.T) {
			b := memoryBroker(t)
			require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "a", Config: topic.Config{MaxMessageBytes: 16 << 20}}))
			b.send("a", 0, "before")
			p, err := b.host.Partition(record.TopicPartition{Topic: "a"})
			require.NoError(t, err)
			require.NoError(t, p.AppendAwait(lie))
			b.send("a", 0, "behind")

			c := b.consumer(consumer.Assign(tps("a", 0)...))
			got := []string{}
			var failed error
			allocated := allocatedBy(func() {
				for failed == nil {
					var records []record.Record
					records, failed = c.Poll(t.Context())
					for _, r := range records {
						got = append(got, string(r.Value))
					}
				}
			})
			require.Less(t, allocated, uint64(20*record.DefaultMaxDecompressed), "of a buffer that grows, in sum, and twice")
			require.Equal(t, "before", got[0])
			require.NotContains(t, got, "behind")
			require.Contains(t, []fault.Code{fault.Undecodable, fault.ExpandsTooFar}, fault.CodeOf(failed), "no damage: the checksum holds")
			var e *fault.Error
			require.ErrorAs(t, failed, &e)
			require.Equal(t, []any{"a", int32(0)}, []any{e.Topic, e.Partition})
			require.GreaterOrEqual(t, e.Offset, int64(1))
			require.Less(t, e.Offset, int64(4))
			require.Contains(t, e.Hint, "Seek to offset 4")
			require.Empty(t, b.poke(c), "told once")
			require.NoError(t, c.Seek(t.Context(), tps("a", 0)[0], 4))
			require.Equal(t, []string{"behind"}, b.poll(c, 1))
		})
	}
}

// allocatedBy returns how many bytes were allocated while f ran.
func allocatedBy(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestTopicNames: a name of any shape is refused by a typed error, or is a
// directory below the broker's own; nothing else is ever made.
func TestTopicNames(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(filepath.Join(dir, "data"))
	require.NoError(t, err)
	defer b.Close()
	refused := []string{
		"", ".", "..", "a/b", "../a", "/etc", `a\b`, `..\a`, "a\x00b", "\x00", "a b", " a", "a ", "a\n", "a\t", "a:b", "a*", "a?", `"a"`, "<a>", "a|b",
		"а" /* Cyrillic */, "ａ" /* full width */, "a\u0301", "ﬁ", "\u212a" /* Kelvin */, "\u017f" /* long s */, "a\u200b", "\u202ea", "a\xff", "\xc0\xaf", "日本",
		strings.Repeat("n", 250), strings.Repeat("n", 300), strings.Repeat("n", 1<<16), "%2e%2e", "~", "$HOME", "`a`", "a;b", "-\x00",
		topic.ClusterMetadata, topic.ConsumerOffsets, topic.TransactionState, topic.ShareGroupState,
	}
	for _, name := range refused {
		err := b.CreateTopics(t.Context(), topic.Spec{Name: name})
		require.ErrorIs(t, err, fault.InvalidTopic, "%q", name)
		require.Less(t, len(err.Error()), 400)
		_, err = b.DescribeTopics(t.Context(), name)
		require.ErrorIs(t, err, fault.UnknownTopic, "%q", name)
	}
	accepted := []string{
		"CON", "NUL", "aux.txt", "com1", "a.", "a..", "...", "-", "--", "-a", "_", "a-0", "orders-0.0123456789abcdef0123456789abcdef-delete",
		"orders-0.0123456789abcdef0123456789abcdef-stray", ".lock", ".kafka_cleanshutdown", "partition.metadata", "a-1-2", "__mine", strings.Repeat("n", 249),
	}
	for _, name := range accepted {
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: name}), name)
		require.ErrorIs(t, b.CreateTopics(t.Context(), topic.Spec{Name: name}), fault.TopicExists, name)
	}
	require.ErrorIs(t, b.CreateTopics(t.Context(), topic.Spec{Name: "-0"}, topic.Spec{Name: "a/b"}), fault.InvalidTopic, "all or none")
	require.ErrorIs(t, b.CreateTopics(t.Context(), topic.Spec{Name: "a_"}), fault.InvalidTopic, "collides with a.")

	entries, err := os.ReadDir(filepath.Join(dir, "data"))
	require.NoError(t, err)
	for _, e := range entries {
		tp, _, ok := layout.Parse(e.Name())
		own := e.Name() == layout.LockFile || e.Name() == layout.ReserveFile || e.Name() == attach.SocketName || ok && tp == layout.Catalogue
		require.True(t, own || ok && slices.Contains(accepted, tp.Topic), e.Name())
	}
	outside, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, outside, 1)

	require.NoError(t, b.Close())
	again, err := Open(filepath.Join(dir, "data"))
	require.NoError(t, err)
	require.Empty(t, again.Recovery().Orphans)
	require.Empty(t, again.Recovery().Missing)
	require.Empty(t, again.Recovery().Removed)
	names, err := again.Topics(t.Context())
	require.NoError(t, err)
	slices.Sort(accepted)
	require.Equal(t, accepted, names)
	require.NoError(t, again.Close())
}

// TestExtremeRecords goes to what a record can be.
func TestExtremeRecords(t *testing.T) {
	b := memoryBroker(t)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "a", Config: topic.Config{MaxMessageBytes: 64 << 20}}, topic.Spec{Name: "small"}))
	p, err := producer.New(b)
	require.NoError(t, err)
	defer p.Close()
	million := make([]record.Header, 1_000_000)
	for i := range million {
		million[i] = record.Header{Key: "h", Value: []byte{byte(i)}}
	}
	records := []record.Record{
		{},
		{Key: []byte{}, Value: []byte{}},
		{Key: []byte{}},
		{Value: []byte{}},
		{Headers: []record.Header{{}}},
		{Headers: []record.Header{{Key: "h", Value: []byte{}}}},
		{Key: make([]byte, 10<<20)},
		{Headers: million},
	}
	for i, r := range records {
		r.Topic = "a"
		_, err := p.Send(t.Context(), r)
		require.NoError(t, err, "record %d", i)
	}
	_, err = p.Send(t.Context(), record.Record{Topic: "small", Headers: million})
	require.ErrorIs(t, err, fault.RecordTooLarge)
	_, err = p.Send(t.Context(), record.Record{Topic: "small", Value: make([]byte, 2<<20)})
	require.ErrorIs(t, err, fault.RecordTooLarge)

	c := b.consumer(consumer.Assign(tps("a", 0)...))
	for i := 0; i < len(records); {
		got, err := c.Poll(t.Context())
		require.NoError(t, err)
		for _, r := range got {
			want := records[i]
			require.Equal(t, want.Key == nil, r.Key == nil, "null is not empty: record %d", i)
			require.Equal(t, want.Value == nil, r.Value == nil, "null is not empty: record %d", i)
			require.Len(t, r.Key, len(want.Key))
			require.Len(t, r.Headers, len(want.Headers))
			for h := range want.Headers {
				if r.Headers[h].Key != want.Headers[h].Key || string(r.Headers[h].Value) != string(want.Headers[h].Value) {
					t.Fatalf("record %d, header %d: %v", i, h, r.Headers[h])
				}
			}
			i++
		}
	}
}

// FuzzDirectory opens a data directory in which the files beside the records hold
// anything: the broker opens, or says by a typed error why not, and the
// records of a topic that it serves are all there.
func FuzzDirectory(f *testing.F) {
	fsys := vfs.NewMemory()
	b, err := openFixture(fsys)
	require.NoError(f, err)
	require.NoError(f, b.CreateTopics(f.Context(), topic.Spec{Name: "orders"}, topic.Spec{Name: "visits", Partitions: 4}))
	settleSnapshot(b)
	file := func(name string) []byte {
		text, err := vfs.ReadFile(fsys, filepath.Join("/srv/data", name), 1<<20)
		require.NoError(f, err)
		return text
	}
	snapshot := b.metadata.Newest().FileName()
	segment := "__cluster_metadata-0/00000000000000000000.log"
	f.Add(file("orders-0/partition.metadata"), file("__cluster_metadata-0/"+snapshot), file(segment), []byte("x"))
	f.Add([]byte("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA\n"), []byte(nil), file(segment)[:100], []byte(nil))
	f.Add([]byte("\x00"), file("__cluster_metadata-0/" + snapshot)[:83], []byte(nil), []byte("version: 1"))
	original := map[string][]byte{}
	require.NoError(f, b.Close())
	for _, e := range must(fsys.ReadDir("/srv/data/__cluster_metadata-0")) {
		original["__cluster_metadata-0/"+e.Name] = file("__cluster_metadata-0/" + e.Name)
	}
	original["orders-0/partition.metadata"] = file("orders-0/partition.metadata")
	f.Fuzz(func(t *testing.T, owner, snapped, catalogued, clean []byte) {
		fsys := vfs.NewMemory()
		put := func(name string, text []byte) {
			path := filepath.Join("/srv/data", name)
			require.NoError(t, fsys.MkdirAll(filepath.Dir(path)))
			require.NoError(t, vfs.WriteFile(fsys, path, text))
		}
		for name, text := range original {
			put(name, text)
		}
		put("orders-0/partition.metadata", owner)
		put("__cluster_metadata-0/"+catalogue.SnapshotID{Offset: int64(len(snapped) % 20)}.FileName(), resealed(snapped))
		if len(clean)%2 == 0 {
			put(layout.CleanFile, clean)
		}
		if len(clean)%3 == 0 {
			put(segment, resealed(catalogued))
		}
		b, err := openFixture(fsys)
		if err != nil {
			require.NotEqual(t, fault.Unknown, fault.CodeOf(err), err)
			return
		}
		defer func() { require.NoError(t, b.Close()) }()
		names, err := b.Topics(t.Context())
		require.NoError(t, err)
		for _, name := range names {
			if _, err := b.host.Topic(name); err != nil {
				require.NotEqual(t, fault.Unknown, fault.CodeOf(err), err)
			}
		}
		err = b.CreateTopics(t.Context(), topic.Spec{Name: fmt.Sprint("new-", len(owner))})
		if err != nil {
			require.NotEqual(t, fault.Unknown, fault.CodeOf(err), err)
		}
	})
}

// resealed gives every batch the checksum that it should have.
func resealed(b []byte) []byte {
	b = slices.Clone(b)
	for rest := b; len(rest) >= record.HeaderLen; {
		h, err := record.ParseHeader(rest)
		if err != nil || h.Size() > len(rest) {
			break
		}
		record.Seal(rest[:h.Size()], h)
		rest = rest[h.Size():]
	}
	return b
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestMaxExpandedBatch: what a batch may expand to is a setting, and beyond it
// there is an error that says so, which is no damage.
func TestMaxExpandedBatch(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for _, allowed := range []int{0, 999_999, 1_000_100} {
		raw, err := Open(dir, MaxExpandedBatch(allowed), DefaultDurability(topic.OS))
		b := newTestBroker(t, raw, err)
		if allowed == 0 {
			b.create("a", 1)
			p, err := producer.New(b, producer.Compression(record.Zstd))
			require.NoError(t, err)
			_, err = p.Send(t.Context(), record.Record{Topic: "a", Value: make([]byte, 1_000_000)})
			require.NoError(t, err)
			require.NoError(t, p.Close())
		}
		c := b.consumer(consumer.Assign(tps("a", 0)...))
		records, err := c.Poll(t.Context())
		if allowed == 999_999 {
			require.ErrorIs(t, err, fault.ExpandsTooFar)
			require.NotErrorIs(t, err, fault.CorruptMessage)
			require.ErrorContains(t, err, "MaxExpandedBatch allows more; Seek to offset 1 to continue behind the batch")
		} else {
			require.NoError(t, err)
			require.Len(t, records[0].Value, 1_000_000)
		}
		require.NoError(t, b.Close())
	}
	_, err := OpenMemory(MaxExpandedBatch(-1))
	require.ErrorIs(t, err, fault.InvalidConfig)
}
