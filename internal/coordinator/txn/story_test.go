package txn

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// world is a coordinator with its log and its time.
type world struct {
	t     require.TestingT
	c     *Coordinator
	log   []Record
	now   time.Time
	fresh int64
	ends  func(record.TopicPartition) End // for End
}

func newWorld(t require.TestingT) *world {
	return &world{t: t, c: New(), now: time.UnixMilli(1_000_000), fresh: 99}
}

func (w *world) newID() int64 {
	w.fresh++
	return w.fresh
}

// took adds a result to the log, and holds that the live state is that of the log.
func (w *world) took(r Result) {
	w.log = append(w.log, r.Records...)
	replayed := w.replay()
	require.Equal(w.t, w.c.ids, replayed.ids, "the running state differs from its replay")
}

func (w *world) replay() *Coordinator {
	c := New()
	for _, r := range w.log {
		require.NoError(w.t, c.Apply(r.Key, r.Value))
	}
	return c
}

// text is what a story says of a command's outcome.
func (w *world) text(answer string, err error, r Result) string {
	if err != nil {
		answer = fault.CodeOf(err).Name()
	}
	parts := []string{answer, "no record"}
	if len(r.Records) > 0 {
		parts[1] = "Dead"
		if b := r.Records[0].Value; b != nil {
			v, err := decodeValue(b)
			require.NoError(w.t, err)
			parts[1] = strings.TrimSpace(fmt.Sprintf("%v %s %s", v.state, who(v.Identity), places(v.partitions)))
		}
	}
	if e := r.Ended; e != nil {
		kind := "ABORT"
		if e.Commit {
			kind = "COMMIT"
		}
		parts = append(parts, fmt.Sprintf("write %s %s", kind, who(e.Identity)))
	}
	return strings.Join(parts, " | ")
}

func who(i Identity) string { return fmt.Sprintf("%d/%d", i.ProducerID, i.Epoch) }

func places(all []record.TopicPartition) string {
	var names []string
	for _, tp := range all {
		names = append(names, tp.String())
	}
	return strings.Join(names, " ")
}

func parseIdentity(t require.TestingT, s string) Identity {
	id, epoch, ok := strings.Cut(s, "/")
	require.True(t, ok, s)
	i, err := strconv.ParseInt(id, 10, 64)
	require.NoError(t, err)
	e, err := strconv.ParseInt(epoch, 10, 16)
	require.NoError(t, err)
	return Identity{i, int16(e)}
}

func parsePlaces(t require.TestingT, names []string) (all []record.TopicPartition) {
	for _, name := range names {
		topic, number, ok := strings.Cut(name, "-")
		require.True(t, ok, name)
		n, err := strconv.Atoi(number)
		require.NoError(t, err)
		all = append(all, record.TopicPartition{Topic: topic, Partition: int32(n)})
	}
	return all
}

// tell runs a command of a story, and returns what there is to compare; "" for nothing.
func (w *world) tell(words []string) string {
	var answer string
	var r Result
	var err error
	switch words[0] {
	case "wait":
		d, err := time.ParseDuration(words[1])
		require.NoError(w.t, err)
		w.now = w.now.Add(d)
		return ""
	case "epoch": // as after so many transactions
		e, err := strconv.Atoi(words[2])
		require.NoError(w.t, err)
		v := *w.c.ids[words[1]]
		v.Epoch = int16(e)
		r, err := w.c.set(words[1], v, w.now)
		require.NoError(w.t, err)
		w.took(r)
		return ""
	case "init":
		var i Identity
		fresh := int64(-1)
		if w.c.NeedsID(words[1]) {
			fresh = w.newID()
		}
		i, r, err = w.c.Init(words[1], time.Minute, fresh, w.now)
		answer = who(i)
	case "add":
		r, err = w.c.Add(words[1], parseIdentity(w.t, words[2]), parsePlaces(w.t, words[3:]), w.now)
		answer = "ok"
	case "commit", "abort":
		var i Identity
		fresh := int64(-1)
		if w.c.NeedsID(words[1]) && w.c.ids[words[1]] != nil && w.c.ids[words[1]].state == Ongoing {
			fresh = w.newID()
		}
		i, r, err = w.c.End(words[1], parseIdentity(w.t, words[2]), words[0] == "commit", fresh, w.ends, w.now)
		answer = "next " + who(i)
	case "complete":
		v := w.c.ids[words[1]]
		r, err = w.c.Complete(&Ending{TransactionalID: words[1], Identity: v.Identity, Commit: v.state.commits(), Partitions: v.partitions}, true, w.now)
		answer = "ok"
	case "expire":
		if id, at, ok := w.c.NextExpiry(); ok && !w.now.Before(at) {
			r, err = w.c.Abort(id, -1, w.now)
		}
		answer = "ok"
	case "forget":
		r, err = w.c.Forget(7*24*time.Hour, func(*Ending) bool { return false }, w.now)
		answer = "ok"
	case "restart":
		w.c = w.replay()
		if undone := w.c.Undone(); len(undone) > 0 {
			r.Ended = undone[0]
		}
		answer = "ok"
	default:
		require.Fail(w.t, "no such command: "+words[0])
	}
	w.took(r)
	return w.text(answer, err, r)
}

// TestStories runs testdata/stories.txt.
func TestStories(t *testing.T) {
	b, err := os.ReadFile("testdata/stories.txt")
	require.NoError(t, err)
	stories := strings.Split(string(b), "\n== ")[1:]
	require.Greater(t, len(stories), 8)
	for _, story := range stories {
		name, lines, _ := strings.Cut(story, "\n")
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for line := range strings.Lines(lines) {
				command, want, compared := strings.Cut(strings.TrimSpace(line), "->")
				if command == "" {
					continue
				}
				got := w.tell(strings.Fields(command))
				if compared {
					require.Equal(t, strings.TrimSpace(want), got, line)
				}
			}
		})
	}
}
