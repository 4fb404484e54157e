// Package replica keeps copies of partitions on several nodes. The nodes of a
// cluster reach each other through a [Transport].
package replica
