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
		info, err := os.Stat(s.at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, hinted{
				fmt.Errorf("there is no data directory %q", s.at),
				"--at names it; it is made with the first topic: runnel topic create NAME" + s.atFlag(),
			}
		case err != nil:
			return nil, err
		case !info.IsDir():
			return nil, fmt.Errorf("%s is not a directory", s.at)
		}
	}
	b, err := runnel.Open(s.at)
	if errors.Is(err, fault.Locked) {
		return nil, hinted{err, "a directory is open in one process at a time: end that one first"}
	}
	if err != nil {
		return nil, err
	}
	return b, nil
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
