// Package pattern implements subscriptions by regular expression. It is the
// only package of the engine that imports regexp, since the expression comes
// from the program.
package pattern

import (
	"regexp"

	"github.com/runnel-go/runnel/fault"
)

// Pattern matches whole names of topics. A nil Pattern matches none.
type Pattern struct{ names *regexp.Regexp }

// Parse parses a regular expression of package regexp. For the empty one it
// returns nil. An invalid one is fault.InvalidRegularExpression.
func Parse(text string) (*Pattern, error) {
	if text == "" {
		return nil, nil
	}
	_, err := regexp.Compile(text) // compiled by itself: unbalanced brackets could match the ones added below
	var names *regexp.Regexp
	if err == nil {
		names, err = regexp.Compile("^(?:" + text + ")$")
	}
	if err != nil {
		return nil, fault.Newf(fault.InvalidRegularExpression, "%q", text).Because(err)
	}
	return &Pattern{names}, nil
}

// Matches reports whether the whole name matches.
func (p *Pattern) Matches(name string) bool { return p != nil && p.names.MatchString(name) }
