package group

import (
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/record"
)

var update = flag.Bool("update", false, "write what the stories' commands return into testdata")

const classicStories = "testdata/classic.txt"

// teller runs the commands of one story.
type teller struct {
	*world
	clients map[string]*classicClient
	waiting map[int64]string // the client of each request that waits
	tickets int64
	offset  int64 // what is committed next
}

// classicClient is what a client of the classic protocol remembers.
type classicClient struct {
	name, id, instance string
	generation         int32
	ids                int // that it was given
}

// TestClassicStories tells testdata/classic.txt.
func TestClassicStories(t *testing.T) {
	told, err := os.ReadFile(classicStories)
	require.NoError(t, err)
	var out strings.Builder
	var s *teller
	for line := range strings.Lines(string(told)) {
		line = strings.TrimSuffix(line, "\n")
		command, want, isCommand := strings.Cut(line, "->")
		switch {
		case strings.HasPrefix(line, "== "):
			s = newTeller(t)
		case isCommand:
			command, want = strings.TrimSpace(command), strings.TrimSpace(want)
			got := s.tell(command)
			if !*update {
				require.Equal(t, want, got, "%s", line)
			}
			line = fmt.Sprintf("%-42s -> %s", command, got)
		}
		fmt.Fprintln(&out, line)
	}
	if *update {
		require.NoError(t, os.WriteFile(classicStories, []byte(out.String()), 0o644))
	}
}

func newTeller(t *testing.T) *teller {
	s := &teller{world: newWorld(t), clients: map[string]*classicClient{}, waiting: map[int64]string{}}
	s.c = New(Limits{Classic: ServeClassic})
	s.setTopics(s.topicNamed("t", 4))
	return s
}

// tell runs a command, and says what came of it.
func (s *teller) tell(command string) string {
	name, rest, ofClient := strings.Cut(command, ": ")
	words := strings.Fields(rest)
	if !ofClient {
		words = strings.Fields(command)
	}
	var parts []string
	var result Result
	var err error
	s.tickets++
	cl := s.clients[name]
	if ofClient && cl == nil {
		cl = &classicClient{name: name, generation: -1}
		s.clients[name] = cl
	}
	fails := func(err error) {
		if err == nil {
			parts = append(parts, "ok")
			return
		}
		parts = append(parts, fault.CodeOf(err).Name())
	}
	switch words[0] {
	case "join":
		result, err = s.c.JoinGroup(s.tickets, s.joinOf(cl, words[1:]), s.now)
		s.waiting[s.tickets] = name
	case "sync":
		q := SyncGroupRequest{
			GroupID: "g", GenerationID: cl.generation, MemberID: cl.id, GroupInstanceID: cl.instance,
			ProtocolType: ConsumerProtocol, Assignments: map[string][]byte{},
		}
		for _, w := range words[1:] {
			id, numbers, _ := strings.Cut(w, "=")
			q.Assignments[id] = assignmentOf(numbers)
		}
		result, err = s.c.SyncGroup(s.tickets, q, s.now)
		s.waiting[s.tickets] = name
	case "heartbeat":
		fails(s.c.HeartbeatGroup(s.identity(cl), s.now))
	case "leave":
		var errs []error
		result, errs, err = s.c.LeaveGroup("g", []MemberIdentity{{MemberID: cl.id, GroupInstanceID: cl.instance}}, s.now)
		fails(errs[0])
	case "commit":
		s.offset++
		var refused error
		result, refused = s.c.CommitOffsets(s.identity(cl), map[record.TopicPartition]consumer.Offset{{Topic: "t"}: {Offset: s.offset}}, s.now)
		fails(refused)
	case "after":
		d, parseErr := time.ParseDuration(words[1])
		require.NoError(s.t, parseErr)
		s.now = s.now.Add(d)
		result, _, err = s.c.Expire(s.now, func(string) Heard { return Heard{Fetch: s.now} })
	case "restart": // the requests that wait are lost with the coordinator
		s.reread(Limits{Classic: ServeClassic})
		clear(s.waiting)
	case "delete":
		var refused error
		result, refused = s.c.Delete("g")
		fails(refused)
	case "consumer": // a member of KIP-848's protocol
		s.ids++
		var refused error
		_, result, refused = s.c.Join(Member{Group: "g", ID: "k", ClientID: "k", Topics: []string{"t"}, SessionTimeout: time.Minute, RebalanceTimeout: time.Minute})
		fails(refused)
	case "consumer-leaves":
		result, err = s.c.Leave("g", "k", s.now)
	default:
		require.Fail(s.t, "what is that", command)
	}
	s.took(result, err)
	for _, a := range result.Answers {
		parts = append(parts, s.answer(a))
	}
	if _, waits := s.waiting[s.tickets]; waits {
		parts = append(parts, name+" waits")
	}
	parts = append(parts, s.recordsOf(result)...)
	s.check()
	s.checkRound("g")
	state := "no group"
	if d, err := s.c.Describe("g"); err == nil {
		state = string(d.State)
	}
	return strings.Join(append(parts, "["+state+"]"), " | ")
}

func (s *teller) identity(cl *classicClient) HeartbeatRequest {
	return HeartbeatRequest{GroupID: "g", GenerationID: cl.generation, MemberID: cl.id, GroupInstanceID: cl.instance}
}

// joinOf reads the words of a join: the protocols, and what differs from a plain one.
func (s *teller) joinOf(cl *classicClient, words []string) JoinGroupRequest {
	q := JoinGroupRequest{
		GroupID: "g", SessionTimeout: 10 * time.Second, RebalanceTimeout: time.Minute, ProtocolType: ConsumerProtocol, ClientID: cl.name,
	}
	topic := "t"
	for _, w := range words {
		option, value, _ := strings.Cut(w, "=")
		switch option {
		case "new":
			cl.id, cl.generation = "", -1
		case "known":
			q.RequireKnownMemberID = true
		case "skips":
			q.SkipAssignment = true
		case "instance":
			cl.instance = value
		case "topic":
			topic = value
		case "session":
			q.SessionTimeout, _ = time.ParseDuration(value)
		case "type":
			q.ProtocolType = value
		default:
			for _, name := range strings.Split(w, ",") {
				q.Protocols = append(q.Protocols, Protocol{Name: name, Metadata: subscriptionOf(topic)})
			}
		}
	}
	q.MemberID, q.GroupInstanceID = cl.id, cl.instance
	if cl.id == "" {
		cl.ids++
		q.NewMemberID = fmt.Sprintf("%s%d", cl.name, cl.ids)
	}
	return q
}

// answer says what a request was answered with, and lets its client remember it.
func (s *teller) answer(a Answer) string {
	name := s.waiting[a.Ticket]
	delete(s.waiting, a.Ticket)
	cl := s.clients[name]
	switch {
	case a.Join != nil && a.Join.Err != nil:
		text := name + ": " + fault.CodeOf(a.Join.Err).Name()
		if fault.CodeOf(a.Join.Err) == fault.MemberIDRequired {
			cl.id = a.Join.MemberID
			text += " " + cl.id
		}
		return text
	case a.Join != nil:
		cl.id, cl.generation = a.Join.MemberID, a.Join.GenerationID
		text := fmt.Sprintf("%s: %s in generation %d by %s", name, cl.id, cl.generation, a.Join.ProtocolName)
		if a.Join.Members != nil {
			var ids []string
			for _, m := range a.Join.Members {
				ids = append(ids, m.MemberID)
			}
			text += ", leads " + strings.Join(ids, " ")
		}
		if a.Join.SkipAssignment {
			text += ", has nothing to assign"
		}
		return text
	case a.Sync.Err != nil:
		return name + ": " + fault.CodeOf(a.Sync.Err).Name()
	}
	return name + ": has " + numbersOf(a.Sync.Assignment)
}

// recordsOf says what a command wrote.
func (s *teller) recordsOf(r Result) (all []string) {
	others := 0
	for _, one := range r.Records {
		k, _, err := decodeKey(one.Key)
		require.NoError(s.t, err)
		switch {
		case k.kind != keyClassic:
			others++
		case one.Value == nil:
			all = append(all, "tombstone")
		default:
			v, err := decodeClassic(one.Value)
			require.NoError(s.t, err)
			text := fmt.Sprintf("record: generation %d", v.generation)
			for _, id := range slices.Sorted(maps.Keys(v.members)) {
				text += fmt.Sprintf(" %s=%s", id, numbersOf(v.members[id].assignment))
			}
			all = append(all, text)
		}
	}
	if others > 0 {
		all = append(all, fmt.Sprintf("%d other records", others))
	}
	return all
}

// checkRound holds that a group at rest is what the log has of it.
func (w *world) checkRound(name string) {
	r, g := w.c.rounds[name], w.c.groups[name]
	if r == nil || r.state == classicPreparing || r.state == classicCompleting || r.generation == 0 {
		return
	}
	require.NotNil(w.t, g)
	require.NotNil(w.t, g.classic)
	at := r.complete(time.UnixMilli(g.classic.since))
	for id, m := range at.members { // null and empty are one in a record
		m.subscription, m.assignment = append([]byte{}, m.subscription...), append([]byte{}, m.assignment...)
		at.members[id] = m
	}
	have := *g.classic
	have.members = maps.Clone(have.members)
	for id, m := range have.members {
		m.subscription, m.assignment = append([]byte{}, m.subscription...), append([]byte{}, m.assignment...)
		have.members[id] = m
	}
	require.Equal(w.t, &have, at, "a group at rest differs from its record")
}

// subscriptionOf is ConsumerProtocolSubscription.
func subscriptionOf(topic string) []byte {
	var w wire.Writer
	w.Int16(0)
	w.ArrayLen(1)
	w.String(topic)
	w.Bytes(nil)
	return w.B
}

// assignmentOf is ConsumerProtocolAssignment of partitions of topic t.
func assignmentOf(numbers string) []byte {
	var w wire.Writer
	w.Int16(0)
	w.ArrayLen(1)
	w.String("t")
	all := strings.FieldsFunc(numbers, func(r rune) bool { return r == ',' })
	w.ArrayLen(len(all))
	for _, n := range all {
		i, _ := strconv.Atoi(n)
		w.B = binary.BigEndian.AppendUint32(w.B, uint32(i))
	}
	w.Bytes(nil)
	return w.B
}

func numbersOf(assignment []byte) string {
	var all []string
	for _, tp := range assigned(assignment) {
		all = append(all, fmt.Sprint(tp.Partition))
	}
	if len(all) == 0 {
		return "nothing"
	}
	return strings.Join(all, ",")
}
