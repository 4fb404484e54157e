package topic

import (
	"strings"

	"github.com/runnel-go/runnel/fault"
)

// MaxNameLen is the length of the longest name: with a dash and a partition's
// number appended it is still a valid file name on every system.
const MaxNameLen = 249

// Names of the topics in which a broker keeps its own state.
const (
	ClusterMetadata  = "__cluster_metadata"  // the cluster metadata, in KRaft's records
	ConsumerOffsets  = "__consumer_offsets"  // groups and their committed offsets
	TransactionState = "__transaction_state" // transactions and their producers
	ShareGroupState  = "__share_group_state" // share groups and what they have delivered
)

// IsInternal reports whether name is that of a topic in which a broker keeps
// its own state.
func IsInternal(name string) bool {
	return name == ClusterMetadata || name == ConsumerOffsets || name == TransactionState || name == ShareGroupState
}

// ValidateName returns fault.InvalidTopic for a name that Kafka refuses. A
// valid name has 1 to 249 characters, each an ASCII letter or digit, a dot, an
// underscore or a dash, and is not "." or "..". Such a name cannot escape a
// directory.
func ValidateName(name string) error {
	switch {
	case name == "":
		return badName(name, "a name has at least one character")
	case name == "." || name == "..":
		return badName(name, `a name is not "." or ".."`)
	case len(name) > MaxNameLen:
		return fault.Newf(fault.InvalidTopic, "%q…: a name has at most %d characters, not %d", name[:32], MaxNameLen, len(name))
	}
	for _, c := range name {
		if !legal(c) {
			return badName(name, "a name consists of a-z, A-Z, 0-9, '.', '_' and '-'")
		}
	}
	return nil
}

func legal(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

func badName(name, rule string) error {
	return fault.Newf(fault.InvalidTopic, "%q: %s", name, rule)
}

// CollisionKey returns a key that must differ between topics: Kafka's metrics
// write dots as underscores, so Kafka refuses to create a.b next to a_b.
func CollisionKey(name string) string { return strings.ReplaceAll(name, ".", "_") }

// Nearest returns up to three of names that the user may have meant by name,
// the nearest first, for error messages with suggestions.
func Nearest(name string, names []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	if len(name) > MaxNameLen {
		return nil
	}
	limit := max(2, len(name)/3)
	name = strings.ToLower(name)
	var best []candidate
	for _, n := range names {
		if len(n) < len(name)-limit || len(n) > len(name)+limit {
			continue // the lengths alone differ too much
		}
		d := distance(name, strings.ToLower(n))
		if d > limit {
			continue
		}
		i := len(best)
		for i > 0 && (best[i-1].distance > d || best[i-1].distance == d && best[i-1].name > n) {
			i--
		}
		best = append(best[:i], append([]candidate{{n, d}}, best[i:]...)...)
		best = best[:min(len(best), 3)]
	}
	out := make([]string, len(best))
	for i, c := range best {
		out[i] = c.name
	}
	return out
}

// distance is the number of characters to insert, remove or replace to get from
// a to b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
