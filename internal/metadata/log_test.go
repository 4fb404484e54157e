package metadata_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/host/hosttest"
	"github.com/runnel-go/runnel/internal/metadata"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// open opens a catalogue whose partition is a replica.
func open(t *testing.T, fs vfs.FS, r *hosttest.Replication) *metadata.Log {
	t.Helper()
	require.NoError(t, fs.MkdirAll("data"))
	l, _, err := metadata.Open(metadata.Config{
		FS: fs, Dir: "data", Codec: record.NewCodec(0), Node: r.Node(),
		Open: func(cfg partition.Config) (partition.Opened, log.Recovery, error) {
			cfg.Replica = true
			at := record.TopicPartition{Topic: topic.ClusterMetadata}
			return r.Open(topic.Placement{TopicPartition: at}, cfg)
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

func create(l *metadata.Log, name string) ([][]byte, error) {
	return l.Catalogue.CreateTopics([]topic.Spec{{Name: name, Partitions: 1, Replicas: 1}}, []topic.Node{{ID: 7}}, catalogue.NewID)
}

// appended encodes records as one batch of the log.
func appended(t *testing.T, values [][]byte) []byte {
	b := record.NewBuilder(1 << 20)
	for _, v := range values {
		require.True(t, b.Add(1000, nil, v, nil))
	}
	batch, err := b.Batch(nil, record.None, 0)
	require.NoError(t, err)
	return append([]byte(nil), batch.Bytes...)
}

// TestACommandKnowsAllThatWasCommitted has another leader append between a command's
// judgement and its commit: what was judged without it is refused.
func TestACommandKnowsAllThatWasCommitted(t *testing.T) {
	r := hosttest.NewReplication()
	l := open(t, vfs.NewMemory(), r)
	values, err := create(l, "orders")
	require.NoError(t, err)
	require.NoError(t, l.Commit(values))
	require.Equal(t, []string{"orders"}, l.TakeChanged())
	require.Empty(t, l.TakeChanged())

	same, err := create(l, "visits")
	require.NoError(t, err)
	stale, err := create(l, "visits")
	require.NoError(t, err)
	group := r.Group("__cluster_metadata-0")
	require.NoError(t, group.AppendAwait(appended(t, same)))
	require.ErrorIs(t, l.Commit(stale), fault.LeaderNotAvailable)
	require.Nil(t, l.Catalogue.Topic("visits"), "it folds when it is asked to")
	require.NoError(t, l.CatchUp())
	require.Equal(t, []string{"visits"}, l.TakeChanged())
	_, err = create(l, "visits")
	require.ErrorIs(t, err, fault.TopicExists)

	group.Depose()
	var elsewhere *metadata.NotLeader
	values, err = create(l, "returns")
	require.NoError(t, err)
	err = l.Commit(values)
	require.True(t, errors.As(err, &elsewhere))
	require.EqualValues(t, -1, elsewhere.Leader)
	require.ErrorIs(t, err, fault.NotLeader)
}

// TestTheLiveCatalogueIsItsReplay compares the catalogue of a leader, that of a
// follower, and one that is opened afterwards.
func TestTheLiveCatalogueIsItsReplay(t *testing.T) {
	r, fs := hosttest.NewReplication(), vfs.NewMemory()
	leader := open(t, fs, r)
	follower := open(t, vfs.NewMemory(), r.Beside())
	for _, name := range []string{"orders", "visits", "returns"} {
		values, err := create(leader, name)
		require.NoError(t, err)
		require.NoError(t, leader.Commit(values))
	}
	values, err := leader.Catalogue.DeleteTopics([]string{"visits"})
	require.NoError(t, err)
	require.NoError(t, leader.Commit(values))
	_, err = leader.NewProducerID()
	require.NoError(t, err)
	require.NoError(t, follower.CatchUp())
	require.Equal(t, leader.Catalogue, follower.Catalogue)
	require.NoError(t, leader.Close())
	require.Equal(t, leader.Catalogue, open(t, fs, hosttest.NewReplication()).Catalogue)
}

// TestABlockOfProducerIDs is given to another node: its IDs are this log's no more.
func TestABlockOfProducerIDs(t *testing.T) {
	leader := open(t, vfs.NewMemory(), hosttest.NewReplication())
	other := open(t, vfs.NewMemory(), hosttest.NewReplication())
	given := map[int64]bool{}
	take := func(id int64, err error) {
		t.Helper()
		require.NoError(t, err)
		require.False(t, given[id], "%d is given twice", id)
		given[id] = true
	}
	take(leader.NewProducerID())
	first, err := leader.AllotProducerIDs()
	require.NoError(t, err)
	take(other.TakeBlock(first), nil)
	for range 999 {
		id, ok := other.ProducerID()
		require.True(t, ok)
		take(id, nil)
	}
	_, ok := other.ProducerID()
	require.False(t, ok, "the block is used up")
	for range 1500 {
		take(leader.NewProducerID())
	}
}

// late is a partition whose high watermark is behind when it is opened, as that of a
// replica is that begins to lead at the same moment.
type late struct {
	partition.Opened
	asked int // how often it was asked who leads
}

func (l *late) HighWatermark() int64 {
	if l.asked < 2 {
		return l.StartOffset()
	}
	return l.Opened.HighWatermark()
}

func (l *late) Leadership() (int32, bool) {
	l.asked++
	return l.Opened.Leadership()
}

// A leader that has not read all of the catalogue yet opens it, and reads on.
func TestOpenedBeforeAllIsCommitted(t *testing.T) {
	r, fs := hosttest.NewReplication(), vfs.NewMemory()
	require.NoError(t, fs.MkdirAll("data"))
	cfg := metadata.Config{
		FS: fs, Dir: "data", Codec: record.NewCodec(0), Node: r.Node(),
		Open: func(cfg partition.Config) (partition.Opened, log.Recovery, error) {
			cfg.Replica = true
			p, found, err := r.Open(topic.Placement{TopicPartition: record.TopicPartition{Topic: topic.ClusterMetadata}}, cfg)
			return &late{Opened: p}, found, err
		},
	}
	first, _, err := metadata.Open(cfg)
	require.NoError(t, err)
	values, err := create(first, "orders")
	require.NoError(t, err)
	require.NoError(t, first.Commit(values))
	require.NoError(t, first.Close())

	again, _, err := metadata.Open(cfg)
	require.NoError(t, err)
	defer again.Close()
	require.NoError(t, again.CatchUp())
	require.NotNil(t, again.Catalogue.Topic("orders"))
}

// A node whose disk is new has no snapshot: it learns the catalogue from the log, of which a
// group keeps all, whatever snapshots there are.
func TestAGroupKeepsTheWholeLog(t *testing.T) {
	r := hosttest.NewReplication()
	fs := vfs.NewMemory()
	l := open(t, fs, r)
	for i := range 4 {
		values, err := create(l, fmt.Sprint("topic-", i))
		require.NoError(t, err)
		require.NoError(t, l.Commit(values))
		require.NoError(t, l.WriteSnapshot())
	}
	require.Zero(t, l.Partition().StartOffset())
	late := open(t, vfs.NewMemory(), r.Beside())
	require.Equal(t, l.Catalogue.Names(), late.Catalogue.Names())
}
