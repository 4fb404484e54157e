package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/datadir"
)

// backuper is a backend that can be backed up.
type backuper interface {
	Backup(ctx context.Context, w io.Writer) error
}

func newBackup(s *shell) *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Write a copy of a data directory",
		Long: `Write a consistent copy of the data directory that --at names to a file, or to
standard output if the file is "-". The copy is a tar archive, from which runnel
restore makes a data directory. The file appears when it is complete.`,
		Example: `  runnel backup orders.tar --at ./data
  runnel backup - | zstd > orders.tar.zst`,
		Args: exactly(1, "a file, or -"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				k, ok := b.(backuper)
				if !ok {
					return usageError{errors.New("backup copies a data directory, not what a Kafka cluster holds")}
				}
				return s.backup(ctx, k, args[0])
			})
		},
	}
}

// backup writes a backup to a file, or to standard output.
func (s *shell) backup(ctx context.Context, b backuper, path string) error {
	if path == "-" {
		if s.people {
			return usageError{hinted{errors.New("a backup cannot be written to a terminal"), "name a file, or pipe it to a program: runnel backup - | …"}}
		}
		w := s.metered(s.out)
		defer w.end()
		return b.Backup(ctx, w)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return hinted{fmt.Errorf("there is a file %s already", path), "remove it, or name another one"}
	}
	if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
		return hinted{fmt.Errorf("there is no directory %s", filepath.Dir(path)), "create it, or name a file elsewhere"}
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part")
	if err != nil {
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = &fs.PathError{Op: "write", Path: path, Err: e.Err} // without the name that the archive used
		}
		return err
	}
	w := s.metered(f)
	err = errors.Join(b.Backup(ctx, w), f.Sync(), f.Close())
	w.end()
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return s.say(map[string]any{"backup": path, "bytes": w.done}, "Wrote %s, %s.\n", path, size(w.done))
}

func newRestore(s *shell) *cobra.Command {
	return &cobra.Command{
		Use: "restore DIR [FILE]", Short: "Restore a data directory from a backup",
		Long: `Restore a data directory from a backup that runnel backup wrote, read from a file
or from standard input. The directory must be empty or not exist yet. If the
backup is incomplete, nothing is restored.`,
		Example: `  runnel restore ./restored orders.tar
  zstd -dc orders.tar.zst | runnel restore ./restored`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 && len(args) != 2 {
				return wrongArguments(cmd, "a directory and perhaps a file", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			in := s.in
			if len(args) == 2 && args[1] != "-" {
				f, err := os.Open(args[1])
				if errors.Is(err, fs.ErrNotExist) {
					return hinted{fmt.Errorf("there is no file %s", args[1]), "usage: " + cmd.UseLine()}
				}
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			if isTerminal(in) {
				return usageError{hinted{errors.New("there is no backup to read"), "name its file: " + cmd.UseLine()}}
			}
			return s.restore(cmd.Context(), args[0], in)
		},
	}
}

func (s *shell) restore(ctx context.Context, dir string, in io.Reader) error {
	r := s.metered(nil)
	err := datadir.Restore(ctx, dir, io.TeeReader(in, r))
	r.end()
	if err != nil {
		return err
	}
	return s.say(map[string]any{"restored": dir, "bytes": r.done}, "Restored %s from %s.\n", dir, size(r.done))
}

// say prints a result: a line of JSON for programs, a sentence for people.
func (s *shell) say(line map[string]any, format string, args ...any) error {
	if !s.tables() {
		return s.line(line)
	}
	_, err := fmt.Fprintf(s.out, format, args...)
	return err
}

// metered counts the bytes that pass and shows progress on the terminal.
type metered struct {
	*meter
	w    io.Writer // nil: nowhere
	done int64
}

func (s *shell) metered(w io.Writer) *metered { return &metered{meter: s.newMeter(), w: w} }

func (m *metered) Write(p []byte) (n int, err error) {
	n = len(p)
	if m.w != nil {
		n, err = m.w.Write(p)
	}
	m.done += int64(n)
	m.show(m.done, -1)
	return n, err
}
