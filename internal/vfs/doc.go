// Package vfs is the file system that the storage packages write to: the disk,
// or memory.
//
// An [FS] names, opens and removes files; a [File] is read and written by position.
// [Disk] is a directory on the disk. [NewMemory] returns a file system in memory: the
// in-memory engine is the durable one with another FS below it. [WriteFile] replaces a
// small file as a whole, and [ReadFile] reads one.
//
// [Watch] reports slow syncs, for the broker's logger. Two file systems are for tests:
// [Crashable] loses its power, and [Faulty] fails by rule.
//
// # Guarantees
//
// All implementations promise the same, which about crashes is no more than POSIX does:
//
//   - Bytes that were written are durable after Sync of their file. Sync also makes the
//     length durable, but not the file's times.
//   - A name that was created, renamed or removed is durable after SyncDir of its
//     directory.
//   - A file that was removed or renamed stays readable and writable through handles that
//     were opened before.
//
// An FS is safe for concurrent use. A File is safe for any number of concurrent ReadAt
// and one WriteAt, Truncate or Sync; a read that overlaps a write sees old or new bytes.
// Nothing here starts a goroutine or waits for time, so the memory file system works in a
// testing/synctest bubble.
//
// Paths are those of package path/filepath. Errors are those of package os: they
// answer errors.Is with fs.ErrNotExist, fs.ErrExist, fs.ErrClosed and the
// system's error numbers.
package vfs
