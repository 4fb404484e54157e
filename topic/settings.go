package topic

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/runnel-go/runnel/fault"
)

// Entry is one setting as text: Kafka's name and Kafka's value.
type Entry struct {
	Name, Value string
}

// String returns Kafka's spelling, such as retention.ms=86400000.
func (e Entry) String() string { return e.Name + "=" + e.Value }

// setting ties one of Kafka's names to a field. get returns the field as text,
// empty if it is zero. set parses text into it. unset makes it zero.
type setting struct {
	name  string
	get   func(c *Config) string
	set   func(c *Config, value string) error
	unset func(c *Config)
}

// settings holds every setting, sorted by name.
var settings = []setting{
	choice("cleanup.policy", func(c *Config) *Cleanup { return &c.Cleanup },
		"delete", Delete, "compact", Compact, "compact,delete", CompactDelete, "delete,compact", CompactDelete),
	millis("delete.retention.ms", func(c *Config) *time.Duration { return &c.DeleteRetention }),
	millis("max.compaction.lag.ms", func(c *Config) *time.Duration { return &c.MaxCompactionLag }),
	number("max.message.bytes", func(c *Config) *int { return &c.MaxMessageBytes }),
	unsignedMillis("message.timestamp.after.max.ms", func(c *Config) *time.Duration { return &c.TimestampAfter }),
	unsignedMillis("message.timestamp.before.max.ms", func(c *Config) *time.Duration { return &c.TimestampBefore }),
	choice("message.timestamp.type", func(c *Config) *TimestampType { return &c.Timestamps },
		"CreateTime", CreateTime, "LogAppendTime", LogAppendTime),
	ratio("min.cleanable.dirty.ratio", func(c *Config) *float64 { return &c.MinCleanableRatio }),
	millis("min.compaction.lag.ms", func(c *Config) *time.Duration { return &c.MinCompactionLag }),
	number("min.insync.replicas", func(c *Config) *int { return &c.MinReplicas }),
	number("retention.bytes", func(c *Config) *int64 { return &c.RetentionBytes }),
	millis("retention.ms", func(c *Config) *time.Duration { return &c.Retention }),
	choice("runnel.durability", func(c *Config) *Durability { return &c.Durability },
		"default", DefaultDurability, "memory", Memory, "os", OS, "fsync", Fsync),
	choice("runnel.key.index", func(c *Config) *bool { return &c.KeyIndex }, "false", false, "true", true),
	number("segment.bytes", func(c *Config) *int64 { return &c.SegmentBytes }),
	millis("segment.ms", func(c *Config) *time.Duration { return &c.SegmentAge }),
}

// SettingNames returns the names that Set accepts, sorted.
func SettingNames() []string {
	names := make([]string, len(settings))
	for i, s := range settings {
		names[i] = s.name
	}
	return names
}

// Entries returns the fields that are set as Kafka's names and values, sorted
// by name, like the output of kafka-configs.sh. Setting them all on a zero
// Config results in c.
func (c Config) Entries() []Entry {
	var entries []Entry
	for _, s := range settings {
		if v := s.get(&c); v != "" {
			entries = append(entries, Entry{s.name, v})
		}
	}
	return entries
}

// Set sets the field that Kafka calls name from Kafka's value for it. An
// unknown setting, or one of Kafka's without a meaning here, is
// fault.InvalidConfig with a hint about what to do. Set does not look at other
// fields; see Validate.
func (c *Config) Set(name, value string) error {
	s, err := find(name)
	if err != nil {
		return err
	}
	return s.set(c, strings.TrimSpace(value))
}

// Unset gives the field that Kafka calls name its default; errors are those of
// Set.
func (c *Config) Unset(name string) error {
	s, err := find(name)
	if err != nil {
		return err
	}
	s.unset(c)
	return nil
}

// find returns the setting of that name, or an error with suggestions.
func find(name string) (setting, error) {
	for _, s := range settings {
		if s.name == name {
			return s, nil
		}
	}
	if hint, ok := foreign(name); ok {
		return setting{}, fault.Newf(fault.InvalidConfig, "%s is a setting of Kafka's that does nothing here", name).Try(hint)
	}
	names := SettingNames()
	err := fault.Newf(fault.InvalidConfig, "there is no setting %q", name)
	if near := Nearest(name, names); len(near) > 0 {
		return setting{}, err.Try("did you mean " + strings.Join(near, " or ") + "?")
	}
	return setting{}, err.Try("the settings are " + strings.Join(names, ", "))
}

// foreign returns what to do instead of using a setting that only Kafka has.
func foreign(name string) (hint string, ok bool) {
	switch name {
	case "compression.type", "compression.gzip.level", "compression.lz4.level", "compression.zstd.level":
		return "batches are kept as the producer compressed them", true
	case "flush.messages", "flush.ms":
		return "runnel.durability=memory, os or fsync says when records are on disk", true
	case "message.timestamp.difference.max.ms":
		return "message.timestamp.before.max.ms and message.timestamp.after.max.ms took its place in Kafka 3.6", true
	case "unclean.leader.election.enable":
		return "a replica that may lack records is never elected", true
	case "follower.replication.throttled.replicas", "leader.replication.throttled.replicas",
		"remote.storage.enable", "remote.log.copy.disable", "remote.log.delete.on.disable",
		"local.retention.bytes", "local.retention.ms",
		"file.delete.delay.ms", "index.interval.bytes", "preallocate", "segment.index.bytes", "segment.jitter.ms",
		"message.downconversion.enable", "message.format.version",
		"errors.deadletterqueue.group.enable":
		return "leave it out", true
	}
	return "", false
}

func millis(name string, at func(*Config) *time.Duration) setting {
	return setting{
		name,
		func(c *Config) string {
			switch d := *at(c); d {
			case 0:
				return ""
			case Forever:
				return "-1"
			default:
				return strconv.FormatInt(d.Milliseconds(), 10)
			}
		},
		func(c *Config, value string) error {
			ms, err := strconv.ParseInt(value, 10, 64)
			switch {
			case err != nil:
				return badValue(name, value, "a number of milliseconds, or -1 for no limit")
			case ms == -1, ms > math.MaxInt64/int64(time.Millisecond):
				// Kafka also writes "no limit" as the largest number.
				*at(c) = Forever
			case ms < 0, ms == 0 && name != "min.compaction.lag.ms":
				return badValue(name, value, "1 or more milliseconds, or -1 for no limit")
			default:
				*at(c) = time.Duration(ms) * time.Millisecond
			}
			return nil
		},
		func(c *Config) { *at(c) = 0 },
	}
}

// unsignedMillis is millis for a setting that does not allow Kafka's -1: no
// limit is the largest number.
func unsignedMillis(name string, at func(*Config) *time.Duration) setting {
	s := millis(name, at)
	get := s.get
	s.get = func(c *Config) string {
		if *at(c) == Forever {
			return strconv.FormatInt(math.MaxInt64, 10)
		}
		return get(c)
	}
	return s
}

func number[N int | int64](name string, at func(*Config) *N) setting {
	return setting{
		name,
		func(c *Config) string {
			if *at(c) == 0 {
				return ""
			}
			return strconv.FormatInt(int64(*at(c)), 10)
		},
		func(c *Config, value string) error {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n == 0 || int64(N(n)) != n {
				return badValue(name, value, "a number other than 0")
			}
			*at(c) = N(n)
			return nil
		},
		func(c *Config) { *at(c) = 0 },
	}
}

func ratio(name string, at func(*Config) *float64) setting {
	return setting{
		name,
		func(c *Config) string {
			if *at(c) == 0 {
				return ""
			}
			return strconv.FormatFloat(*at(c), 'g', -1, 64)
		},
		func(c *Config, value string) error {
			f, err := strconv.ParseFloat(value, 64)
			if err != nil || !(f > 0 && f <= 1) {
				return badValue(name, value, "a number above 0 and up to 1")
			}
			*at(c) = f
			return nil
		},
		func(c *Config) { *at(c) = 0 },
	}
}

// choice ties a setting to words. If two words have the same value, the first
// is printed.
func choice[V comparable](name string, at func(*Config) *V, words ...any) setting {
	return setting{
		name,
		func(c *Config) string {
			var zero V
			if *at(c) == zero {
				return ""
			}
			for i := 0; i < len(words); i += 2 {
				if words[i+1] == any(*at(c)) {
					return words[i].(string)
				}
			}
			return "?"
		},
		func(c *Config, value string) error {
			var known []string
			for i := 0; i < len(words); i += 2 {
				if strings.EqualFold(strings.ReplaceAll(value, " ", ""), words[i].(string)) {
					*at(c) = words[i+1].(V)
					return nil
				}
				known = append(known, words[i].(string))
			}
			return badValue(name, value, "one of "+strings.Join(known, "; "))
		},
		func(c *Config) {
			var zero V
			*at(c) = zero
		},
	}
}

func badValue(name, value, want string) error {
	return fault.Newf(fault.InvalidConfig, "%s=%s: it must be %s", name, value, want)
}

// Validate reports everything that is wrong with c, each part as
// fault.InvalidConfig.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fault.Newf(fault.InvalidConfig, format, args...))
		}
	}
	check(c.Durability >= DefaultDurability && c.Durability <= Fsync, "runnel.durability is unknown: %d", c.Durability)
	check(c.Cleanup >= DefaultCleanup && c.Cleanup <= CompactDelete, "cleanup.policy is unknown: %d", c.Cleanup)
	check(c.Timestamps == CreateTime || c.Timestamps == LogAppendTime, "message.timestamp.type is unknown: %d", c.Timestamps)
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"retention.ms", c.Retention},
		{"segment.ms", c.SegmentAge},
		{"min.compaction.lag.ms", c.MinCompactionLag},
		{"max.compaction.lag.ms", c.MaxCompactionLag},
		{"delete.retention.ms", c.DeleteRetention},
		{"message.timestamp.before.max.ms", c.TimestampBefore},
		{"message.timestamp.after.max.ms", c.TimestampAfter},
	} {
		check(d.value == Forever || d.value >= 0 && d.value%time.Millisecond == 0,
			"%s must be whole milliseconds, 0 for its default or Forever: %v", d.name, d.value)
	}
	check(c.RetentionBytes >= -1, "retention.bytes must be positive, or -1 for no limit: %d", c.RetentionBytes)
	check(c.SegmentBytes == 0 || c.SegmentBytes >= 14 && c.SegmentBytes <= math.MaxInt32,
		"segment.bytes must be from 14 to 2147483647: %d", c.SegmentBytes)
	check(c.MaxMessageBytes >= 0 && c.MaxMessageBytes <= math.MaxInt32,
		"max.message.bytes must be positive and at most 2147483647: %d", c.MaxMessageBytes)
	check(c.MinReplicas >= 0 && c.MinReplicas <= math.MaxInt16, "min.insync.replicas must be positive: %d", c.MinReplicas)
	check(c.MinCleanableRatio >= 0 && c.MinCleanableRatio <= 1, "min.cleanable.dirty.ratio must be from 0 to 1: %v", c.MinCleanableRatio)
	if d := c.WithDefaults(); d.MaxCompactionLag != Forever {
		check(d.MinCompactionLag != Forever && d.MinCompactionLag <= d.MaxCompactionLag,
			"min.compaction.lag.ms must not be larger than max.compaction.lag.ms: %v, %v", d.MinCompactionLag, d.MaxCompactionLag)
	}
	return errors.Join(errs...)
}

// WithDefaults returns c with the default in every field that is zero, except
// Durability: its default is the broker's.
func (c Config) WithDefaults() Config {
	day := 24 * time.Hour
	orElse(&c.Cleanup, Delete)
	orElse(&c.Retention, 7*day)
	orElse(&c.RetentionBytes, -1)
	orElse(&c.SegmentBytes, 1<<30)
	orElse(&c.SegmentAge, 7*day)
	orElse(&c.MaxMessageBytes, 1<<20+12)
	orElse(&c.TimestampBefore, Forever)
	orElse(&c.TimestampAfter, Forever)
	orElse(&c.MinReplicas, 1)
	orElse(&c.MaxCompactionLag, Forever)
	orElse(&c.DeleteRetention, day)
	orElse(&c.MinCleanableRatio, 0.5)
	return c
}

// orElse sets *at to value where it is zero.
func orElse[V comparable](at *V, value V) {
	var zero V
	if *at == zero {
		*at = value
	}
}
