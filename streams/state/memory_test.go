package state_test

import (
	"fmt"
	"testing"

	"github.com/runnel-go/runnel/streams/state"
	"github.com/runnel-go/runnel/streams/state/statetest"
)

func TestMemory(t *testing.T) {
	statetest.Test(t, func(testing.TB, string) state.Bytes { return state.NewMemory() })
}

func ExampleNewMemory() {
	s := state.NewMemory()
	var b state.Batch
	b.Put([]byte("to"), []byte("2"))
	b.Put([]byte("be"), []byte("2"))
	b.Put([]byte("or"), []byte("1"))
	if err := s.Apply(&b); err != nil {
		panic(err)
	}
	before, err := s.Snapshot()
	if err != nil {
		panic(err)
	}
	b.Reset()
	b.DeleteRange([]byte("b"), []byte("p"))
	if err := s.Apply(&b); err != nil {
		panic(err)
	}
	show := func(key, value []byte) bool {
		fmt.Printf("%s %s, ", key, value)
		return true
	}
	_ = s.Range(nil, nil, state.Ascending, show)
	fmt.Println(s.Len())
	_ = before.Range(nil, nil, state.Descending, show)
	// Output:
	// to 2, 1
	// to 2, or 1, be 2,
}
