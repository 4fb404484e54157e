package kafka

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// The codes of package fault are Kafka's: every one below 10000 has the name
// and the retriability that franz-go's independent table gives the number.
func TestFaultsAreKafkas(t *testing.T) {
	renamed := map[fault.Code]string{fault.NotLeader: "NOT_LEADER_FOR_PARTITION"} // KIP-392 gave it the name it has now
	// Kafka's own client has a RetriableException for it; franz-go retries it by itself.
	retriable := map[fault.Code]bool{fault.ConcurrentTransactions: true}
	known := 0
	for n := int16(-1); n < 10000; n++ {
		code := fault.Code(n)
		if !code.Known() {
			continue
		}
		known++
		e := kerr.TypedErrorForCode(n)
		require.NotNil(t, e, "%d %s", n, code.Name())
		require.Equal(t, n, e.Code, code.Name())
		if old, ok := renamed[code]; ok {
			require.Equal(t, e.Message, old)
		} else {
			require.Equal(t, e.Message, code.Name())
		}
		require.Equal(t, e.Retriable || retriable[code], code.Retriable(), code.Name())
	}
	require.Greater(t, known, 40)
}

func TestFailures(t *testing.T) {
	tp := record.TopicPartition{Topic: "orders", Partition: 3}
	require.NoError(t, failure(nil))
	require.NoError(t, answer(0, nil, "", -1))
	for n := int16(1); n < 140; n++ {
		err := failureOf(fmt.Errorf("wrapped: %w", kerr.ErrorForCode(n)), tp)
		e := kerr.TypedErrorForCode(n)
		require.ErrorIs(t, err, fault.Code(e.Code))
		require.ErrorContains(t, err, "orders-3: ")
		if !fault.Code(e.Code).Known() {
			require.ErrorContains(t, err, e.Message, "Kafka's words, where package fault has none")
		}
	}
	require.EqualError(t, failureOf(kerr.UnknownTopicOrPartition, tp), "orders-3: there is no such topic or partition")
	require.ErrorIs(t, failure(kgo.ErrClientClosed), fault.Closed)
	require.ErrorIs(t, failure(kgo.ErrRecordRetries), fault.TimedOut)
	require.ErrorIs(t, failure(context.Canceled), context.Canceled)
	require.ErrorIs(t, failure(fault.Locked), fault.Locked)
	own := fault.At(fault.NotAssigned, "a", 1, 2)
	require.Same(t, own, failure(own))
	strange := errors.New("strange")
	require.ErrorIs(t, failure(strange), strange)
	require.ErrorIs(t, failure(strange), fault.Unknown)
	message := "there is a reason"
	require.EqualError(t, answer(44, &message, "orders", -1), "orders: a policy forbids this: there is a reason")
}
