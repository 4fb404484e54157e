package topic

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/runnel-go/runnel/fault"
)

// Ensured is a topic that Ensure has found or created.
type Ensured struct {
	Name       string
	Created    bool // it was missing
	Partitions int  // how many there are now
	Added      int  // how many of them Ensure has added to an existing topic

	// Differs lists the settings that differ from the Spec, sorted by name.
	// Ensure does not change them.
	Differs []Difference
}

// Difference is one setting of a topic that differs from a Spec.
type Difference struct {
	// Setting is Kafka's name for it, or "partitions" or "replicas".
	Setting     string
	Asked, Have string // Kafka's values; "default" for a setting without a value of its own
}

// String returns what the setting is and what was asked for: "retention.ms is
// 3600000, not 86400000".
func (d Difference) String() string {
	return fmt.Sprintf("%s is %s, not %s", d.Setting, d.Have, d.Asked)
}

// String says what Ensure did, and what differs.
func (e Ensured) String() string {
	var b strings.Builder
	switch {
	case e.Created:
		fmt.Fprintf(&b, "%s: created, partitions: %d", e.Name, e.Partitions)
	case e.Added > 0:
		fmt.Fprintf(&b, "%s: partitions: %d, %d of them new", e.Name, e.Partitions, e.Added)
	default:
		fmt.Fprintf(&b, "%s: partitions: %d", e.Name, e.Partitions)
	}
	for _, d := range e.Differs {
		b.WriteString("; " + d.String())
	}
	return b.String()
}

// Err returns nil if the topic matches its Spec, else fault.InvalidConfig with
// everything that differs. It is for programs that would rather fail than run
// on topics they were not written for.
func (e Ensured) Err() error {
	if len(e.Differs) == 0 {
		return nil
	}
	all := make([]string, len(e.Differs))
	for i, d := range e.Differs {
		all[i] = d.String()
	}
	return fault.At(fault.InvalidConfig, e.Name, -1, -1).Detailf("the topic is not as it was asked for: %s", strings.Join(all, "; ")).
		Try("ConfigureTopic changes a topic's configuration")
}

// Ensure makes sure that topics exist. It creates those that are missing, all
// of them or none, and adds partitions if a Spec asks for more than there are.
// (Keys then map to other partitions than before.) It never removes partitions
// and never changes the configuration of an existing topic: it reports what
// differs, one Ensured for each Spec, in their order. Zero Partitions and
// Replicas match any number; a zero field of a Config asks for its default.
//
// Programs call Ensure when they start; any number of them may do so at once.
// With an error, the result holds only what was done before it. If a Spec is
// invalid, or named twice (fault.InvalidRequest), Ensure creates nothing. A
// Kafka cluster creates topics one by one. It has no durability setting, which
// is therefore always reported as different.
func Ensure(ctx context.Context, admin Admin, specs ...Spec) ([]Ensured, error) {
	names := make(map[string]bool, len(specs))
	for _, s := range specs {
		if err := s.Validate(); err != nil {
			return nil, err
		}
		if names[s.Name] {
			return nil, fault.At(fault.InvalidRequest, s.Name, -1, -1).Detailf("Ensure is asked for it twice")
		}
		names[s.Name] = true
	}
	created, err := createMissing(ctx, admin, specs)
	all := make([]Ensured, 0, len(specs))
	if err != nil {
		return all, err
	}
	for _, s := range specs {
		e, err := raise(ctx, admin, s)
		if err != nil {
			return all, err
		}
		e.Created = created[s.Name]
		all = append(all, e)
	}
	return all, nil
}

// createMissing creates the topics that do not exist, and returns their names.
// If another program creates one of them first, it checks again.
func createMissing(ctx context.Context, admin Admin, specs []Spec) (map[string]bool, error) {
	var before []Spec
	for {
		missing, err := missingOf(ctx, admin, specs)
		if err != nil || len(missing) == 0 {
			return nil, err
		}
		names := make(map[string]bool, len(missing))
		for _, s := range missing {
			names[s.Name] = true
		}
		err = admin.CreateTopics(ctx, missing...)
		if !errors.Is(err, fault.TopicExists) || slices.EqualFunc(before, missing, func(a, b Spec) bool { return a.Name == b.Name }) {
			return names, err
		}
		before = missing
	}
}

// missingOf returns the topics that do not exist.
func missingOf(ctx context.Context, admin Admin, specs []Spec) ([]Spec, error) {
	var missing []Spec
	for _, s := range specs {
		_, err := admin.DescribeTopics(ctx, s.Name)
		switch {
		case errors.Is(err, fault.UnknownTopic):
			missing = append(missing, s)
		case err != nil:
			return nil, err
		}
	}
	return missing, nil
}

// raise adds the partitions that s asks for beyond the existing ones, and
// describes the topic as it is then.
func raise(ctx context.Context, admin Admin, s Spec) (Ensured, error) {
	d, err := describe(ctx, admin, s.Name)
	if err != nil {
		return Ensured{}, err
	}
	added := s.Partitions - len(d.Partitions)
	if added > 0 {
		err := admin.AddPartitions(ctx, s.Name, s.Partitions)
		if errors.Is(err, fault.InvalidPartitions) {
			added = 0 // another program may have added them first: the description below decides
		} else if err != nil {
			return Ensured{}, err
		}
		if d, err = describe(ctx, admin, s.Name); err != nil {
			return Ensured{}, err
		}
	}
	return Ensured{Name: s.Name, Partitions: len(d.Partitions), Added: max(0, added), Differs: differences(s, d)}, nil
}

func describe(ctx context.Context, admin Admin, name string) (Description, error) {
	described, err := admin.DescribeTopics(ctx, name)
	if err != nil {
		return Description{}, err
	}
	return described[0], nil
}

// differences returns the settings of d that differ from s, sorted by name.
func differences(s Spec, d Description) []Difference {
	var all []Difference
	differs := func(setting, asked, have string) {
		if asked != have {
			all = append(all, Difference{setting, asked, have})
		}
	}
	if s.Partitions > 0 {
		differs("partitions", fmt.Sprint(s.Partitions), fmt.Sprint(len(d.Partitions)))
	}
	if s.Replicas > 0 && len(d.Partitions) > 0 {
		differs("replicas", fmt.Sprint(s.Replicas), fmt.Sprint(len(d.Partitions[0].Replicas)))
	}
	asked, have := s.Config.WithDefaults(), d.Config.WithDefaults()
	for _, setting := range settings {
		value := func(c Config) string {
			if v := setting.get(&c); v != "" {
				return v
			}
			return "default"
		}
		differs(setting.name, value(asked), value(have))
	}
	slices.SortFunc(all, func(a, b Difference) int { return strings.Compare(a.Setting, b.Setting) })
	return all
}
