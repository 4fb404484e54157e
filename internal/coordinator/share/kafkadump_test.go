package share

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/kafkadump"
)

// TestKafkaReadsTheRecords: Kafka's tool reads snapshots and updates, and passes over the tagged
// fields that it does not know.
func TestKafkaReadsTheRecords(t *testing.T) {
	w := newWorld(t)
	var records []kafkadump.Record
	step := func(name, command string, args ...string) {
		t.Helper()
		before := len(w.log)
		w.tell(append([]string{command}, args...))
		if command == "snapshot" {
			before = 0
		}
		if name == "" {
			return
		}
		require.Len(t, w.log, before+1, name)
		records = append(records, kafkadump.Record{Name: name, Key: w.log[before].Key, Value: w.log[before].Value})
	}
	step("", "records", "0", "10")
	step("a new share-partition", "begin", "0")
	step("acquired offsets, with their member in tagged field 1000 and the end of the lock in 1001", "acquire", "m1", "4")
	step("one is acknowledged", "accept", "m1", "0")
	step("one is rejected", "reject", "m1", "1")
	step("one is given back", "release", "m1", "2")
	step("one is given back, to be delivered later", "release", "m1", "3", "in", "1h")
	step("it is acquired by another member, and counts twice", "acquire", "m2", "1")
	step("a snapshot", "snapshot")
	step("a member has left", "leave", "m2")
	v := value{snapshot: 1, start: 2, clock: 1_000_007, hasLater: true, later: []later{{first: 5, last: 9, passed: 1_000_000, next: 1_000_100, count: 3}}}
	key, err := jobs.encode(keyUpdate)
	require.NoError(t, err)
	b, err := v.encode(keyUpdate)
	require.NoError(t, err)
	records = append(records, kafkadump.Record{Name: "stretches of offsets with records that wait, in tagged field 1001", Key: key, Value: b})
	step("a reset", "reset", "0")
	step("a deleted group", "delete", "workers")
	kafkadump.Records(t, "testdata/kafkadump.txt", "--share-group-state-decoder", records)
}

// TestReadsWhatKafkaWrote: a consumer of Kafka's, with a share group of its own, has accepted most of
// 20 records, some of them at the second time, rejected some, and given back one.
func TestReadsWhatKafkaWrote(t *testing.T) {
	c := New()
	var states []string
	for _, r := range kafkadump.Written(t, "testdata/kafkawrote.txt") {
		require.NoError(t, c.Apply(r.Key, r.Value), r.Name)
		state := "not begun"
		for k, p := range c.parts {
			require.Equal(t, "workers", k.Group)
			state = fmt.Sprintf("%d to %d: %v", p.start(), p.end, p.runs)
		}
		states = append(states, state)
	}
	require.Equal(t, []string{
		"not begun",
		"3 to 20: [{3 3 1  0 0 false} {10 10 1  0 0 false} {17 18 1  0 0 false}]",
		"18 to 20: [{18 18 2  0 0 false}]",
	}, states)
}
