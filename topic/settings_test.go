package topic

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
)

func TestZeroConfigWorks(t *testing.T) {
	var c Config
	require.NoError(t, c.Validate())
	require.Empty(t, c.Entries())
	day := 24 * time.Hour
	require.Equal(t, Config{
		Cleanup: Delete, Retention: 7 * day, RetentionBytes: -1, SegmentBytes: 1 << 30, SegmentAge: 7 * day,
		MaxMessageBytes: 1048588, TimestampBefore: Forever, TimestampAfter: Forever, MinReplicas: 1, MaxCompactionLag: Forever, DeleteRetention: day, MinCleanableRatio: 0.5,
	}, c.WithDefaults())
	require.NoError(t, c.WithDefaults().Validate())
	require.Equal(t, c.WithDefaults(), c.WithDefaults().WithDefaults())
}

func TestSettings(t *testing.T) {
	tests := []struct {
		name, value string
		want        Config
		printed     string // where it is not the value
	}{
		{"cleanup.policy", "compact", Config{Cleanup: Compact}, ""},
		{"cleanup.policy", "delete, compact", Config{Cleanup: CompactDelete}, "compact,delete"},
		{"delete.retention.ms", "60000", Config{DeleteRetention: time.Minute}, ""},
		{"max.compaction.lag.ms", "9223372036854775807", Config{MaxCompactionLag: Forever}, "-1"},
		{"max.message.bytes", "2097164", Config{MaxMessageBytes: 2097164}, ""},
		{"message.timestamp.after.max.ms", "3600000", Config{TimestampAfter: time.Hour}, ""},
		{"message.timestamp.before.max.ms", "9223372036854775807", Config{TimestampBefore: Forever}, ""},
		{"message.timestamp.before.max.ms", "-1", Config{TimestampBefore: Forever}, "9223372036854775807"},
		{"message.timestamp.type", "LogAppendTime", Config{Timestamps: LogAppendTime}, ""},
		{"min.cleanable.dirty.ratio", "0.01", Config{MinCleanableRatio: 0.01}, ""},
		{"min.compaction.lag.ms", "1", Config{MinCompactionLag: time.Millisecond}, ""},
		{"min.insync.replicas", "2", Config{MinReplicas: 2}, ""},
		{"retention.bytes", "-1", Config{RetentionBytes: -1}, ""},
		{"retention.bytes", " 1073741824 ", Config{RetentionBytes: 1 << 30}, "1073741824"},
		{"retention.ms", "-1", Config{Retention: Forever}, ""},
		{"runnel.durability", "fsync", Config{Durability: Fsync}, ""},
		{"runnel.durability", "OS", Config{Durability: OS}, "os"},
		{"segment.bytes", "1048576", Config{SegmentBytes: 1 << 20}, ""},
		{"segment.ms", "3600000", Config{SegmentAge: time.Hour}, ""},
	}
	for _, test := range tests {
		t.Run(test.name+"="+test.value, func(t *testing.T) {
			var c Config
			require.NoError(t, c.Set(test.name, test.value))
			require.Equal(t, test.want, c)
			require.NoError(t, c.Validate())
			if test.printed == "" {
				test.printed = test.value
			}
			require.Equal(t, []Entry{{test.name, test.printed}}, c.Entries())
			require.NoError(t, c.Unset(test.name))
			require.Equal(t, Config{}, c)
		})
	}
}

// Kafka's defaults are no settings, under any spelling.
func TestZeroFieldsAreNoEntries(t *testing.T) {
	var c Config
	for name, value := range map[string]string{
		"message.timestamp.type": "CreateTime", "runnel.durability": "default", "min.compaction.lag.ms": "0",
	} {
		require.NoError(t, c.Set(name, value))
	}
	require.Empty(t, c.Entries())
}

func TestSetTeaches(t *testing.T) {
	tests := []struct{ name, value, says string }{
		{"retention.mss", "1", "did you mean retention.ms"},
		{"Retention.Ms", "1", "did you mean retention.ms"},
		{"segment.size", "1", "did you mean segment."},
		{"colour", "blue", "the settings are cleanup.policy"},
		{"compression.type", "zstd", "as the producer compressed them"},
		{"flush.ms", "1", "runnel.durability"},
		{"preallocate", "true", "does nothing here"},
		{"retention.ms", "a week", "a number of milliseconds"},
		{"retention.ms", "0", "1 or more milliseconds"},
		{"retention.ms", "-2", "-1 for no limit"},
		{"segment.bytes", "0", "other than 0"},
		{"segment.bytes", "1e6", "a number"},
		{"cleanup.policy", "purge", "one of delete; compact"},
		{"min.cleanable.dirty.ratio", "1.5", "up to 1"},
		{"min.cleanable.dirty.ratio", "NaN", "up to 1"},
	}
	for _, test := range tests {
		t.Run(test.name+"="+test.value, func(t *testing.T) {
			var c Config
			err := c.Set(test.name, test.value)
			require.ErrorIs(t, err, fault.InvalidConfig)
			require.ErrorContains(t, err, test.says)
			require.Equal(t, Config{}, c)
		})
	}
	require.ErrorIs(t, new(Config).Unset("colour"), fault.InvalidConfig)
}

func TestValidateReportsEverything(t *testing.T) {
	c := Config{
		Durability: 9, Cleanup: -1, Timestamps: 5, Retention: time.Microsecond, RetentionBytes: -2,
		SegmentBytes: 13, SegmentAge: -time.Hour, MaxMessageBytes: -1, MinReplicas: 1 << 20,
		MinCompactionLag: time.Hour, MaxCompactionLag: time.Minute, DeleteRetention: -2, MinCleanableRatio: math.NaN(),
	}
	err := c.Validate()
	require.ErrorIs(t, err, fault.InvalidConfig)
	for _, name := range []string{
		"runnel.durability", "cleanup.policy", "message.timestamp.type", "retention.ms", "retention.bytes", "segment.bytes",
		"segment.ms", "max.message.bytes", "min.insync.replicas", "max.compaction.lag.ms", "delete.retention.ms", "min.cleanable.dirty.ratio",
	} {
		require.ErrorContains(t, err, name)
	}
}

func configGen() *rapid.Generator[Config] {
	ms := rapid.OneOf(rapid.Just(time.Duration(0)), rapid.Just(Forever), rapid.Map(rapid.Int64Range(1, 1<<40), func(n int64) time.Duration {
		return time.Duration(n) * time.Millisecond
	}))
	return rapid.Custom(func(t *rapid.T) Config {
		return Config{
			Durability:        Durability(rapid.IntRange(0, 3).Draw(t, "durability")),
			Cleanup:           Cleanup(rapid.IntRange(0, 3).Draw(t, "cleanup")),
			Retention:         ms.Draw(t, "retention"),
			RetentionBytes:    rapid.Int64Min(-1).Draw(t, "retention bytes"),
			SegmentBytes:      rapid.Int64Range(14, math.MaxInt32).Draw(t, "segment bytes"),
			SegmentAge:        ms.Draw(t, "segment age"),
			MaxMessageBytes:   rapid.IntRange(0, math.MaxInt32).Draw(t, "message bytes"),
			Timestamps:        TimestampType(rapid.IntRange(0, 1).Draw(t, "timestamps")),
			MinReplicas:       rapid.IntRange(0, math.MaxInt16).Draw(t, "replicas"),
			DeleteRetention:   ms.Draw(t, "delete retention"),
			MinCleanableRatio: rapid.Float64Range(0, 1).Draw(t, "ratio"),
		}
	})
}

func TestEntriesAreTheConfig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := configGen().Draw(t, "config")
		require.NoError(t, c.Validate())
		var again Config
		for _, e := range c.Entries() {
			require.NoError(t, again.Set(e.Name, e.Value), e.String())
		}
		require.Equal(t, c, again)
	})
}

func TestWordsOfConfig(t *testing.T) {
	require.Equal(t, []string{"default", "memory", "os", "fsync"}, words(DefaultDurability, Memory, OS, Fsync))
	require.Equal(t, []string{"delete", "delete", "compact", "compact,delete"}, words(DefaultCleanup, Delete, Compact, CompactDelete))
	require.Equal(t, []string{"CreateTime", "LogAppendTime"}, words(CreateTime, LogAppendTime))
}

func words[S interface{ String() string }](values ...S) []string {
	var out []string
	for _, v := range values {
		out = append(out, v.String())
	}
	return out
}

func TestSpecValidates(t *testing.T) {
	require.NoError(t, Spec{Name: "orders"}.Validate())
	err := Spec{Name: "a b", Partitions: -1, Replicas: -1, Config: Config{MinReplicas: -1}}.Validate()
	for _, code := range []fault.Code{fault.InvalidTopic, fault.InvalidPartitions, fault.InvalidReplication, fault.InvalidConfig} {
		require.ErrorIs(t, err, code)
	}
}

func TestIDs(t *testing.T) {
	id, err := ParseID("3FlKrvG_R3mJwlMBnGHDQw")
	require.NoError(t, err)
	require.Equal(t, ID{0xdc, 0x59, 0x4a, 0xae, 0xf1, 0xbf, 0x47, 0x79, 0x89, 0xc2, 0x53, 0x01, 0x9c, 0x61, 0xc3, 0x43}, id)
	require.Equal(t, "3FlKrvG_R3mJwlMBnGHDQw", id.String())
	for _, s := range []string{"", "3FlKrvG_R3mJwlMBnGHDQ", "3FlKrvG_R3mJwlMBnGHDQw==", "3FlKrvG+R3mJwlMBnGHDQw", "3FlKrvG_R3mJwlMBnGHDQx"} {
		_, err := ParseID(s)
		require.ErrorIs(t, err, fault.UnknownTopicID, s)
	}
}

func FuzzSet(f *testing.F) {
	f.Add("retention.ms", "86400000")
	f.Add("cleanup.policy", "compact,delete")
	f.Add("min.cleanable.dirty.ratio", "0.5")
	f.Add("segment.bytes", "9223372036854775808")
	f.Fuzz(func(t *testing.T, name, value string) {
		var c, again Config
		if err := c.Set(name, value); err != nil {
			require.ErrorIs(t, err, fault.InvalidConfig)
			require.Equal(t, Config{}, c)
			return
		}
		for _, e := range c.Entries() {
			require.NoError(t, again.Set(e.Name, e.Value))
		}
		require.Equal(t, c, again)
	})
}
