package group

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
)

func TestRestartWritesThatEverybodyLeft(t *testing.T) {
	w := newWorld(t)
	w.setTopics(w.topicNamed("a", 4))
	w.join("g", "", "", "a")
	static := w.join("g", "static", "", "a")
	w.settle()
	place := static.owned

	w.c, w.clients = w.replay(w.log), map[string]*client{}
	w.setTopics(w.topics...)
	result, err := w.c.Restart(w.now)
	w.took(result, err)
	w.check()
	d, err := w.c.Describe("g")
	require.NoError(t, err)
	require.Len(t, d.Members, 1)
	require.Equal(t, "static", d.Members[0].InstanceID)

	back := w.join("g", "static", "", "a")
	w.settle()
	require.Subset(t, back.owned, place)
	require.Len(t, back.owned, 4, "the other one is no more")
	w.check()
}

// reread is a coordinator made from the log, as after an append that failed.
func (w *world) reread(limits Limits) {
	w.c = New(limits)
	for _, r := range w.log {
		require.NoError(w.t, w.c.Apply(r.Key, r.Value))
	}
	w.setTopics(w.topics...)
}

// When a static member left is not in the log. Where that is read again, its place
// waits for it from then on.
func TestAStaticMemberKeepsItsPlaceWhereTheLogIsReadAgain(t *testing.T) {
	w := newWorld(t)
	w.setTopics(w.topicNamed("a", 4))
	static := w.join("g", "static", "", "a")
	w.settle()
	w.leave(static)
	w.reread(Limits{})
	heard := func(string) Heard { return Heard{Fetch: w.now} }
	result, next, err := w.c.Expire(w.now, heard)
	w.took(result, err)
	require.Equal(t, w.now.Add(10*time.Second), next)
	require.Empty(t, result.Gone)
	w.now = next
	result, _, err = w.c.Expire(w.now, heard)
	w.took(result, err)
	require.Equal(t, []string{static.ID}, result.Gone)
	w.check()
}

// A group whose topics were silent for longer than the retention keeps its offsets that
// long after its last member has left, across restarts too.
func TestAGroupIsKeptFromWhenItsLastMemberLeftAcrossRestarts(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(*world, *client)
	}{
		{"closed", func(w *world, cl *client) { w.leave(cl); w.reread(w.c.limits) }},
		{"crashed", func(w *world, _ *client) {
			w.reread(w.c.limits)
			result, err := w.c.Restart(w.now)
			w.took(result, err)
			w.reread(w.c.limits)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.c = New(Limits{Retention: 100 * time.Hour})
			w.setTopics(w.topicNamed("a", 2))
			member := w.join("g", "", "", "a")
			w.settle()
			offsets := map[record.TopicPartition]consumer.Offset{
				{Topic: "a"}: {Offset: 7, Metadata: "mine"}, {Topic: "a", Partition: 1}: {Offset: 9},
			}
			result, err := w.c.Commit("g", member.ID, offsets, w.now)
			w.took(result, err)

			w.now = w.now.Add(1000 * time.Hour)
			test.end(w, member)
			result, next, err := w.c.Expire(w.now.Add(time.Hour), nil)
			w.took(result, err)
			require.Equal(t, w.now.Add(100*time.Hour), next)
			require.Equal(t, offsets, w.c.Offsets("g"))
			w.check()
			result, _, err = w.c.Expire(next, nil)
			w.took(result, err)
			require.False(t, w.c.Has("g"))
			w.check()
		})
	}
}
