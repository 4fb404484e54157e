package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/kafka"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/topic"
)

// backend is what every command works on.
type backend interface {
	producer.Backend
	consumer.Backend
	consumer.Admin
	topic.Admin
	io.Closer
}

// open opens what --at names: a cluster, or a directory, which must be there
// unless it is to be made.
func (s *shell) open(create bool) (backend, error) {
	if strings.HasPrefix(s.at, kafka.Scheme) {
		return kafka.Connect(s.at)
	}
	if !create {
		if err := s.thereIs(s.at); err != nil {
			return nil, err
		}
	}
	return openDir(s.at)
}

// thereIs returns an error unless a directory is there.
func (s *shell) thereIs(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && dir == s.at:
		return hinted{
			fmt.Errorf("there is no data directory %q", dir),
			"--at names it; it is made with the first topic: runnel topic create NAME" + s.atFlag(),
		}
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no data directory %q", dir)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	}
	return nil
}

// attempts is how often openDir looks who has the directory: whoever had it may
// close it at any moment, and somebody else open it.
const attempts = 3

// openDir opens a directory, or attaches to the process that holds it.
func openDir(dir string) (backend, error) {
	var err error
	for range attempts {
		b, locked := runnel.Open(dir)
		if locked == nil {
			return b, nil
		}
		if !errors.Is(locked, fault.Locked) {
			return nil, locked
		}
		r, refused := runnel.Attach(dir)
		if refused == nil {
			return r, nil
		}
		if errors.Is(refused, fault.UnsupportedVersion) {
			return nil, refused
		}
		why := refused.Error()
		if f, ok := errors.AsType[*fault.Error](refused); ok && f.Detail != "" {
			why = f.Detail
		}
		err = hinted{locked, "it lets nobody look in, or not yet: " + why + "\nend that process first, or try again"}
	}
	return nil, err
}

// with opens the backend for the time of one command.
func (s *shell) with(ctx context.Context, create bool, do func(ctx context.Context, b backend) error) (err error) {
	b, err := s.open(create)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	return do(ctx, b)
}
