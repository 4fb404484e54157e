package topic_test

import (
	"context"
	"fmt"
	"log"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

func ExampleEnsure() {
	ctx := context.Background()
	broker, err := runnel.OpenMemory()
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Close()
	orders := topic.Spec{Name: "orders", Partitions: 3}
	payments := topic.Spec{Name: "payments", Config: topic.Config{Retention: time.Hour}}

	ensure := func(specs ...topic.Spec) {
		found, err := topic.Ensure(ctx, broker, specs...)
		for _, f := range found {
			fmt.Println(f)
		}
		if err != nil {
			fmt.Println(err)
		}
	}
	ensure(orders)
	ensure(orders, payments) // a later version of the program has another topic,
	orders.Partitions = 6    // needs more partitions,
	payments.Config.Retention = 24 * time.Hour
	ensure(orders, payments) // and keeps records longer
	// Output:
	// orders: created, partitions: 3
	// orders: partitions: 3
	// payments: created, partitions: 1
	// orders: partitions: 6, 3 of them new
	// payments: partitions: 1; retention.ms is 3600000, not 86400000
}

func ExampleEnsured_Err() {
	ctx := context.Background()
	broker, err := runnel.OpenMemory()
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Close()
	if err := broker.CreateTopics(ctx, topic.Spec{Name: "users", Partitions: 4}); err != nil {
		log.Fatal(err)
	}
	found, err := topic.Ensure(ctx, broker, topic.Spec{Name: "users", Partitions: 2, Config: topic.Config{Cleanup: topic.Compact}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(found[0].Err())
	// Output: users: the configuration is not valid: the topic is not as it was asked for: cleanup.policy is delete, not compact; partitions is 4, not 2 (ConfigureTopic changes a topic's configuration)
}

// rival is a backend on which another program always acts first.
type rival struct {
	topic.Admin
	creates, adds func()
}

func (r *rival) CreateTopics(ctx context.Context, specs ...topic.Spec) error {
	if r.creates != nil {
		r.creates()
		r.creates = nil
	}
	return r.Admin.CreateTopics(ctx, specs...)
}

func (r *rival) AddPartitions(ctx context.Context, name string, total int) error {
	if r.adds != nil {
		r.adds()
	}
	return r.Admin.AddPartitions(ctx, name, total)
}

// Another program creates one of the topics between the check and the creation,
// and adds the partitions between the check and their addition. In the end
// everything exists, and Ensure does not claim the other program's work.
func TestEnsureBesideAnother(t *testing.T) {
	b, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer b.Close()
	other := &rival{
		Admin:   b,
		creates: func() { require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "a"})) },
		adds:    func() { require.NoError(t, b.AddPartitions(t.Context(), "a", 2)) },
	}
	found, err := topic.Ensure(t.Context(), other, topic.Spec{Name: "a", Partitions: 2}, topic.Spec{Name: "b"})
	require.NoError(t, err)
	require.Equal(t, []topic.Ensured{{Name: "a", Partitions: 2}, {Name: "b", Created: true, Partitions: 1}}, found)
}

// Ensure does not retry without end when a backend says that a topic exists and
// does not describe it, like a Kafka cluster that is deleting one.
func TestEnsureEnds(t *testing.T) {
	_, err := topic.Ensure(t.Context(), contradiction{}, topic.Spec{Name: "a"})
	require.ErrorIs(t, err, fault.TopicExists)
}

type contradiction struct{ topic.Admin }

func (contradiction) CreateTopics(_ context.Context, specs ...topic.Spec) error {
	return fault.At(fault.TopicExists, specs[0].Name, -1, -1)
}

func (contradiction) DescribeTopics(_ context.Context, names ...string) ([]topic.Description, error) {
	return nil, fault.At(fault.UnknownTopic, names[0], -1, -1)
}
