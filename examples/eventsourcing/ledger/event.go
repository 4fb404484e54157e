package ledger

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Kind is the kind of an event.
type Kind string

// The kinds of events.
const (
	Opened      Kind = "opened"
	Deposited   Kind = "deposited"
	Withdrawn   Kind = "withdrawn"
	Transferred Kind = "transferred"
)

// Event is something that has happened and cannot be undone. A transfer
// concerns two accounts and is one event, so there is no moment between its
// halves.
type Event struct {
	Kind    Kind   `json:"kind"`
	Account string `json:"account"`
	To      string `json:"to,omitempty"` // of a transfer
	Cents   Cents  `json:"cents,omitempty"`
}

// String returns the event in words.
func (e Event) String() string {
	switch e.Kind {
	case Opened:
		return e.Account + " was opened"
	case Transferred:
		return fmt.Sprintf("%v went from %s to %s", e.Cents, e.Account, e.To)
	case Deposited:
		return fmt.Sprintf("%v went to %s", e.Cents, e.Account)
	}
	return fmt.Sprintf("%v went out of %s", e.Cents, e.Account)
}

// Cents is an amount of money.
type Cents int64

// String returns the amount in whole units and cents, such as 12.05.
func (c Cents) String() string {
	sign := ""
	if c < 0 {
		sign, c = "-", -c
	}
	return fmt.Sprintf("%s%d.%02d", sign, c/100, c%100)
}

// maxCents is the most that one event moves, so that sums do not overflow.
const maxCents = 1_000_000_000_000

// ParseCents reads an amount above zero, such as 12, 12.5 or 12.05.
func ParseCents(s string) (Cents, error) {
	units, cents, _ := strings.Cut(s, ".")
	n, err := strconv.ParseUint(units+(cents + "00")[:2], 10, 63)
	if err != nil || len(cents) > 2 || n == 0 || n > maxCents {
		return 0, fmt.Errorf("%q is no amount", s)
	}
	return Cents(n), nil
}

// Command is a requested event.
type Command Event

// ParseCommand reads a command: open NAME, deposit NAME AMOUNT, withdraw NAME
// AMOUNT, or transfer FROM TO AMOUNT.
func ParseCommand(line string) (c Command, err error) {
	words := strings.Fields(line)
	amount := ""
	switch {
	case len(words) == 2 && words[0] == "open":
		return Command{Kind: Opened, Account: words[1]}, nil
	case len(words) == 3 && words[0] == "deposit":
		c, amount = Command{Kind: Deposited, Account: words[1]}, words[2]
	case len(words) == 3 && words[0] == "withdraw":
		c, amount = Command{Kind: Withdrawn, Account: words[1]}, words[2]
	case len(words) == 4 && words[0] == "transfer":
		c, amount = Command{Kind: Transferred, Account: words[1], To: words[2]}, words[3]
	default:
		return c, errors.New("the commands are: open NAME, deposit NAME AMOUNT, withdraw NAME AMOUNT, transfer FROM TO AMOUNT")
	}
	c.Cents, err = ParseCents(amount)
	return c, err
}
