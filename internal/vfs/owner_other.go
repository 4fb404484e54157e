//go:build !unix

package vfs

import "io/fs"

func ownerOf(fs.FileInfo) (uid string, ok bool) { return "", false }

func effectiveUser() string { return "" }
