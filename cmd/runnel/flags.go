package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// counter is a flag that counts something: 0 means no limit.
type counter int64

// String implements pflag.Value.
func (c *counter) String() string { return strconv.FormatInt(int64(*c), 10) }

// Type implements pflag.Value.
func (c *counter) Type() string { return "number" }

// Set implements pflag.Value.
func (c *counter) Set(text string) error {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return errors.New("it must be a number, 0 or more")
	}
	*c = counter(n)
	return nil
}

// partitionList is a flag that names partitions: 2, or 0,2, or 1-3.
type partitionList []int32

// String implements pflag.Value.
func (p *partitionList) String() string { return numbers(*p) }

// Type implements pflag.Value.
func (p *partitionList) Type() string { return "partitions" }

// maxPartitions is how many partitions a range may name.
const maxPartitions = 100_000

// Set implements pflag.Value. Given twice, the flag names the partitions of both.
func (p *partitionList) Set(text string) error {
	bad := errors.New("it must be partitions, such as 2 or 0,2 or 1-3")
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.ParseInt(first, 10, 32)
		to, err2 := strconv.ParseInt(last, 10, 32)
		if err != nil || err2 != nil || from < 0 || to < from || to-from >= maxPartitions {
			return bad
		}
		for n := int32(from); n <= int32(to); n++ {
			if !slices.Contains(*p, n) {
				*p = append(*p, n)
			}
		}
	}
	return nil
}

// of returns these partitions of a topic, or all if none is named.
func (p partitionList) of(d topic.Description) ([]record.TopicPartition, error) {
	if len(p) == 0 {
		return d.TopicPartitions(), nil
	}
	chosen := make([]record.TopicPartition, 0, len(p))
	for _, n := range p {
		if int(n) >= len(d.Partitions) {
			return nil, usageError{noSuchPartition(d, n)}
		}
		chosen = append(chosen, record.TopicPartition{Topic: d.Name, Partition: n})
	}
	return chosen, nil
}

func noSuchPartition(d topic.Description, n int32) error {
	if len(d.Partitions) == 1 {
		return fmt.Errorf("topic %s has only partition 0, not %d", d.Name, n)
	}
	return fmt.Errorf("topic %s has the partitions 0 to %d, not %d", d.Name, len(d.Partitions)-1, n)
}

// flagError describes an error in a flag without Go's terms.
func flagError(cmd *cobra.Command, err error) error {
	help := cmd.CommandPath() + " --help shows what there is"
	switch e := err.(type) {
	case *pflag.NotExistError:
		name := "--" + e.GetSpecifiedName()
		if all := e.GetSpecifiedShortnames(); all != "" {
			name = "-" + e.GetSpecifiedName()
		} else if near := topic.Nearest(e.GetSpecifiedName(), flagNames(cmd)); len(near) > 0 {
			help = "did you mean --" + near[0] + "? " + help
		}
		return usageError{hinted{fmt.Errorf("%s has no flag %s", cmd.CommandPath(), name), help}}
	case *pflag.ValueRequiredError:
		return usageError{hinted{fmt.Errorf("--%s needs a value", e.GetFlag().Name), flagLine(e.GetFlag())}}
	case *pflag.InvalidValueError:
		f, why := e.GetFlag(), ""
		switch f.Value.Type() {
		case "int", "int32", "int64":
			if why = "it must be a number"; errors.Is(err, strconv.ErrRange) {
				why = "it is too large"
			}
		case "bool":
			why = "it must be true or false, or nothing"
		default:
			if cause := errors.Unwrap(e); cause != nil {
				why = cause.Error()
			}
		}
		return usageError{hinted{fmt.Errorf("--%s %s: %s", f.Name, shellQuoted(e.GetValue()), why), flagLine(f)}}
	}
	return usageError{hinted{err, help}}
}

// flagLine is a flag's line in the help.
func flagLine(f *pflag.Flag) string {
	name, usage := pflag.UnquoteUsage(f)
	return strings.TrimSpace("--"+f.Name+" "+name) + ": " + usage
}

// flagNames returns the names of all flags that a command takes.
func flagNames(cmd *cobra.Command) (names []string) {
	add := func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	}
	cmd.LocalFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	return names
}

// shellQuoted quotes a word for a shell.
func shellQuoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=,+@%", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
