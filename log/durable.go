package log

import "fmt"

// endsEarly returns a *fault.Corruption if the log ends before an offset that its owner
// knows to have been durable. What is at its end is then no torn tail, and stays.
func (o *opening) endsEarly(s *segment, pos, end int64, found string) error {
	if end >= o.l.cfg.Durable {
		return nil
	}
	if found == "" {
		found = "the end"
	}
	return o.l.corrupt(s, end, pos, fmt.Sprintf("the batches of the offsets %d to %d, which were durable", end, o.l.cfg.Durable-1), found)
}

// missing is the error for the segment of a checkpoint that has no file.
func (o *opening) missing(c *checkpoint) error {
	s := o.l.newSegment(c.segment, 0)
	return o.l.corrupt(s, c.segment, 0, fmt.Sprintf("a file of at least %d bytes", c.pos), "none")
}
