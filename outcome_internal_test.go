package runnel

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

// Whether a change took effect is in the catalogue. One that did not, and of which nothing
// is on its way any more, is tried again; it is another one to the catalogue then.
func TestTheOutcomeOfAChangeIsInTheCatalogue(t *testing.T) {
	b, err := OpenMemory()
	require.NoError(t, err)
	defer b.Close()
	close(b.opened) // which lets it look up
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2}, topic.Spec{Name: "gone"}))
	removed := b.metadata.Catalogue.Topic("gone").ID
	require.NoError(t, b.DeleteTopics(t.Context(), "gone"))
	orders, other := b.metadata.Catalogue.Topic("orders").ID, topic.ID{1}
	unknown := fault.Newf(fault.UnknownOutcome, "the leader stopped leading")

	create := func(name string, id topic.ID) *change {
		return &change{kind: createTopics, specs: []topic.Spec{{Name: name}}, ids: []topic.ID{id}}
	}
	remove := func(name string, id topic.ID) *change {
		return &change{kind: deleteTopics, names: []string{name}, ids: []topic.ID{id}}
	}
	for _, c := range []struct {
		what string
		*change
		took bool
	}{
		{"created", create("orders", orders), true},
		{"created, and deleted since", create("gone", removed), true},
		{"created by another", create("orders", other), false},
		{"not created", create("visits", other), false},
		{"deleted", remove("gone", removed), true},
		{"deleted, and created since", remove("orders", other), true},
		{"not deleted", remove("orders", orders), false},
		{"extended", &change{kind: addPartitions, names: []string{"orders"}, total: 2}, true},
		{"not extended", &change{kind: addPartitions, names: []string{"orders"}, total: 3}, false},
		{"configured", &change{kind: configureTopic, names: []string{"orders"}}, true},
		{"not configured", &change{kind: configureTopic, names: []string{"orders"}, config: topic.Config{MinReplicas: 1}}, false},
		{"allotted twice", &change{kind: allotProducerIDs}, false},
	} {
		before := append([]topic.ID(nil), c.ids...)
		pending, answered := b.settle(t.Context(), c.change, unanswered{unknown}), b.settle(t.Context(), c.change, unknown)
		if c.took {
			require.NoError(t, pending, c.what)
			require.NoError(t, answered, c.what)
			continue
		}
		require.True(t, isUnled(answered), c.what)
		require.Equal(t, c.repeats(), isUnled(pending), c.what)
		require.Equal(t, c.repeats(), fault.CodeOf(pending) != fault.UnknownOutcome, c.what)
		if c.kind == createTopics {
			require.NotEqual(t, before, c.ids, c.what)
		}
	}
}
