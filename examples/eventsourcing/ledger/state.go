package ledger

import (
	"fmt"
	"maps"
	"slices"
)

// State is the result of the events so far: every account with its balance.
// Only Apply changes it.
type State map[string]Cents

// Apply applies an event to the state. Events were checked when they happened,
// so Apply does not check them.
func (s State) Apply(e Event) {
	switch e.Kind {
	case Opened:
		s[e.Account] = 0
	case Deposited:
		s[e.Account] += e.Cents
	case Withdrawn:
		s[e.Account] -= e.Cents
	case Transferred:
		s[e.Account] -= e.Cents
		s[e.To] += e.Cents
	}
}

// Decide returns the event for a command, or the reason why it is refused.
func (s State) Decide(c Command) (Event, error) {
	balance, exists := s[c.Account]
	if c.Kind == Opened {
		if exists {
			return Event{}, fmt.Errorf("%s is open already", c.Account)
		}
		return Event(c), nil
	}
	if !exists {
		return Event{}, fmt.Errorf("there is no account %s", c.Account)
	}
	if c.Kind == Transferred {
		if _, exists := s[c.To]; !exists {
			return Event{}, fmt.Errorf("there is no account %s", c.To)
		}
		if c.To == c.Account {
			return Event{}, fmt.Errorf("%s cannot pay itself", c.Account)
		}
	}
	if c.Kind != Deposited && balance < c.Cents {
		return Event{}, fmt.Errorf("%s has %v, which is less than %v", c.Account, balance, c.Cents)
	}
	return Event(c), nil
}

// Accounts returns the names of all accounts, sorted.
func (s State) Accounts() []string { return slices.Sorted(maps.Keys(s)) }
