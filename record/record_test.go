package record_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/record"
)

func TestCloneSharesNothing(t *testing.T) {
	r := record.Record{
		Topic: "orders", Key: []byte("k"), Value: []byte{},
		Headers: []record.Header{{Key: "trace", Value: []byte("1")}, {Key: "none"}},
	}
	c := r.Clone()
	require.Equal(t, r, c)
	r.Key[0], r.Headers[0].Value[0], r.Headers[1].Key = 'x', 'x', "x"
	require.Equal(t, "k", string(c.Key))
	require.Equal(t, "1", string(c.Headers[0].Value))
	require.Equal(t, "none", c.Headers[1].Key)

	tombstone := record.Record{Key: []byte("k")}.Clone()
	require.Nil(t, tombstone.Value)
	require.Nil(t, tombstone.Headers)
}

func TestHeaderIsTheLastOfItsKey(t *testing.T) {
	r := record.Record{Headers: []record.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "null"}}}
	v, ok := r.Header("a")
	require.True(t, ok)
	require.Equal(t, "2", string(v))
	v, ok = r.Header("null")
	require.True(t, ok)
	require.Nil(t, v)
	_, ok = r.Header("b")
	require.False(t, ok)
}

func TestPlaces(t *testing.T) {
	r := record.Record{Topic: "orders", Partition: 3, Offset: 1042}
	at := r.Position()
	require.Equal(t, "orders-3@1042", at.String())
	require.Equal(t, "orders-3", at.TopicPartition().String())

	sorted := []record.TopicPartition{{Topic: "a", Partition: 2}, {Topic: "a", Partition: 10}, {Topic: "b", Partition: 0}}
	for i := range sorted {
		for j := range sorted {
			sign := sorted[i].Compare(sorted[j])
			require.Equal(t, i < j, sign < 0)
			require.Equal(t, i > j, sign > 0)
		}
	}
}

func TestCompressionNames(t *testing.T) {
	for c, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		require.Equal(t, name, record.Compression(c).String())
		got, err := record.ParseCompression(name)
		require.NoError(t, err)
		require.Equal(t, record.Compression(c), got)
	}
	require.Equal(t, "compression 7", record.Compression(7).String())
	_, err := record.ParseCompression("GZIP")
	require.EqualError(t, err, `the compression is not one of none, gzip, snappy, lz4, zstd: "GZIP"`)
}
