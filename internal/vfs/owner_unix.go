//go:build unix

package vfs

import (
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// ownerOf returns the number of the user to whom a file belongs.
func ownerOf(info fs.FileInfo) (uid string, ok bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", false
	}
	return strconv.FormatUint(uint64(s.Uid), 10), true
}

func effectiveUser() string { return strconv.Itoa(os.Geteuid()) }
