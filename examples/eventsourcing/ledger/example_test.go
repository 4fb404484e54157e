package ledger_test

import (
	"context"
	"fmt"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/examples/eventsourcing/ledger"
)

// The same events give the same state, now and whenever the ledger is opened
// again.
func ExampleOpen() {
	ctx := context.Background()
	broker, err := runnel.OpenMemory()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer broker.Close()
	l, err := ledger.Open(ctx, broker)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	for _, line := range []string{"open household", "deposit household 100", "withdraw household 101"} {
		command, err := ledger.ParseCommand(line)
		if err != nil {
			fmt.Println(err)
			return
		}
		if _, err := l.Do(ctx, command); err != nil {
			fmt.Println(err)
		}
	}

	again, err := ledger.Open(ctx, broker)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer again.Close()
	fmt.Println(again.State())
	// Output:
	// refused: household has 100.00, which is less than 101.00
	// map[household:100.00]
}
