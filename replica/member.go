package replica

import (
	"encoding/binary"
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"
)

// Membership says which replicas a group has. While it changes, Outgoing are the
// voters of before, and a decision needs a majority of either.
type Membership struct {
	Voters   []ID // whose majority decides
	Learners []ID // which receive everything and decide nothing
	Outgoing []ID // the voters of before, while the change lasts
	Next     []ID // of Outgoing, those that will be learners

	// AutoLeave says that the leader ends the change by itself.
	AutoLeave bool
}

// Has reports whether a replica belongs to the group.
func (m *Membership) Has(id ID) bool {
	return slices.Contains(m.Voters, id) || slices.Contains(m.Learners, id) || slices.Contains(m.Outgoing, id)
}

// sound reports whether a group may have these members: no replica is in a list twice,
// no learner votes, and only voters of before become learners.
func (m *Membership) sound() bool {
	for _, list := range m.lists() {
		sorted := slices.Sorted(slices.Values(*list))
		if len(slices.Compact(sorted)) < len(*list) || slices.Contains(*list, 0) {
			return false
		}
	}
	votes := func(id ID) bool { return slices.Contains(m.Voters, id) || slices.Contains(m.Outgoing, id) }
	leaves := func(id ID) bool { return !slices.Contains(m.Outgoing, id) || slices.Contains(m.Voters, id) }
	return len(m.Voters) > 0 && !slices.ContainsFunc(m.Learners, votes) && !slices.ContainsFunc(m.Next, leaves)
}

// lists returns the four lists in the order in which they are encoded.
func (m *Membership) lists() [4]*[]ID { return [4]*[]ID{&m.Voters, &m.Learners, &m.Outgoing, &m.Next} }

func (m *Membership) append(dst []byte) []byte {
	var auto byte
	if m.AutoLeave {
		auto = 1
	}
	dst = append(dst, auto)
	for _, list := range m.lists() {
		dst = append(dst, byte(len(*list)))
		for _, id := range *list {
			dst = binary.BigEndian.AppendUint64(dst, uint64(id))
		}
	}
	return dst
}

// parseMembership decodes what append encoded, and returns how many bytes it took.
func parseMembership(b []byte) (m Membership, n int, err error) {
	if len(b) == 0 || b[0] > 1 {
		return m, 0, malformed("no membership")
	}
	m.AutoLeave, n = b[0] == 1, 1
	for _, list := range m.lists() {
		if n == len(b) {
			return m, 0, malformed("a membership that ends early")
		}
		count := int(b[n])
		n++
		if count > maxMembers || count*8 > len(b)-n {
			return m, 0, malformed("a list of %d members", count)
		}
		for range count {
			*list = append(*list, ID(binary.BigEndian.Uint64(b[n:])))
			n += 8
		}
	}
	return m, n, nil
}

func (m *Membership) toRaft() *pb.ConfState {
	return &pb.ConfState{
		Voters: numbers(m.Voters), Learners: numbers(m.Learners), VotersOutgoing: numbers(m.Outgoing),
		LearnersNext: numbers(m.Next), AutoLeave: &m.AutoLeave,
	}
}

func membershipFromRaft(c *pb.ConfState) Membership {
	return Membership{
		Voters: ids(c.GetVoters()), Learners: ids(c.GetLearners()), Outgoing: ids(c.GetVotersOutgoing()),
		Next: ids(c.GetLearnersNext()), AutoLeave: c.GetAutoLeave(),
	}
}

func numbers(list []ID) (out []uint64) {
	for _, id := range list {
		out = append(out, uint64(id))
	}
	return out
}

func ids(list []uint64) (out []ID) {
	for _, id := range list {
		out = append(out, ID(id))
	}
	return out
}

// Start is a place in a log at which it may begin: the batch before it, which the
// log need not have, the offset after that batch, and the members as of it.
type Start struct {
	Index  uint64 // of the batch before
	Term   uint64 // of the batch before
	Offset int64  // of the batch behind
	Membership
}

// with returns the start for a replica that comes to the group behind it: with that one as a
// learner, because the library takes no start of a group to which it does not belong. The
// batches behind the start say the same.
func (s *Start) with(id ID) *Start {
	if s.Has(id) {
		return s
	}
	joined := *s
	joined.Learners = append(slices.Clone(s.Learners), id)
	return &joined
}

func (s *Start) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, s.Index)
	dst = binary.BigEndian.AppendUint64(dst, s.Term)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.Offset))
	return s.Membership.append(dst)
}

// parseStart decodes what append encoded, and returns how many bytes it took.
func parseStart(b []byte) (s Start, n int, err error) {
	if len(b) < 24 {
		return s, 0, malformed("a start of %d bytes", len(b))
	}
	s.Index, s.Term, s.Offset = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), int64(binary.BigEndian.Uint64(b[16:]))
	if s.Offset < 0 {
		return s, 0, malformed("a start at offset %d", s.Offset)
	}
	s.Membership, n, err = parseMembership(b[24:])
	return s, n + 24, err
}

func (s *Start) toRaft() *pb.Snapshot {
	return &pb.Snapshot{
		Data:     binary.BigEndian.AppendUint64(nil, uint64(s.Offset)),
		Metadata: &pb.SnapshotMetadata{ConfState: s.Membership.toRaft(), Index: &s.Index, Term: &s.Term},
	}
}

func startFromRaft(r *pb.Snapshot) (Start, error) {
	if len(r.GetData()) != 8 {
		return Start{}, malformed("a snapshot of %d bytes", len(r.GetData()))
	}
	m := r.GetMetadata()
	return Start{
		Index: m.GetIndex(), Term: m.GetTerm(), Offset: int64(binary.BigEndian.Uint64(r.GetData())),
		Membership: membershipFromRaft(m.GetConfState()),
	}, nil
}
