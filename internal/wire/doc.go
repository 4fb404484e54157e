// Package wire encodes and decodes the fields that Kafka's message schemas are
// made of.
//
// The catalogue and the group coordinator store their state in records that
// Kafka's own tools can read. Kafka's message schemas describe the bytes of
// these records. A [Writer] appends fields and a [Reader] reads them. The
// packages that know a schema decide which fields come in which order.
//
// Kafka has two encodings of everything that has a length. Classic versions of
// a schema write lengths as int16 or int32 with -1 for null. Flexible versions
// (KIP-482) write them as an unsigned varint of length+1 with 0 for null, and
// end every structure with tagged fields:
//
//	            classic                 flexible
//	string      int16 n, n bytes        uvarint n+1, n bytes
//	bytes       int32 n, n bytes        uvarint n+1, n bytes
//	array       int32 n, n elements     uvarint n+1, n elements
//	structure   its fields              its fields, uvarint count of tags, the tags
//	tag         -                       uvarint number, uvarint n, n bytes
//
// Numbers are big-endian, a boolean is one byte, a UUID is 16 bytes.
//
// A Reader trusts no input: a length beyond the remaining bytes is an error
// before anything is allocated. The first error is kept, and every later call
// returns zero, so a decoder checks once, at its end. Neither type is safe for
// concurrent use.
package wire
