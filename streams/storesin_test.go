package streams_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/streams/state"
)

// spied counts how many are open.
type spied struct {
	state.Bytes
	open *atomic.Int32
}

func (s *spied) Close() error {
	s.open.Add(-1)
	return s.Bytes.Close()
}

// Stores are where the program says, through a restart, whatever is there before,
// and what they are in is closed.
func TestStoresAreWhereTheProgramSays(t *testing.T) {
	broker := closed(t, openMemory(t))
	create(t, broker, 3, "lines", "totals")
	var open, opened atomic.Int32
	kept := streams.StoresIn(func(store string, task streams.TaskID) (state.Bytes, error) {
		if store != "counts" {
			return nil, fmt.Errorf("the store %s in %s", store, task)
		}
		open.Add(1)
		opened.Add(1)
		below := state.NewMemory()
		var stale state.Batch
		stale.Put([]byte("to"), []byte("not a number"))
		return &spied{below, &open}, below.Apply(&stale)
	})
	for range 2 {
		send(t, broker, "to be", "or not to be")
		app, err := streams.New(broker, "wordcount", wordCount, kept, streams.Threads(1))
		require.NoError(t, err)
		stop := start(app)
		require.NoError(t, app.CaughtUp(context.Background()))
		require.EqualValues(t, 3, open.Load())
		require.NoError(t, stop())
		require.Zero(t, open.Load())
	}
	require.EqualValues(t, 6, opened.Load())
	require.Equal(t, map[string]int64{"to": 4, "be": 4, "or": 2, "not": 2}, table(t, broker, totals))
}

// A store that cannot be opened fails the application, and nothing stays open.
func TestAStoreThatCannotBeOpenedFailsTheApplication(t *testing.T) {
	broken := errors.New("no such disk")
	for name, fail := range map[string]func() (state.Bytes, error){
		"error": func() (state.Bytes, error) { return nil, broken },
		"panic": func() (state.Bytes, error) { panic(broken) },
	} {
		t.Run(name, func(t *testing.T) {
			broker := closed(t, openMemory(t))
			create(t, broker, 1, "lines", "totals")
			app, err := streams.New(broker, "wordcount", wordCount, streams.StoresIn(func(string, streams.TaskID) (state.Bytes, error) { return fail() }))
			require.NoError(t, err)
			err = app.Run(context.Background())
			require.ErrorIs(t, err, broken)
			require.ErrorContains(t, err, "the store counts of task 1_0")
		})
	}
}
