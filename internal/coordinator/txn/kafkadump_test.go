package txn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/kafkadump"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// TestKafkaReadsTheRecords: Kafka's tool reads the record of every state, and passes over the
// tagged fields that it does not know.
func TestKafkaReadsTheRecords(t *testing.T) {
	w := newWorld(t)
	w.ends = func(tp record.TopicPartition) End { return End{topic.ID{0xaa, 15: 0xbb}, 40 + int64(tp.Partition)} }
	var records []kafkadump.Record
	wrote := func(name string, r Result, err error) {
		require.NoError(t, err)
		w.took(r)
		require.Len(t, r.Records, 1)
		records = append(records, kafkadump.Record{Name: name, Key: r.Records[0].Key, Value: r.Records[0].Value})
	}
	orders := []record.TopicPartition{{Topic: "orders"}, {Topic: "orders", Partition: 2}, {Topic: topic.ConsumerOffsets, Partition: 1}}
	complete := func(name string, durable bool) {
		t.Helper()
		r, err := w.c.Complete(w.c.Undone()[0], durable, w.now)
		wrote(name, r, err)
	}
	shop, r, err := w.c.Init("shop", time.Minute, w.newID(), w.now)
	wrote("a new producer", r, err)
	r, err = w.c.Add("shop", shop, orders, w.now)
	wrote("a transaction", r, err)
	shop, r, err = w.c.End("shop", shop, true, w.newID(), w.ends, w.now)
	wrote("a decision to commit, with the ends of its logs in tagged field 1000", r, err)
	complete("a committed transaction, whose markers may be lost, in tagged field 1001", false)
	r, err = w.c.Add("shop", shop, orders[:1], w.now)
	wrote("the next one, behind it", r, err)
	_, r, err = w.c.End("shop", shop, true, w.newID(), w.ends, w.now)
	wrote("its decision, with both fields", r, err)
	complete("and its end, with markers that are durable", true)

	v := *w.c.ids["shop"]
	v.Epoch = lastEpoch
	r, err = w.c.set("shop", v, w.now)
	wrote("a producer with its last epoch", r, err)
	r, err = w.c.Add("shop", v.Identity, orders[:1], w.now)
	wrote("its last transaction", r, err)
	_, r, err = w.c.End("shop", v.Identity, false, w.newID(), nil, w.now)
	wrote("a decision to abort, with the next producer ID", r, err)
	complete("an aborted transaction, with the former producer ID", true)
	w.now = w.now.Add(8 * 24 * time.Hour)
	r, err = w.c.Forget(time.Hour, func(*Ending) bool { return true }, w.now)
	wrote("a forgotten ID", r, err)
	kafkadump.Records(t, "testdata/kafkadump.txt", "--transaction-log-decoder", records)
}
