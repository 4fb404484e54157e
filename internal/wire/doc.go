// Package wire encodes and decodes the fields that Kafka's message schemas are
// made of.
//
// The catalogue and the group coordinator keep their state in records whose
// bytes Kafka's own tools can read, and those bytes are described by Kafka's
// message schemas. A [Writer] appends fields, a [Reader] takes them off again;
// which fields, in which order, is up to the packages that know the schema.
//
// Kafka has two spellings of everything that has a length. Classic versions of
// a schema write lengths as int16 or int32 with -1 for null; flexible versions
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
// A Reader believes nothing: a length beyond the bytes at hand is an error
// before anything is allocated. Its first error stays, and every later call
// returns zero, so a decoder checks once, at its end. Neither type is safe for
// concurrent use.
package wire
