package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/runnel-go/runnel/topic"
)

// layouts are the ways of writing a time.
var layouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"}

// parseFrom parses a start position: start, end, an offset, a time, or how long
// ago. Times without a zone are local ones.
func parseFrom(text string, now time.Time) (topic.OffsetSpec, error) {
	switch strings.ToLower(text) {
	case "start", "earliest", "":
		return topic.Earliest(), nil
	case "end", "latest":
		return topic.Latest(), nil
	}
	if offset, err := strconv.ParseInt(text, 10, 64); err == nil {
		if offset < 0 {
			return topic.OffsetSpec{}, usageError{fmt.Errorf("there is no offset %d", offset)}
		}
		return topic.AtOffset(offset), nil
	}
	if ago, err := time.ParseDuration(strings.TrimPrefix(text, "-")); err == nil && ago >= 0 {
		return topic.AtTime(now.Add(-ago)), nil
	}
	for _, layout := range layouts {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return topic.AtTime(t), nil
		}
	}
	return topic.OffsetSpec{}, usageError{hinted{
		fmt.Errorf("%q is no place to start", text),
		"write start, end, an offset such as 42, a time such as 2026-05-01T12:00, or how long ago, such as 90m",
	}}
}
