package attach

import (
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/record"
)

// Nodes of a cluster tell each other of groups, and of the records of keys, in the encoding that answers use.

func write(w *wire.Writer, f fields) { f(&coder{w: w}) }

func read(r *wire.Reader, f fields) {
	c := &coder{r: *r}
	f(c)
	if c.wrong != nil {
		c.fail(c.wrong.Error())
	}
	*r = c.r
}

// WriteOffsets appends committed offsets.
func WriteOffsets(w *wire.Writer, all map[record.TopicPartition]consumer.Offset) {
	write(w, func(c *coder) { table(c, 16, &all, (*coder).offset) })
}

// ReadOffsets reads what WriteOffsets wrote. The map is never nil.
func ReadOffsets(r *wire.Reader) (all map[record.TopicPartition]consumer.Offset) {
	read(r, func(c *coder) { table(c, 16, &all, (*coder).offset) })
	return all
}

// WritePartitions appends a list of partitions.
func WritePartitions(w *wire.Writer, all []record.TopicPartition) {
	write(w, func(c *coder) { c.partitions(&all) })
}

// ReadPartitions reads what WritePartitions wrote.
func ReadPartitions(r *wire.Reader) (all []record.TopicPartition) {
	read(r, func(c *coder) { c.partitions(&all) })
	return all
}

// WriteGroups appends a list of groups.
func WriteGroups(w *wire.Writer, all []consumer.GroupListing) {
	write(w, func(c *coder) { list(c, 16, &all, (*coder).groupListing) })
}

// ReadGroups reads what WriteGroups wrote.
func ReadGroups(r *wire.Reader) (all []consumer.GroupListing) {
	read(r, func(c *coder) { list(c, 16, &all, (*coder).groupListing) })
	return all
}

// WriteGroup appends the description of a group.
func WriteGroup(w *wire.Writer, d consumer.GroupDescription) {
	write(w, func(c *coder) { c.groupDescription(&d) })
}

// ReadGroup reads what WriteGroup wrote.
func ReadGroup(r *wire.Reader) (d consumer.GroupDescription) {
	read(r, func(c *coder) { c.groupDescription(&d) })
	return d
}

// WriteKeyQuery appends a question for a key's records.
func WriteKeyQuery(w *wire.Writer, q *consumer.KeyQuery) {
	write(w, func(c *coder) { c.keyQuery(q) })
}

// ReadKeyQuery reads what WriteKeyQuery wrote.
func ReadKeyQuery(r *wire.Reader) (q consumer.KeyQuery) {
	read(r, func(c *coder) { c.keyQuery(&q) })
	return q
}

// WriteKeyPage appends the answer to a question.
func WriteKeyPage(w *wire.Writer, page *consumer.KeyPage, q *consumer.KeyQuery) {
	write(w, func(c *coder) { c.keyPage(page, q) })
}

// ReadKeyPage reads what WriteKeyPage wrote.
func ReadKeyPage(r *wire.Reader, q *consumer.KeyQuery) (page consumer.KeyPage) {
	read(r, func(c *coder) { c.keyPage(&page, q) })
	return page
}
