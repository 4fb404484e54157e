package backendtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// compressions are all compressions that a producer may use.
var compressions = []record.Compression{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd}

// oddRecords are records at the limits of the format.
func oddRecords() []record.Record {
	return []record.Record{
		{Key: []byte("k"), Value: []byte("v")},
		{Key: nil, Value: []byte("no key")},
		{Key: []byte{}, Value: []byte{}},
		{Key: []byte("tombstone"), Value: nil},
		{},
		{Key: []byte("headers"), Value: []byte("v"), Headers: []record.Header{
			{Key: "a", Value: []byte("1")},
			{Key: "a", Value: []byte("2")},
			{Key: "null"},
			{Key: "empty", Value: []byte{}},
			{Key: "", Value: []byte("no name")},
			{Key: "ключ", Value: []byte("значение")},
		}},
		{Key: []byte("epoch"), Timestamp: time.UnixMilli(0)},
		{Key: []byte("later"), Timestamp: time.UnixMilli(1_700_000_000_123)},
		{Key: []byte("before"), Timestamp: time.UnixMilli(1_600_000_000_000)},
		{Key: []byte{0, 255}, Value: bytes.Repeat([]byte("這是第一條消息 "), 3000)},
	}
}

var recordTests = []test{
	{"come back as they were sent", func(s *suite) {
		for _, c := range compressions {
			name := s.topic(1, topic.Config{Retention: topic.Forever})
			p, w := s.writer(name, func(cfg *producer.Config) { cfg.Compression = c })
			sent := oddRecords()
			before := time.Now().Add(-time.Second)
			for _, r := range sent {
				r.Topic = name
				w.SendAsync(s.ctx, r, nil)
			}
			require.NoError(s, p.Flush(s.ctx))
			after := time.Now().Add(time.Second)
			for i, got := range s.fetch(s.assigned(name, 0), len(sent)) {
				want := sent[i]
				require.Equal(s, name, got.Topic)
				s.isAt(got.Position(), name, 0, i)
				require.Equal(s, want.Key, got.Key, "%s, record %d", c, i)
				require.Equal(s, want.Value, got.Value, "%s, record %d", c, i)
				require.Equal(s, len(want.Headers), len(got.Headers), "%s, record %d", c, i)
				for j, h := range want.Headers {
					require.Equal(s, h, got.Headers[j], "%s, record %d", c, i)
				}
				if want.Timestamp.IsZero() {
					require.WithinRange(s, got.Timestamp, before, after)
				} else {
					require.Equal(s, want.Timestamp.UnixMilli(), got.Timestamp.UnixMilli())
				}
			}
		}
	}},
	{"bear the time of their appending, where the topic says so", func(s *suite) {
		s.still()
		if !s.features.AppendTime {
			return
		}
		for _, c := range []record.Compression{record.None, record.Zstd} {
			name := s.topic(1, topic.Config{Timestamps: topic.LogAppendTime})
			p, w := s.writer(name, func(cfg *producer.Config) { cfg.Compression = c })
			before := time.Now().Add(-time.Second)
			for i := range 3 {
				r := record.Record{Topic: name, Value: []byte{byte(i)}, Timestamp: time.UnixMilli(1000)}
				w.SendAsync(s.ctx, r, nil)
			}
			require.NoError(s, p.Flush(s.ctx))
			for _, r := range s.fetch(s.assigned(name, 0), 3) {
				require.WithinRange(s, r.Timestamp, before, time.Now().Add(time.Second))
			}
			listed, err := s.ListOffsets(s.ctx, topic.AtTime(before), tp(name, 0))
			require.NoError(s, err)
			require.Equal(s, s.at(0), listed[tp(name, 0)].Offset)
		}
	}},
	{"belong to the caller again once they are sent", func(s *suite) {
		name := s.topic(1, topic.Config{})
		p, w := s.writer(name, func(cfg *producer.Config) { cfg.Linger = time.Hour })
		key, value, header := []byte("key0"), []byte("value0"), []byte("header0")
		r := record.Record{Topic: name, Key: key, Value: value, Headers: []record.Header{{Key: "h", Value: header}}}
		for i := range 10 {
			key[3], value[5], header[6] = byte('0'+i), byte('0'+i), byte('0'+i)
			w.SendAsync(s.ctx, r, nil)
		}
		clear(key)
		clear(value)
		clear(header)
		r.Headers[0].Key = "changed"
		require.NoError(s, p.Flush(s.ctx))
		for i, got := range s.fetch(s.assigned(name, 0), 10) {
			require.Equal(s, fmt.Sprintf("key%d value%d h header%d", i, i, i),
				fmt.Sprintf("%s %s %s %s", got.Key, got.Value, got.Headers[0].Key, got.Headers[0].Value))
		}
	}},
	{"stay valid while they are held", func(s *suite) {
		name := s.topic(1, topic.Config{})
		s.sendMany(name, 1, 3000)
		c := s.consumer(func(cfg *consumer.Config) { cfg.MaxRecords = 100 })
		require.NoError(s, c.Assign(s.ctx, tps(name, 0)))
		held := s.fetch(c, 3000)
		for i, r := range held {
			require.Equal(s, fmt.Sprint(i), string(r.Value))
		}
	}},
	{"are read into buffers that are used again, where asked for", func(s *suite) {
		name := s.topic(1, topic.Config{})
		s.sendMany(name, 1, 3000)
		c := s.consumer(func(cfg *consumer.Config) { cfg.MaxRecords, cfg.ReuseBuffers = 100, true })
		require.NoError(s, c.Assign(s.ctx, tps(name, 0)))
		var dst []record.Record
		for next := 0; next < 3000; {
			got, err := c.Fetch(s.ctx, consumer.UntilDone, dst)
			require.NoError(s, err)
			for _, r := range got.Records {
				require.Equal(s, fmt.Sprint(next), string(r.Value))
				next++
			}
			dst = got.Records
			c.Release(got.Lease)
		}
	}},
	{"may be as large as the topic allows, and not larger", func(s *suite) {
		name := s.topic(1, topic.Config{MaxMessageBytes: 200_000})
		_, w := s.writer(name)
		random := make([]byte, 300_000)
		for i := range random {
			random[i] = byte(rand.Uint32())
		}
		_, err := w.Send(s.ctx, record.Record{Topic: name, Value: random[:199_000]})
		require.NoError(s, err)
		_, err = w.Send(s.ctx, record.Record{Topic: name, Value: random})
		require.ErrorIs(s, err, fault.RecordTooLarge)
		_, err = w.Send(s.ctx, record.Record{Topic: name, Value: []byte("small")})
		require.NoError(s, err)
		got := s.fetch(s.assigned(name, 0), 2)
		require.True(s, bytes.Equal(random[:199_000], got[0].Value))
		require.Equal(s, "small", string(got[1].Value))
	}},
	{"larger than what a consumer fetches at once still come", func(s *suite) {
		name := s.topic(1, topic.Config{})
		large := strings.Repeat("large ", 100_000)
		s.send(name, 0, large, "small", large)
		c := s.consumer(func(cfg *consumer.Config) { cfg.MaxBytes = 1000 })
		require.NoError(s, c.Assign(s.ctx, tps(name, 0)))
		require.Equal(s, []string{large, "small", large}, values(s.fetch(c, 3)))
	}},
}
