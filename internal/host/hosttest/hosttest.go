// Package hosttest gives tests a host in memory, with a catalogue and no broker.
package hosttest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/metadata"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Host is a host in memory with the catalogue that its topics are in.
type Host struct {
	*host.Host
	t        testing.TB
	node     int32
	metadata *metadata.Log
}

// New returns a host with these topics, of one partition each. It is closed when the
// test ends, with its sessions.
func New(t testing.TB, topics ...string) *Host {
	t.Helper()
	return open(t, nil, metadata.NodeID, topics)
}

// Replicated is New with a Replication.
func Replicated(t testing.TB, r host.Replication, topics ...string) *Host {
	t.Helper()
	return open(t, r, r.Node(), topics)
}

func open(t testing.TB, r host.Replication, node int32, topics []string) *Host {
	t.Helper()
	fsys, codec := vfs.NewMemory(), record.NewCodec(0)
	require.NoError(t, fsys.MkdirAll("data"))
	m, _, err := metadata.Open(metadata.Config{FS: fsys, Dir: "data", Codec: codec})
	require.NoError(t, err)
	h := &Host{t: t, node: node, metadata: m}
	h.Host = host.New(host.Config{
		FS: fsys, Dir: "data", Replication: r, Codec: codec, Durability: topic.Memory,
		Found: func(host.Found) {}, Failed: func(record.TopicPartition, error) {},
	}, func(*host.Host) host.Cleaner { return idle{} })
	t.Cleanup(func() {
		sessions, _ := h.Close()
		for s := range sessions {
			require.NoError(t, s.Close())
		}
		require.NoError(t, h.Shut())
		require.NoError(t, m.Close())
	})
	for _, name := range topics {
		require.NoError(t, h.Create(name))
	}
	return h
}

// Create creates a topic of one partition.
func (h *Host) Create(name string) error {
	values, err := h.metadata.Catalogue.CreateTopics([]topic.Spec{{Name: name, Partitions: 1, Replicas: 1}}, []topic.Node{{ID: h.node}}, catalogue.NewID)
	if err == nil {
		err = h.metadata.Commit(values)
	}
	if err == nil {
		h.Publish(h.metadata.Catalogue, name)
		h.Announce()
	}
	return err
}

// Remove deletes a topic.
func (h *Host) Remove(name string) error {
	values, err := h.metadata.Catalogue.DeleteTopics([]string{name})
	if err == nil {
		err = h.metadata.Commit(values)
	}
	if err != nil {
		return err
	}
	t, _ := h.Lookup(name)
	err = h.Delete(t)
	h.Announce()
	return err
}

// idle is a cleaner that cleans nothing.
type idle struct{}

func (idle) Enqueue(*host.Topic, *partition.Partition)   {}
func (idle) Renew(*host.Topic, *partition.Partition)     {}
func (idle) Forget(*host.Topic, ...*partition.Partition) {}
