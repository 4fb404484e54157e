package consumer

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/record"
)

// slow is a backend whose first commit waits until the test lets it continue.
type slow struct {
	*fake
	first     sync.Once
	begun, on chan struct{}
}

func (s *slow) OpenConsumer(ctx context.Context, cfg Config) (Session, error) {
	_, err := s.fake.OpenConsumer(ctx, cfg)
	return s, err
}

func (s *slow) Commit(ctx context.Context, offsets map[record.TopicPartition]Offset) error {
	s.first.Do(func() {
		close(s.begun)
		<-s.on
	})
	return s.fake.Commit(ctx, offsets)
}

// What becomes done during a commit is part of the next one.
func TestCommitKeepsWhatIsDoneMeanwhile(t *testing.T) {
	s := &slow{fake: newFake(), begun: make(chan struct{}), on: make(chan struct{})}
	s.add(a0, "0", "1")
	c, err := New(s, Group("g"), Topics("a"), MaxRecords(1), ManualCommit())
	require.NoError(t, err)
	_, err = c.Poll(t.Context())
	require.NoError(t, err)
	told := make(chan error)
	c.CommitAsync(func(err error) { told <- err })
	<-s.begun
	_, err = c.Poll(t.Context())
	require.NoError(t, err)
	_, err = c.Poll(ended()) // marks the record before as done
	require.ErrorIs(t, err, context.Canceled)
	close(s.on)
	require.NoError(t, <-told)
	require.NoError(t, c.Commit(t.Context()))
	require.Equal(t, map[int32]int64{0: 2}, s.offsets())
	require.NoError(t, c.Close())
}
