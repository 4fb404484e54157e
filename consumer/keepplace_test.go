package consumer

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/record"
)

// A loop that works for long on the records of one batch takes part in its group
// meanwhile. What the group changes then harms nothing.
func TestKeepingThePlaceInTheGroup(t *testing.T) {
	for _, c := range []struct {
		name    string
		owns    bool          // a1, without records, from the beginning
		happens func(f *fake) // within the Fetch that keeps the place
		want    []string
	}{
		{"nothing", true, func(*fake) {}, []string{"0", "1", "2", "3"}},
		{"a partition is assigned, with records", false, func(f *fake) {
			f.add(a1, "other 0", "other 1")
			f.cfg.OnAssigned([]record.TopicPartition{a1})
		}, []string{"0", "1", "2", "3", "other 0", "other 1"}},
		{"a partition is lost", true, func(f *fake) {
			f.take(a1, f.cfg.OnLost)
		}, []string{"0", "1", "2", "3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.add(a0, "0", "1", "2", "3")
				if c.owns {
					f.add(a1)
				}
				in := open(t, f, MaxRecords(2), RebalanceTimeout(30*time.Second), ManualCommit())
				var got []string
				for r, err := range in.Records(t.Context()) {
					require.NoError(t, err)
					if got = append(got, string(r.Value)); len(got) == 1 {
						f.before = append(f.before, func() { c.happens(f) })
						time.Sleep(20 * time.Second)
					}
					if len(got) == len(c.want) {
						break
					}
				}
				require.Equal(t, c.want, got)
			})
		})
	}
}
