package vfs

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
)

// Explain gives an error the whole name of what it is about and, where the
// operating system does not allow something, whose it is.
func Explain(name string, err error) error {
	if err == nil {
		return nil
	}
	op := "open"
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		op, err = p.Op, p.Err
	} else if l, ok := errors.AsType[*os.LinkError](err); ok {
		op, err = l.Op, l.Err
	}
	op = strings.TrimSuffix(op, "at") // openat, mkdirat, and so on
	if errors.Is(err, fs.ErrPermission) {
		of := name
		switch op {
		case "mkdir", "remove", "rename", "rmdir", "unlink":
			of = filepath.Dir(name) // whose right it takes
		}
		err = denied{err, owner(of)}
	}
	if err.Error() == escapes {
		err = denied{err, link(name)}
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// denied is an error of access, and what is behind it.
type denied struct {
	error
	why string
}

func (d denied) Unwrap() error { return d.error }

func (d denied) Error() string { return d.error.Error() + d.why }

// escapes is what an os.Root says of a name that leads out of its directory. The
// error itself is not exported.
const escapes = "path escapes from parent"

// link says which part of a name is a symbolic link, where the disk allows none that
// leads out of its directory.
func link(name string) string {
	for {
		if to, err := os.Readlink(name); err == nil {
			return ": " + name + " is a symbolic link to " + to +
				"; move what it leads to into its place, or link the whole data directory"
		}
		above := filepath.Dir(name)
		if above == name {
			return ""
		}
		name = above
	}
}

// owner says whose a file is, or the directory in which it is not there, and who
// this process is.
func owner(name string) string {
	for {
		info, err := os.Lstat(name)
		if err == nil {
			if uid, ok := ownerOf(info); ok {
				return ": " + name + " belongs to " + userName(uid) + " (" + info.Mode().String() + "), and this process is " + userName(effectiveUser())
			}
			return ""
		}
		above := filepath.Dir(name)
		if above == name {
			return ""
		}
		name = above
	}
}

// userName returns a user's name, and otherwise the number.
func userName(uid string) string {
	if u, err := user.LookupId(uid); err == nil && u.Username != "" {
		return "user " + u.Username
	}
	return "user " + uid
}
