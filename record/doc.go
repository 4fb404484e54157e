// Package record defines the record, which every other package passes around,
// and Kafka's record batch v2, the format in which records are stored.
//
// A [Record] is one event. Its [Position] is where it is stored: in a
// [TopicPartition], at an offset. A [Batch] is a run of encoded records with
// its decoded [BatchHeader]. [Parse] makes one from bytes and an [Iterator]
// decodes its records. There are two ways to encode. A [Builder] belongs to one
// goroutine. With [Size] and [Put], below it, several goroutines fill one
// buffer, which [Seal] then turns into a batch. [Stamp] and the functions like
// it patch a batch that is about to be appended. A [Codec] compresses and
// decompresses.
//
// Encoding copies the caller's bytes once and keeps none of them. Decoding
// copies nothing: keys and values are slices of the batch's bytes. A batch that
// Parse accepted has the right checksum. No input makes a function of this
// package panic, loop or allocate more than in proportion to it (for compressed
// input, more than a Codec's limit).
//
// # The bytes of a batch
//
// All numbers are big-endian. Lengths, deltas and counts within a record are
// varints: zigzag, then seven bits a byte, the low ones first.
//
//	 0        8      12           16     17   21          23               27
//	+--------+------+------------+------+----+-----------+----------------+
//	| base   |length| leader     |magic |CRC |attributes | last offset    |
//	| offset |      | epoch      |= 2   |    |           | delta          |
//	+--------+------+------------+------+----+-----------+----------------+
//	 27           35             43         51            53            57     61
//	+------------+--------------+----------+-------------+-------------+------+
//	| base       | max          | producer | producer    | base        |count |
//	| timestamp  | timestamp    | ID       | epoch       | sequence    |      |
//	+------------+--------------+----------+-------------+-------------+------+
//	 61
//	+-----------------------------------------------------------+
//	| records, one after the other, compressed together         |
//	+-----------------------------------------------------------+
//
// length counts the bytes after itself. The CRC is CRC-32C of all bytes from
// attributes to the end, so a leader can set base offset and leader epoch
// without changing it. The attributes' bits:
//
//	0-2  compression: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd
//	3    max timestamp, the append time, is every record's timestamp
//	4    part of a transaction
//	5    control batch: its records are markers
//	6    base timestamp is the delete horizon (KIP-534)
//
// A record, whose length counts what follows it:
//
//	+------+----------+---------+------+---------+---+-----------+-----+-------+
//	|length|attributes|timestamp|offset|key      |key|value      |value|header |
//	|      |= 0 (byte)|delta    |delta |length   |   |length     |     |count  |
//	+------+----------+---------+------+---------+---+-----------+-----+-------+
//	for each header:
//	+----------+---+------------+-----+
//	|key length|key|value length|value|
//	+----------+---+------------+-----+
//
// A length of -1 is null, for a key, a value and a header's value. Deltas count
// from the header's base timestamp and base offset. Compaction leaves gaps
// between offsets but never reorders them.
//
// # What is not safe
//
// Seal, Stamp, StampAppendTime and StampProducer write into a batch's bytes.
// Only the owner of the bytes may call them, before any other goroutine reads.
// They panic if there are fewer bytes than a header, and Put panics if its
// buffer is too small.
package record
