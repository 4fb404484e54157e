// Package pattern is what a consumer subscribes to by a regular expression. It is
// the one package of the engine that links regexp, because the expression is the
// program's.
package pattern

import (
	"regexp"

	"github.com/runnel-go/runnel/fault"
)

// Pattern matches whole names of topics. A nil one matches none.
type Pattern struct{ names *regexp.Regexp }

// Parse reads a regular expression of package regexp; the empty one is nil.
// fault.InvalidRegularExpression.
func Parse(text string) (*Pattern, error) {
	if text == "" {
		return nil, nil
	}
	_, err := regexp.Compile(text) // by itself: brackets could close ours
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
