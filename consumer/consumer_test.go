package consumer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

func TestNoBackend(t *testing.T) {
	_, err := New(nil, Group("g"), Topics("a"))
	require.ErrorIs(t, err, fault.InvalidRequest)
}

func TestOptionsAreCheckedTogether(t *testing.T) {
	for _, test := range []struct {
		name string
		opts []Option
		want []error
	}{
		{"topics without a group", []Option{Topics("a")}, []error{fault.InvalidGroup}},
		{"an empty group", []Option{Group("")}, []error{fault.InvalidGroup}},
		{"topics and partitions", []Option{Group("g"), Topics("a"), Assign(a0)}, []error{fault.InvalidRequest}},
		{"bad names", []Option{Group("g"), Topics("a/b", "..")}, []error{fault.InvalidTopic}},
		{"a bad partition", []Option{Assign(record.TopicPartition{Topic: "a", Partition: -1})}, []error{fault.UnknownTopic}},
		{"an instance alone", []Option{InstanceID("i")}, []error{fault.InvalidRequest}},
		{"an unknown assignor", []Option{Group("g"), Topics("a"), Assignor("tasks")}, []error{fault.UnsupportedAssignor}},
		{"a negative offset", []Option{FromOffset(-1)}, []error{fault.OffsetOutOfRange}},
		{"all at once", []Option{Topics("a"), MaxRecords(0), SessionTimeout(0)}, []error{fault.InvalidGroup, fault.InvalidConfig, fault.InvalidSessionTimeout}},
		{"numbers", []Option{MaxBytes(0), CommitEvery(0), RebalanceTimeout(-1)}, []error{fault.InvalidConfig}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(newFake(), test.opts...)
			for _, want := range test.want {
				require.ErrorIs(t, err, want)
			}
		})
	}
	f := newFake()
	open(t, f, Topics("b", "a"), FromEnd(), ClientID("me"), InstanceID("i"), Assignor("range"), ReuseBuffers())
	require.Equal(t, []string{"a", "b"}, f.cfg.Topics)
	require.True(t, f.cfg.Start.IsLatest())
}

func TestPollMarksTheBatchBeforeAsDone(t *testing.T) {
	f := newFake()
	f.add(a0, numbers(0, 5)...)
	c := open(t, f, MaxRecords(2), ManualCommit())
	for _, want := range [][]string{{"0", "1"}, {"2", "3"}} {
		records, err := c.Poll(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, values(records))
	}
	require.NoError(t, c.Close())
	require.Empty(t, f.offsets(), "Commit was not called")

	f = newFake()
	f.add(a0, numbers(0, 5)...)
	c = open(t, f, MaxRecords(2))
	for range 2 {
		_, err := c.Poll(t.Context())
		require.NoError(t, err)
	}
	require.NoError(t, c.Close())
	require.Equal(t, map[int32]int64{0: 2}, f.offsets(), "the last batch is not done")
}

func TestCommitMarksWhatWasBroughtAsDone(t *testing.T) {
	f := newFake()
	f.add(a0, numbers(0, 5)...)
	c := open(t, f, MaxRecords(2), ManualCommit())
	_, err := c.Poll(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.Commit(t.Context()))
	require.Equal(t, Offset{Offset: 2, LeaderEpoch: 7}, f.committed[a0])
	require.NoError(t, c.Commit(t.Context()))
	require.Equal(t, 1, f.commits, "there was nothing new")
	records, err := c.Poll(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"2", "3"}, values(records))
}

func TestRecordsMarksOneByOne(t *testing.T) {
	f := newFake()
	f.add(a0, numbers(0, 5)...)
	c := open(t, f, ManualCommit())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	next := func(want string, then func()) {
		t.Helper()
		for r, err := range c.Records(ctx) {
			require.NoError(t, err)
			require.Equal(t, want, string(r.Value))
			then()
			break
		}
	}
	position := func(want int64) {
		t.Helper()
		at, err := c.Position(ctx, a0)
		require.NoError(t, err)
		require.Equal(t, want, at)
	}
	next("0", func() { position(1) })
	position(0)
	next("0", func() {})
	require.NoError(t, c.Commit(ctx))
	require.Empty(t, f.offsets(), "what was broken off is not done")

	next("0", func() { require.NoError(t, c.Commit(ctx)) })
	require.Equal(t, map[int32]int64{0: 1}, f.offsets())
	var got []string
	for r, err := range c.Records(ctx) {
		require.NoError(t, err)
		got = append(got, string(r.Value))
		if len(got) == 2 {
			cancel()
		}
	}
	require.Equal(t, []string{"1", "2"}, got, "it ends silently with its ctx")
	require.NoError(t, c.Commit(t.Context()))
	require.Equal(t, map[int32]int64{0: 3}, f.offsets(), "the last one was asked beyond")
	records, err := c.Poll(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"3", "4"}, values(records), "Poll brings the rest of the batch")
}

func TestErrorsOfALoop(t *testing.T) {
	f := newFake()
	f.add(a0, "0")
	lost := fault.At(fault.OffsetOutOfRange, "a", 0, 9)
	f.failFetch = []error{lost, fault.Closed, errors.New("never asked for")}
	c := open(t, f)
	var errs []error
	for _, err := range c.Records(t.Context()) {
		errs = append(errs, err)
	}
	require.Equal(t, []error{lost, fault.Closed}, errs, "a fatal error is yielded once")
}

func TestCallbacks(t *testing.T) {
	f := newFake()
	f.add(a0, "0", "1")
	f.add(a1, "2")
	var told []string
	var c *Consumer
	c = open(t, f, OnRevoked(func([]record.TopicPartition) {
		told = append(told, "revoked")
		require.Equal(t, map[int32]int64{0: 2}, f.offsets(), "what is done was committed before")
		require.NoError(t, c.CommitOffsets(t.Context(), map[record.TopicPartition]Offset{a1: {Offset: 1}}))
		_, err := c.Poll(t.Context())
		require.ErrorIs(t, err, fault.InvalidRequest)
	}), OnLost(func([]record.TopicPartition) {
		told = append(told, "lost")
		panic("oops")
	}), OnAssigned(func([]record.TopicPartition) {
		told = append(told, "assigned")
		require.NoError(t, c.Seek(t.Context(), a0, 1))
	}))
	_, err := c.Poll(t.Context())
	require.NoError(t, err)
	f.before = []func(){func() { f.take(a1, f.cfg.OnRevoked) }}
	_, err = c.Poll(ended())
	require.ErrorIs(t, err, context.Canceled)
	f.before = []func(){func() { f.take(a1, f.cfg.OnLost) }}
	_, err = c.Poll(ended())
	require.ErrorIs(t, err, context.Canceled)
	_, err = c.Poll(ended())
	require.ErrorContains(t, err, "OnLost panicked: oops", "the program goes on")
	f.before = []func(){func() { f.cfg.OnAssigned([]record.TopicPartition{a0}) }}
	records, err := c.Poll(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, values(records))
	require.Equal(t, []string{"revoked", "lost", "assigned"}, told)
	c.cfg.OnRevoked = nil
}

func TestRevokedRecordsAreDropped(t *testing.T) {
	f := newFake()
	f.add(a0, numbers(0, 4)...)
	c := open(t, f)
	var got []string
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for r, err := range c.Records(ctx) {
		require.NoError(t, err)
		got = append(got, string(r.Value))
		if len(got) == 2 {
			f.take(a0, f.cfg.OnRevoked)
			cancel()
		}
	}
	require.Equal(t, []string{"0", "1"}, got)
	require.Equal(t, map[int32]int64{0: 1}, f.offsets(), "the one at hand was not done")
	require.NoError(t, c.Commit(t.Context()))
	require.Equal(t, map[int32]int64{0: 1}, f.offsets(), "nothing is committed for what is another's")
}

func TestOneGoroutineAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := open(t, f)
		go func() {
			_, err := c.Poll(context.Background())
			require.ErrorIs(t, err, fault.Closed)
		}()
		synctest.Wait()
		_, err := c.Poll(t.Context())
		require.ErrorIs(t, err, fault.InvalidRequest)
		require.ErrorContains(t, err, "another goroutine")
		for _, err := range c.Records(t.Context()) {
			require.ErrorIs(t, err, fault.InvalidRequest)
		}
		require.ErrorIs(t, c.Seek(t.Context(), a0, 0), fault.InvalidRequest)
		require.NoError(t, c.Commit(t.Context()), "others may be called")
		require.NoError(t, c.Close())
		synctest.Wait()
	})
	f := newFake()
	f.add(a0, "0")
	c := open(t, f)
	for _, err := range c.Records(t.Context()) {
		require.NoError(t, err)
		_, err := c.Poll(t.Context())
		require.ErrorContains(t, err, "a loop over Records")
		break
	}
}

func TestCommitAsync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.add(a0, numbers(0, 4)...)
		c := open(t, f, MaxRecords(1), ManualCommit())
		told := make(chan error, 4)
		for range 3 {
			_, err := c.Poll(t.Context())
			require.NoError(t, err)
			c.CommitAsync(func(err error) { told <- err })
		}
		for range 3 {
			require.NoError(t, <-told)
		}
		require.Equal(t, map[int32]int64{0: 3}, f.offsets())

		c.CommitAsync(func(error) { panic("oops") })
		synctest.Wait()
		_, err := c.Poll(t.Context())
		require.ErrorContains(t, err, "CommitAsync's function panicked: oops")
		f.failCommits(fault.Storage)
		_, err = c.Poll(t.Context())
		require.NoError(t, err)
		c.CommitAsync(nil)
		synctest.Wait()
		_, err = c.Poll(ended())
		require.ErrorIs(t, err, fault.Storage, "it has no other way to be told")
		require.NoError(t, c.Close())
		c.CommitAsync(func(err error) { told <- err })
		require.ErrorIs(t, <-told, fault.Closed)
	})
}

func TestAutomaticCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.add(a0, numbers(0, 3)...)
		c := open(t, f, CommitEvery(time.Second))
		for r, err := range c.Records(t.Context()) {
			require.NoError(t, err)
			if string(r.Value) == "2" {
				time.Sleep(1500 * time.Millisecond)
				require.Equal(t, map[int32]int64{0: 2}, f.offsets(), "done so far")
				break
			}
		}
		f.failCommits(fault.Storage)
		_, err := c.Poll(t.Context())
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = c.Poll(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = c.Poll(ctx)
		require.ErrorIs(t, err, fault.Storage, "a failing commit does not stay hidden")
		f.failCommits(fault.StaleMemberEpoch)
		time.Sleep(2 * time.Second)
		_, err = c.Poll(ended())
		require.ErrorIs(t, err, context.Canceled, "the session tells about its group by itself")
		f.failCommits(nil)
	})
}

func TestPauseGivesBackWhatWasFetched(t *testing.T) {
	f := newFake()
	f.add(a0, numbers(0, 4)...)
	f.add(a1, "x")
	c := open(t, f)
	var got []string
	for r, err := range c.Records(t.Context()) {
		require.NoError(t, err)
		got = append(got, string(r.Value))
		switch string(r.Value) {
		case "1":
			require.NoError(t, c.Pause(a0))
		case "x":
			require.NoError(t, c.Resume(a0))
		}
		if len(got) == 5 {
			break
		}
	}
	require.Equal(t, []string{"0", "1", "x", "2", "3"}, got)
}

func TestSeekIsWhatIsDone(t *testing.T) {
	f := newFake()
	f.add(a0, numbers(0, 4)...)
	c := open(t, f, ManualCommit())
	for r, err := range c.Records(t.Context()) {
		require.NoError(t, err)
		if string(r.Value) == "1" {
			require.NoError(t, c.Seek(t.Context(), a0, 3))
			continue
		}
		if string(r.Value) == "3" {
			break
		}
		require.Equal(t, "0", string(r.Value))
	}
	require.NoError(t, c.Commit(t.Context()))
	require.Equal(t, map[int32]int64{0: 3}, f.offsets())
	require.NoError(t, c.SeekTo(t.Context(), topic.Latest()))
	lag, err := c.Lag(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[record.TopicPartition]int64{a0: 0}, lag)
}

func TestTyped(t *testing.T) {
	poisoned := func() (*fake, *Consumer) {
		f := newFake()
		f.add(a0, "1", "two", "3", "four")
		f.records[a0][2].Key = nil
		f.records[a0][0].Value = nil
		return f, open(t, f, ManualCommit())
	}
	integers := serde.For("a", serde.String, decimal{})

	_, c := poisoned()
	var got []any
	for r, err := range Of(c, integers).Records(t.Context()) {
		if err != nil {
			require.ErrorIs(t, err, fault.Serialization)
			got = append(got, err.Error())
			var failed *DecodeError
			require.ErrorAs(t, err, &failed)
			require.Equal(t, r.Position(), failed.Raw.Position())
			require.Equal(t, map[int64]string{1: "two", 3: "four"}[r.Offset], string(failed.Raw.Value))
			if r.Offset == 3 {
				break
			}
			continue
		}
		got = append(got, []any{r.HasKey, r.Key, r.HasValue, r.Value, r.Position().String()})
	}
	require.Equal(t, []any{true, "k1", false, 0, "a-0@0"}, got[0])
	require.Contains(t, got[1], "a-0 at offset 1")
	require.Equal(t, []any{false, "", true, 3, "a-0@2"}, got[2])
	require.Contains(t, got[3], "a-0 at offset 3")
	records, err := c.Poll(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"four"}, values(records), "what was broken off comes again, undecodable or not")

	f, c := poisoned()
	typed := Of(c, integers)
	for _, want := range [][]int64{{0}, nil, {2}, nil} {
		records, err := typed.Poll(t.Context())
		var offsets []int64
		for _, r := range records {
			offsets = append(offsets, r.Offset)
		}
		require.Equal(t, want, offsets)
		require.Equal(t, want == nil, errors.Is(err, fault.Serialization))
	}
	require.NoError(t, c.Commit(t.Context()))
	require.Equal(t, map[int32]int64{0: 4}, f.offsets())

	_, c = poisoned()
	n := 0
	for _, err := range Of(c, serde.For("b", serde.String, decimal{})).Records(t.Context()) {
		require.ErrorIs(t, err, fault.InvalidRequest)
		n++
	}
	require.Equal(t, 1, n, "a record of another topic ends the loop")
}

// A loop over Records opens and closes a consumer of its own: when the loop
// ends, what is done is committed, and the session is closed.
func TestALoopOverATopicIsAConsumer(t *testing.T) {
	strings := serde.For("a", serde.String, serde.String)
	begin := func() *fake {
		f := newFake()
		f.add(a0, numbers(0, 3)...)
		return f
	}

	t.Run("left by break", func(t *testing.T) {
		f := begin()
		for r, err := range Records(t.Context(), f, strings, Group("g")) {
			require.NoError(t, err)
			if r.Value == "2" {
				break
			}
		}
		require.Equal(t, []string{"a"}, f.cfg.Topics)
		require.Equal(t, map[int32]int64{0: 2}, f.offsets(), "the record at the break comes again")
		require.True(t, f.closed)
	})
	t.Run("ended by its context", func(t *testing.T) {
		f := begin()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for r, err := range Records(ctx, f, strings, Group("g")) {
			require.NoError(t, err)
			if r.Value == "2" {
				cancel()
			}
		}
		require.Equal(t, map[int32]int64{0: 3}, f.offsets(), "every record was done")
		require.True(t, f.closed)
	})
	t.Run("cannot commit when it ends", func(t *testing.T) {
		f := begin()
		f.failCommits(fault.Storage)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var last error
		for r, err := range Records(ctx, f, strings, Group("g")) {
			if last = err; r.Value == "2" {
				cancel()
			}
		}
		require.ErrorIs(t, last, fault.Storage)
		require.True(t, f.closed)
	})
	t.Run("left by a panic", func(t *testing.T) {
		f := begin()
		require.Panics(t, func() {
			for range Records(t.Context(), f, strings, Group("g")) {
				panic("in the loop")
			}
		})
		require.True(t, f.closed)
	})
	t.Run("cannot be opened", func(t *testing.T) {
		n := 0
		for _, err := range Records(t.Context(), newFake(), strings) {
			require.ErrorIs(t, err, fault.InvalidGroup)
			n++
		}
		require.Equal(t, 1, n)
	})
	t.Run("of partitions", func(t *testing.T) {
		f := begin()
		for r, err := range Records(t.Context(), f, strings, Assign(a0)) {
			require.NoError(t, err)
			require.Equal(t, "0", r.Value)
			break
		}
		require.Empty(t, f.cfg.Topics)
	})
}

// The program may keep the bytes of a record that could not be decoded, even if
// the buffer that they were fetched into is reused.
func TestWhatCouldNotBeDecodedIsKept(t *testing.T) {
	f := newFake()
	f.add(a0, "two", "four")
	c := open(t, f, ManualCommit(), ReuseBuffers())
	typed := Of(c, serde.For("a", serde.String, decimal{}))
	_, err := typed.Poll(t.Context())
	var failed *DecodeError
	require.ErrorAs(t, err, &failed)
	f.records[a0][0].Value[0] = 'X' // as the next fetch into this buffer would
	require.Equal(t, "two", string(failed.Raw.Value))
	require.Equal(t, "ktwo", string(failed.Raw.Key))
}

func TestASerdeThatPanicsHasFailed(t *testing.T) {
	f := newFake()
	f.add(a0, "1")
	c := open(t, f, ManualCommit())
	_, err := Of(c, serde.For[string, int]("a", serde.String, nil)).Poll(t.Context())
	require.ErrorIs(t, err, fault.Serialization)
	require.ErrorContains(t, err, "a-0 at offset 0")
}

// decimal is a serde of numbers in words of ten digits, which fails for others.
type decimal struct{}

func (decimal) Append(dst []byte, v int) ([]byte, error) { return append(dst, byte('0'+v)), nil }

func (decimal) Decode(src []byte) (int, error) {
	if len(src) != 1 || src[0] < '0' || src[0] > '9' {
		return 0, errors.New("not a digit")
	}
	return int(src[0] - '0'), nil
}
