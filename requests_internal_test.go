package runnel

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/topic"
)

// requestOf returns a request as another node sends it.
func requestOf(version int8, kind requestKind, catalogue int64, fields []byte) []byte {
	var w wire.Writer
	w.Int8(version)
	w.Int8(int8(kind))
	w.Int64(catalogue)
	return append(w.B, fields...)
}

// A request that a node does not understand is answered, so that the other one learns why.
func TestARequestThatIsNotUnderstoodIsAnswered(t *testing.T) {
	b, err := OpenMemory()
	require.NoError(t, err)
	defer b.Close()
	for _, test := range []struct {
		request []byte
		want    fault.Code
	}{
		{nil, fault.CorruptMessage},
		{[]byte{requestVersion, 1, 0}, fault.CorruptMessage},
		{requestOf(requestVersion+1, requestChange, 0, nil), fault.UnsupportedVersion},
		{requestOf(requestVersion, 99, 0, nil), fault.UnsupportedVersion},
		{requestOf(requestVersion, requestChange, 0, []byte{99}), fault.CorruptMessage},
	} {
		_, _, failed, err := readAnswer(b.answer(t.Context(), test.request))
		require.NoError(t, err)
		require.ErrorIs(t, failed, test.want, "%x", test.request)
	}
}

// A node looks at a request once it has followed the catalogue as far as the one that asks.
func TestARequestWaitsForTheCatalogue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := OpenMemory()
		require.NoError(t, err)
		defer b.Close()
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		grow := &change{kind: addPartitions, names: []string{"visits"}, total: 3}
		ahead := requestOf(requestVersion, requestChange, b.followed.Load()+1, grow.encode())
		_, _, failed, err := readAnswer(b.answer(t.Context(), ahead))
		require.NoError(t, err)
		require.ErrorIs(t, failed, fault.NetworkException, "it does not get there: %v", failed)
		require.ErrorIs(t, failed, context.DeadlineExceeded)

		answered := make(chan []byte, 1)
		go func() { answered <- b.answer(t.Context(), ahead) }()
		synctest.Wait()
		require.Empty(t, answered)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "visits"}))
		_, catalogue, failed, err := readAnswer(<-answered)
		require.NoError(t, err)
		require.NoError(t, failed)
		require.Equal(t, b.followed.Load(), catalogue)
	})
}

// A broker that is closing did not do what another node asks for, and says nothing of that
// node's own broker.
func TestAClosedBrokerAnswersThatNothingHappened(t *testing.T) {
	b, err := OpenMemory()
	require.NoError(t, err)
	require.NoError(t, b.Close())
	_, _, failed, err := readAnswer(b.answer(t.Context(), requestOf(requestVersion, requestChange, 0, (&change{kind: allotProducerIDs}).encode())))
	require.NoError(t, err)
	require.ErrorIs(t, failed, fault.NetworkException)
	require.NotErrorIs(t, failed, fault.Closed)
}

// FuzzReadAnswer: what another node answers never panics.
func FuzzReadAnswer(f *testing.F) {
	for _, err := range []error{nil, fault.NotCoordinator, context.Canceled, fault.Newf(fault.Closed, "x").Because(fault.NotLeader)} {
		var w wire.Writer
		w.Int8(requestVersion)
		w.Int64(7)
		attach.WriteError(&w, err)
		f.Add(append(w.B, 1, 2, 3))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fields, _, _, err := readAnswer(b)
		require.LessOrEqual(t, len(fields), len(b))
		if err != nil {
			require.ErrorIs(t, err, fault.CorruptMessage)
		}
	})
}
