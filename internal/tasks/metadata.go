package tasks

import (
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/wire"
)

// Assignor is the name of this assignor in a consumer's configuration and in its
// group.
const Assignor = "tasks"

// MaxMetadata is how long a member's metadata may be, in bytes.
const MaxMetadata = 1 << 20

// Metadata is the information that a member sends to the assignor.
type Metadata struct {
	// Process names the process that the member is a thread of. Members of one
	// process start and stop together.
	Process string

	// SubTopologies are the topics of each sub-topology that the member can
	// run. No topic belongs to two of them.
	SubTopologies [][]string
}

// metadataVersion is the only version of the encoding. Others are refused, so
// that two incompatible programs never share tasks.
const metadataVersion = 0

// Encode returns the bytes that travel in the group's subscription.
func (m Metadata) Encode() ([]byte, error) {
	var w wire.Writer
	w.Int16(metadataVersion)
	w.CompactString(m.Process)
	w.CompactArrayLen(len(m.SubTopologies))
	for _, sub := range m.SubTopologies {
		w.CompactArrayLen(len(sub))
		for _, name := range sub {
			w.CompactString(name)
		}
	}
	w.NoTags()
	if err := w.Err(); err != nil {
		return nil, err
	}
	if len(w.B) > MaxMetadata {
		return nil, fault.Newf(fault.InvalidConfig, "a topology of %d bytes, %d fit into a group's metadata", len(w.B), MaxMetadata)
	}
	return w.B, nil
}

// Decode reads the output of Encode. Bytes of another version are
// fault.UnsupportedVersion, invalid ones fault.InvalidRequest.
func Decode(b []byte) (Metadata, error) {
	r := wire.NewReader(b)
	if version := r.Int16(); version != metadataVersion && r.Err() == nil {
		return Metadata{}, fault.Newf(fault.UnsupportedVersion, "the tasks' metadata have version %d, this program knows %d", version, metadataVersion)
	}
	m := Metadata{Process: r.CompactString()}
	for n := r.CompactArrayLen(1); n > 0; n-- {
		var sub []string
		for k := r.CompactArrayLen(1); k > 0; k-- {
			sub = append(sub, r.CompactString())
		}
		m.SubTopologies = append(m.SubTopologies, sub)
	}
	r.Tags(nil)
	if err := r.End(); err != nil {
		return Metadata{}, fault.Newf(fault.InvalidRequest, "the tasks' metadata").Because(err)
	}
	seen := make(map[string]bool)
	for _, sub := range m.SubTopologies {
		for _, name := range sub {
			if seen[name] {
				return Metadata{}, fault.Newf(fault.InvalidRequest, "the topic %s belongs to two sub-topologies", name)
			}
			seen[name] = true
		}
	}
	return m, nil
}

// SubTopology returns the number of the sub-topology that reads a topic, and
// whether there is one.
func (m Metadata) SubTopology(topic string) (int, bool) {
	for i, sub := range m.SubTopologies {
		if slices.Contains(sub, topic) {
			return i, true
		}
	}
	return 0, false
}
