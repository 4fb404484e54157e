package topic

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/runnel-go/runnel/fault"
)

// Ensured is a topic that Ensure has found or made.
type Ensured struct {
	Name       string
	Created    bool // it was missing
	Partitions int  // how many there are now
	Added      int  // how many of them Ensure has added to a topic that was there

	// Differs is what is other than the Spec asks for, sorted by name: Ensure
	// leaves it so.
	Differs []Difference
}

// Difference is one setting of a topic that is not what a Spec asks for.
type Difference struct {
	// Setting is Kafka's name for it, or "partitions" or "replicas".
	Setting     string
	Asked, Have string // Kafka's values; "default" where it has no value of its own
}

// String says what is, and what was asked for: "retention.ms is 3600000, not
// 86400000".
func (d Difference) String() string {
	return fmt.Sprintf("%s is %s, not %s", d.Setting, d.Have, d.Asked)
}

// String says what happened, and what differs.
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

// Err returns nil where the topic is as it was asked for, else
// fault.InvalidConfig with everything that differs. It is for programs that
// prefer not to run on other topics than they were written for.
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

// Ensure makes topics be there: it creates those that are missing, all of them
// or none, and adds partitions where a Spec asks for more than there are. (Keys
// then go to other partitions than before.) It never takes partitions away and
// never changes the configuration of a topic that exists: what is other than
// asked for is reported, one Ensured for each Spec, in their order. Zero
// Partitions and Replicas ask for nothing; a zero field of a Config asks for
// its default.
//
// It is what a program calls when it starts; any number of them may do so at
// once. With an error, the result has only what was done before it. A Spec
// that is not valid, or named twice (fault.InvalidRequest), creates nothing. A
// Kafka cluster creates topics one by one, and knows no durability, which
// therefore differs there.
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

// createMissing creates the topics that are not there, and returns their names.
// Where another program was faster with one of them, it looks again.
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

// missingOf returns the topics that are not there.
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

// raise adds the partitions that s asks for beyond those that are there, and
// describes what is there then.
func raise(ctx context.Context, admin Admin, s Spec) (Ensured, error) {
	d, err := describe(ctx, admin, s.Name)
	if err != nil {
		return Ensured{}, err
	}
	added := s.Partitions - len(d.Partitions)
	if added > 0 {
		err := admin.AddPartitions(ctx, s.Name, s.Partitions)
		if errors.Is(err, fault.InvalidPartitions) {
			added = 0 // another program may have been faster: what is there now tells
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

// differences returns what of d is not as s asks for, sorted by name.
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
