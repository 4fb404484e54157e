package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/runnel-go/runnel/consumer"
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
	producer.Admin
	io.Closer
}

// address matches a cluster's address without its scheme.
var address = regexp.MustCompile(`^[A-Za-z0-9.-]+:[0-9]{1,5}(,[A-Za-z0-9.-]+:[0-9]{1,5})*$`)

// checkAt rejects invalid values of --at.
func (s *shell) checkAt() error {
	const what = "--at names a data directory, such as ./data, or a Kafka cluster, such as " + kafka.Scheme + "localhost:9092"
	scheme, rest, isURL := strings.Cut(s.at, "://")
	switch {
	case s.at == "":
		return usageError{hinted{errors.New("--at is empty"), what}}
	case isURL && scheme+"://" == kafka.Scheme && strings.Trim(rest, "/,") == "":
		return usageError{hinted{fmt.Errorf("%s names no broker", s.at), what}}
	case isURL && scheme+"://" != kafka.Scheme:
		return usageError{hinted{fmt.Errorf("no backend for %s://", scheme), what}}
	case !isURL && address.MatchString(s.at):
		if _, err := os.Stat(s.at); err != nil {
			return usageError{hinted{fmt.Errorf("there is no directory %s", s.at), "a cluster is " + kafka.Scheme + s.at}}
		}
	}
	return nil
}

// onCluster reports whether --at names a cluster.
func (s *shell) onCluster() bool { return strings.HasPrefix(s.at, kafka.Scheme) }

// open opens what --at names: a cluster, or a directory, which must exist
// unless it may be created.
func (s *shell) open(ctx context.Context, create bool, patience time.Duration) (backend, error) {
	if err := s.checkAt(); err != nil {
		return nil, err
	}
	if s.onCluster() {
		if s.hurried {
			return kafka.Connect(s.at, kafka.Timeout(completionPatience))
		}
		return kafka.Connect(s.at)
	}
	if err := s.thereIs(s.at); err != nil && !(create && errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	return openDir(ctx, s.at, patience)
}

// missing is an error for something that does not exist.
type missing struct{ error }

func (e missing) Unwrap() error { return fs.ErrNotExist }

func noDirectory(dir string) error { return missing{fmt.Errorf("there is no data directory %q", dir)} }

// thereIs returns an error if a directory does not exist.
func (s *shell) thereIs(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && dir == s.at:
		return hinted{
			noDirectory(dir),
			"--at names it; it is made with the first topic: runnel topic create NAME" + s.atFlag(),
		}
	case errors.Is(err, fs.ErrNotExist):
		return noDirectory(dir)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	}
	return nil
}
