package activity

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

// Event is something that a visitor did.
type Event struct {
	Time   time.Time
	Method string
	Path   string
	Status int
}

// The topics, one for each kind of activity. Keys are visitors, so that what one
// visitor did stays in order.
var (
	Views    = serde.For("activity-views", serde.String, serde.JSON[Event]())
	Searches = serde.For("activity-searches", serde.String, serde.JSON[Event]())
	Orders   = serde.For("activity-orders", serde.String, serde.JSON[Event]())
	Errors   = serde.For("activity-errors", serde.String, serde.JSON[Event]())
)

// partitions is how many consumers of a group can share the work.
const partitions = 3

func specs() []topic.Spec {
	var all []topic.Spec
	for _, t := range []serde.Topic[string, Event]{Views, Searches, Orders, Errors} {
		all = append(all, topic.Spec{Name: t.Name, Partitions: partitions})
	}
	return all
}

// kind returns the topic that an event belongs to.
func kind(e Event) serde.Topic[string, Event] {
	switch {
	case e.Status >= 400:
		return Errors
	case e.Method == "POST":
		return Orders
	case strings.HasPrefix(e.Path, "/search?"):
		return Searches
	}
	return Views
}

// query returns what was searched for.
func query(e Event) string {
	_, values, _ := strings.Cut(e.Path, "?")
	parsed, err := url.ParseQuery(values)
	if err != nil {
		return values
	}
	return parsed.Get("q")
}

// parseLine reads a line of an access log as web servers have written it since
// NCSA's: visitor, two names, time, request, status, size and maybe more.
func parseLine(line string) (visitor string, e Event, err error) {
	visitor, rest, _ := strings.Cut(line, " ")
	_, rest, ok := strings.Cut(rest, "[")
	at, rest, closed := strings.Cut(rest, "] \"")
	request, rest, quoted := strings.Cut(rest, "\" ")
	fields := strings.Fields(request)
	status, _, _ := strings.Cut(rest, " ")
	if !ok || !closed || !quoted || visitor == "" || len(fields) < 2 {
		return "", Event{}, fmt.Errorf("%q is no line of an access log", line)
	}
	e = Event{Method: fields[0], Path: fields[1]}
	if e.Time, err = time.Parse("02/Jan/2006:15:04:05 -0700", at); err != nil {
		return "", Event{}, err
	}
	e.Status, err = strconv.Atoi(status)
	return visitor, e, err
}
