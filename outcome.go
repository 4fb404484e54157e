package runnel

import (
	"context"
	"errors"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/topic"
)

// unanswered is the error of a request to which no answer came. If its outcome is unknown, a
// node that was only slow may still carry it out, at any time.
type unanswered struct{ error }

// Unwrap returns the error.
func (e unanswered) Unwrap() error { return e.error }

// settle finds out what became of a change whose outcome is unknown. It returns nil if the
// change took effect, an error for which isUnled holds if it certainly did not, and unknown
// where that cannot be told.
//
// A leader that lost its leadership over the change either had it in its log when the next
// one was elected, or never will: so the catalogue tells as soon as a leader has confirmed
// that it leads. But a request without an answer may be carried out later.
func (b *Broker) settle(ctx context.Context, c *change, unknown error) error {
	certainly := fault.Newf(fault.NetworkException, "it had no effect").Because(unknown)
	if c.repeats() {
		return certainly
	}
	in := false
	err := b.lookUp(ctx)
	if err == nil {
		err = b.command(ctx, func() error {
			in = c.isIn(b.metadata.Catalogue)
			return nil
		})
	}
	_, pending := errors.AsType[unanswered](unknown)
	switch {
	case err == nil && in:
		return nil
	case err == nil && !pending:
		c.renew()
		return certainly
	}
	return unknown
}

// renew gives the topics to be created other IDs. None is ever in the log twice.
func (c *change) renew() {
	if c.kind == createTopics {
		for i := range c.ids {
			c.ids[i] = catalogue.NewID()
		}
	}
}

// repeats reports whether a change may take effect twice.
func (c *change) repeats() bool {
	return c.kind == createInternal || c.kind == allotProducerIDs || c.kind == lookUp
}

// isIn reports whether a catalogue has a change, or a later one of the same effect.
func (c *change) isIn(has *catalogue.Catalogue) bool {
	switch c.kind {
	case createTopics:
		for i, s := range c.specs {
			t := has.Topic(s.Name)
			if _, removed := has.Removed(c.ids[i]); !removed && (t == nil || t.ID != c.ids[i]) {
				return false
			}
		}
		return true
	case deleteTopics:
		for i, name := range c.names {
			if t := has.Topic(name); t != nil && t.ID == c.ids[i] {
				return false
			}
		}
		return true
	}
	t := has.Topic(c.names[0])
	return t != nil && (c.kind == addPartitions && len(t.Partitions) == c.total || c.kind == configureTopic && t.Config == c.config)
}

// identify gives a change the IDs of its topics, by which it is known again: those that it
// creates, and those that it deletes as they are now. It waits for the catalogue's leader.
func (b *Broker) identify(ctx context.Context, c *change) error {
	if c.kind == deleteTopics {
		if err := b.lookUp(ctx); err != nil {
			return err
		}
	}
	c.ids = make([]topic.ID, len(c.specs)+len(c.names)) // a change has either
	c.renew()
	for i, name := range c.names {
		if t, ok := b.host.Lookup(name); ok {
			c.ids[i] = t.ID
		}
	}
	return nil
}
