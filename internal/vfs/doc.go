// Package vfs is the file system that the storage packages write to: the disk,
// or memory.
//
// An [FS] names, opens and removes files; a [File] is read and written by
// position. [Disk] is a directory on the disk; [NewMemory] returns a file system in memory, so
// that the in-memory engine is the durable one with another FS beneath it.
// [WriteFile] replaces a small file as a whole, [ReadFile] reads one.
//
// # Guarantees
//
// Both implementations promise the same, and no more than POSIX does about
// crashes: bytes that were written are durable after Sync of their file; a name
// that was created, renamed or removed is durable after SyncDir of its
// directory. Sync makes the length durable too, where later reads need it, but
// not the times of the file. A file that was removed or renamed stays readable
// and writable through the handles opened before.
//
// An FS is safe for concurrent use. A File is safe for any number of ReadAt
// beside one of WriteAt, Truncate or Sync; a read that overlaps a write sees old
// or new bytes. Nothing here starts a goroutine or waits for time, so the memory
// file system works in a testing/synctest bubble.
//
// Paths are those of package path/filepath. Errors are those of package os: they
// answer errors.Is with fs.ErrNotExist, fs.ErrExist, fs.ErrClosed and the
// system's error numbers.
package vfs
