package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/runnel-go/runnel/record"
)

// recordLine is a record in JSON, as consume prints it and produce --from-json
// reads it. Reading returns exactly the bytes that were printed.
type recordLine struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	bodyLine
}

// bodyLine is a record without its position.
type bodyLine struct {
	Offset    int64        `json:"offset"`
	Timestamp jsonTime     `json:"timestamp"`
	Key       jsonText     `json:"key"`
	Value     jsonText     `json:"value"`
	Headers   []headerLine `json:"headers,omitempty"`
}

type headerLine struct {
	Key   jsonText `json:"key"`
	Value jsonText `json:"value"`
}

func bodyJSON(r record.Record) bodyLine {
	line := bodyLine{Offset: r.Offset, Timestamp: jsonTime(r.Timestamp), Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		line.Headers = append(line.Headers, headerLine{jsonText(h.Key), h.Value})
	}
	return line
}

// jsonText is bytes in JSON: a string for text, null for null, and an object
// with base64 for other bytes.
type jsonText []byte

// base64JSON is bytes that are not text.
type base64JSON struct {
	Base64 []byte `json:"base64"`
}

// MarshalJSON implements json.Marshaler.
func (t jsonText) MarshalJSON() ([]byte, error) {
	switch {
	case t == nil:
		return []byte("null"), nil
	case utf8.Valid(t):
		return marshal(string(t))
	}
	return marshal(base64JSON{t})
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *jsonText) UnmarshalJSON(b []byte) error {
	switch b[0] {
	case 'n':
		*t = nil
		return nil
	case '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*t = append(jsonText{}, s...)
		return nil
	case '{':
		var o struct {
			Base64 *[]byte `json:"base64"`
		}
		if err := strictly(b, &o); err == nil && o.Base64 != nil {
			*t = append(jsonText{}, *o.Base64...)
			return nil
		}
	}
	return fmt.Errorf(`%s is no key or value: write a string, null, or {"base64":"…"} for bytes that are no text; an object or a number as a string (jq's tojson)`, shortened(b))
}

// shortened returns the start of some JSON, for an error.
func shortened(b []byte) string {
	const enough = 40
	if len(b) > enough {
		return string(bytes.ToValidUTF8(b[:enough], nil)) + "…"
	}
	return string(b)
}

// jsonTime is a time in milliseconds, the precision of records. A year without
// four digits is written as milliseconds since 1970.
type jsonTime time.Time

// MarshalJSON implements json.Marshaler.
func (t jsonTime) MarshalJSON() ([]byte, error) {
	if time.Time(t).IsZero() {
		return []byte("null"), nil // the record has none
	}
	if y := time.Time(t).UTC().Year(); y < 0 || y > 9999 {
		return fmt.Append(nil, time.Time(t).UnixMilli()), nil
	}
	return marshal(stamp(time.Time(t)))
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *jsonTime) UnmarshalJSON(b []byte) error {
	var ms int64
	if json.Unmarshal(b, &ms) == nil && b[0] != 'n' {
		*t = jsonTime(time.UnixMilli(ms))
		return nil
	}
	var text string
	if json.Unmarshal(b, &text) == nil {
		if parsed, err := time.Parse(time.RFC3339Nano, text); err == nil {
			*t = jsonTime(parsed)
			return nil
		}
	}
	return fmt.Errorf("%s is no time: write it as 2026-05-01T12:00:00.000Z, or as milliseconds since 1970", shortened(b))
}

// stamp formats a time in milliseconds.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// parseRecord makes a record from a line of JSON. Partition is -1 if the line
// has none.
func parseRecord(line []byte) (record.Record, error) {
	var in struct {
		Topic     any             `json:"topic"`
		Offset    any             `json:"offset"`
		Partition *int32          `json:"partition"`
		Timestamp *jsonTime       `json:"timestamp"`
		Key       jsonText        `json:"key"`
		Value     json.RawMessage `json:"value"`
		Headers   []headerLine    `json:"headers"`
	}
	if err := strictly(line, &in); err != nil {
		return record.Record{}, err
	}
	if in.Value == nil {
		return record.Record{}, errors.New(`there is no "value" in it; that of a tombstone is null`)
	}
	r := record.Record{Partition: -1, Key: in.Key}
	if err := (*jsonText)(&r.Value).UnmarshalJSON(in.Value); err != nil {
		return record.Record{}, err
	}
	if in.Partition != nil {
		if r.Partition = *in.Partition; r.Partition < 0 {
			return record.Record{}, fmt.Errorf("there is no partition %d", r.Partition)
		}
	}
	if in.Timestamp != nil {
		r.Timestamp = time.Time(*in.Timestamp)
	}
	for _, h := range in.Headers {
		if h.Key == nil {
			return record.Record{}, errors.New("a header's key is not null")
		}
		r.Headers = append(r.Headers, record.Header{Key: string(h.Key), Value: h.Value})
	}
	return r, nil
}

// strictly reads one JSON value without unknown names, followed by nothing
// else.
func strictly(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("it ends before the object does")
		}
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	return nil
}

// marshal is json.Marshal without escaping for HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
