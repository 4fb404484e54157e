package group

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/record"
)

// classicVersion is the version of GroupMetadataValue that is written, as Kafka does.
// Version 4 would be flexible, and is read.
const classicVersion = 3

// encode writes GroupMetadataValue.
func (v *classic) encode(w *wire.Writer) {
	w.Int16(classicVersion)
	w.String(v.protocolType)
	w.Int32(v.generation)
	w.NullableString(orNull(v.protocol))
	w.NullableString(orNull(v.leader))
	w.Int64(v.since)
	w.ArrayLen(len(v.members))
	for _, id := range slices.Sorted(maps.Keys(v.members)) {
		m := v.members[id]
		w.String(id)
		w.NullableString(orNull(m.instanceID))
		w.String(m.clientID)
		w.String(m.clientHost)
		w.Int32(millis(m.rebalanceTimeout))
		w.Int32(millis(m.sessionTimeout))
		w.Bytes(append([]byte{}, m.subscription...)) // not null
		w.Bytes(append([]byte{}, m.assignment...))
	}
}

// decodeClassic reads GroupMetadataValue of any version.
func decodeClassic(b []byte) (*classic, error) {
	r := wire.NewReader(b)
	version := r.Int16()
	if version < 0 || version > 4 {
		return nil, unknownVersion("GroupMetadataValue", version)
	}
	text, nullable, blob, array := r.String, r.NullableString, r.Bytes, r.ArrayLen
	flexible := version >= 4
	if flexible {
		text, nullable, blob, array = r.CompactString, r.CompactNullableString, r.CompactBytes, r.CompactArrayLen
	}
	v := &classic{protocolType: text(), generation: r.Int32(), members: map[string]classicMember{}}
	v.protocol, v.leader = orEmpty(nullable()), orEmpty(nullable())
	v.since = -1
	if version >= 2 {
		v.since = r.Int64()
	}
	for n := array(8); n > 0; n-- {
		id := text()
		var m classicMember
		if version >= 3 {
			m.instanceID = orEmpty(nullable())
		}
		m.clientID, m.clientHost = text(), text()
		rebalance := int32(-1)
		if version >= 1 {
			rebalance = r.Int32()
		}
		session := r.Int32()
		if rebalance < 0 {
			rebalance = session
		}
		m.rebalanceTimeout, m.sessionTimeout = time.Duration(rebalance)*time.Millisecond, time.Duration(session)*time.Millisecond
		m.subscription, m.assignment = bytes.Clone(blob()), bytes.Clone(blob())
		if flexible {
			r.Tags(nil)
		}
		v.members[id] = m
	}
	if flexible {
		r.Tags(nil)
	}
	return v, r.End()
}

// subscribed returns the topics in what a consumer tells the leader
// (ConsumerProtocolSubscription), sorted; none where the bytes are something else.
func subscribed(subscription []byte) (topics []string) {
	r := wire.NewReader(subscription)
	r.Int16() // the version; later ones only add fields
	for n := r.ArrayLen(2); n > 0; n-- {
		topics = append(topics, r.String())
	}
	if r.Err() != nil {
		return nil
	}
	slices.Sort(topics)
	return topics
}

// assigned returns the partitions in a consumer's assignment
// (ConsumerProtocolAssignment), sorted; none where the bytes are something else.
func assigned(assignment []byte) (all []record.TopicPartition) {
	r := wire.NewReader(assignment)
	r.Int16()
	for n := r.ArrayLen(6); n > 0; n-- {
		name := r.String()
		for k := r.ArrayLen(4); k > 0; k-- {
			all = append(all, record.TopicPartition{Topic: name, Partition: r.Int32()})
		}
	}
	if r.Err() != nil {
		return nil
	}
	slices.SortFunc(all, record.TopicPartition.Compare)
	return all
}
