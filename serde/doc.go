// Package serde turns keys and values into bytes and back, by type.
//
// A [Serde] appends the bytes of a value to a slice and decodes them again. A
// [Topic] is a topic's name with the serdes of its keys and values; typed
// producers, typed consumers and streams take one.
//
// [String], [Bytes], [Bool], the integers and the floats write what Kafka's own
// serializers write: text as UTF-8, numbers big-endian with their full width.
// [JSON] takes any type, [Binary] one that marshals itself, and [Func] two
// functions, for example for protocol buffers. [Nullable] adds null as a value.
// [Default] finds the serde of a basic type.
//
// All serdes here are safe for concurrent use, and their Decode does not keep
// its argument.
package serde
