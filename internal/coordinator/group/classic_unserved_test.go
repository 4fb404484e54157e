package group

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
)

// Where the classic protocol is not served, members of it that a log has are of another
// time: the group has none.
func TestClassicMembersOfAnotherTime(t *testing.T) {
	s := newTeller(t)
	for _, command := range []string{"a: join range", "after 3s", "a: sync a1=0,1,2,3", "a: commit"} {
		s.tell(command)
	}
	s.reread(Limits{Retention: time.Hour})
	d, err := s.c.Describe("g")
	require.NoError(t, err)
	require.Equal(t, consumer.GroupDescription{Name: "g", State: consumer.GroupEmpty, Epoch: 1}, d)
	require.Equal(t, []consumer.GroupListing{{Name: "g", State: consumer.GroupEmpty}}, s.c.Groups())

	member := s.world.join("g", "", "", "t")
	s.settle()
	require.Len(t, member.owned, 4)
	require.Len(t, s.c.Offsets("g"), 1, "its offsets stay")
	require.Nil(t, s.c.groups["g"].classic)
	s.check()
}
