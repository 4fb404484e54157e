package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// odd are records with everything that a record may have.
func odd() []record.Record {
	at := time.UnixMilli(1_700_000_000_123)
	return []record.Record{
		{Timestamp: at, Value: []byte("plain")},
		{Timestamp: at, Key: []byte("tombstone")},
		{Timestamp: at, Key: []byte{}, Value: []byte{}},
		{Timestamp: at, Partition: 2, Key: []byte("\xff\x00\x1b"), Value: []byte("\xed\xa0\x80 is no text")},
		{Timestamp: at, Partition: 1, Value: []byte("<a>&\"\\\u2028\u0000\ufffd 这是第一条消息\n")},
		{Timestamp: time.UnixMilli(0), Partition: 1, Value: []byte(`{"base64":"YQ=="}`), Key: []byte("null")},
		{Timestamp: time.UnixMilli(253402300800_000), Partition: 1, Value: []byte("in the year 10000")},
		{Timestamp: at.Add(-time.Hour), Partition: 2, Value: []byte("v"), Headers: []record.Header{
			{Key: "twice", Value: []byte("1")},
			{Key: "twice", Value: []byte("2")},
			{Key: "", Value: nil},
			{Key: "empty", Value: []byte{}},
			{Key: "\xff", Value: []byte("\xfe")},
		}},
	}
}

// What consume prints into a pipe, produce --from-json writes as it was.
func TestConsumeAndProduce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	b, err := runnel.Open(dir)
	require.NoError(t, err)
	_, err = topic.Ensure(t.Context(), b, topic.Spec{Name: "from", Partitions: 3}, topic.Spec{Name: "to", Partitions: 3})
	require.NoError(t, err)
	p, err := producer.New(b, producer.Partitioner(topic.ManualPartitioner))
	require.NoError(t, err)
	for _, r := range odd() {
		r.Topic = "from"
		_, err := p.Send(t.Context(), r)
		require.NoError(t, err)
	}
	require.NoError(t, p.Close())
	require.NoError(t, b.Close())

	shell := func(in *os.File, out io.Writer, args ...string) {
		t.Helper()
		root := newRoot(&shell{in: in, out: out, errs: io.Discard})
		root.SetArgs(append(args, "--at", dir))
		require.NoError(t, root.ExecuteContext(t.Context()))
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "records"))
	require.NoError(t, err)
	defer file.Close()
	shell(nil, file, "consume", "from")
	_, err = file.Seek(0, io.SeekStart)
	require.NoError(t, err)
	shell(file, io.Discard, "produce", "to", "--from-json")

	b, err = runnel.Open(dir)
	require.NoError(t, err)
	defer b.Close()
	all := func(name string) (list []record.Record) {
		c, err := consumer.New(b, consumer.Assign(record.TopicPartition{Topic: name}, record.TopicPartition{Topic: name, Partition: 1}, record.TopicPartition{Topic: name, Partition: 2}))
		require.NoError(t, err)
		defer c.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		byPartition := make([][]record.Record, 3)
		for r, err := range c.Records(ctx) {
			require.NoError(t, err)
			r.Topic, r.LeaderEpoch = "", 0
			byPartition[r.Partition] = append(byPartition[r.Partition], r.Clone())
			if list = append(list, r); len(list) == len(odd()) {
				break
			}
		}
		list = nil
		for _, records := range byPartition {
			list = append(list, records...)
		}
		return list
	}
	require.Equal(t, all("from"), all("to"))
}

// What cannot be a record says why.
func TestParseRecord(t *testing.T) {
	for line, want := range map[string]string{
		``:                 "it ends before the object does",
		`{"value":"a"`:     "it ends before the object does",
		`{"value":"a"} {}`: "something follows the object",
		`{"key":"a"}`:      `there is no "value" in it; that of a tombstone is null`,
		`{"headers":[{"key":"value","value":"value"}]}`: `there is no "value" in it; that of a tombstone is null`,
		`{"vale":"a"}`:                                      `unknown field "vale"`,
		`{"value":7}`:                                       "7 is no key or value",
		`{"value":{"base64":7}}`:                            "is no key or value",
		`{"value":{}}`:                                      "{} is no key or value",
		`{"value":{"base64":"YQ","x":1}}`:                   "is no key or value",
		`{"value":"a","partition":-1}`:                      "there is no partition -1",
		`{"value":"a","timestamp":"now"}`:                   `"now" is no time`,
		`{"value":"a","headers":[{"key":null,"value":""}]}`: "a header's key is not null",
		`["a"]`: "cannot unmarshal array",
	} {
		_, err := parseRecord([]byte(line))
		require.ErrorContains(t, err, want, line)
	}
	r, err := parseRecord([]byte(`{"value":null,"key":"a","timestamp":null,"offset":7,"topic":"elsewhere"}`))
	require.NoError(t, err)
	require.Equal(t, record.Record{Partition: -1, Key: []byte("a")}, r)
}

// Any record is the same after it was printed and read.
func FuzzRecordJSON(f *testing.F) {
	for _, r := range odd() {
		f.Add(r.Key, r.Value, r.Timestamp.UnixMilli(), "header", r.Value, r.Key == nil, r.Value == nil)
	}
	f.Fuzz(func(t *testing.T, key, value []byte, ms int64, header string, headerValue []byte, noKey, noValue bool) {
		at := time.UnixMilli(ms)
		if at.IsZero() {
			at = time.UnixMilli(0)
		}
		r := record.Record{Timestamp: at, Key: append([]byte{}, key...), Value: append([]byte{}, value...), Headers: []record.Header{{Key: header, Value: append([]byte{}, headerValue...)}}}
		if noKey {
			r.Key = nil
		}
		if noValue {
			r.Value = nil
		}
		var out bytes.Buffer
		require.NoError(t, (&shell{out: &out}).show(r, false, decoders["text"]))
		require.True(t, strings.HasSuffix(out.String(), "\n"))
		require.True(t, json.Valid(out.Bytes()))
		got, err := parseRecord(bytes.TrimSuffix(out.Bytes(), []byte("\n")))
		require.NoError(t, err)
		require.Equal(t, r.Timestamp.UnixMilli(), got.Timestamp.UnixMilli())
		r.Timestamp, got.Timestamp = time.Time{}, time.Time{}
		require.Equal(t, r, got)
	})
}
