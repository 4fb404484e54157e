package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/kafka"
)

// catalogue is a partition that every data directory has.
const catalogue = "__cluster_metadata-0"

func newClean(s *shell) *cobra.Command {
	yes := false
	cmd := &cobra.Command{
		Use: "clean", Short: "Delete a data directory with everything in it",
		Long: `Delete the data directory that --at names, with all topics and groups. It asks
first, unless --yes is given. It does not delete a directory that is not a data
directory, that a process has open, or that contains files of other programs.`,
		Example: `  runnel clean --at ./data
  runnel clean --at ./data --yes`,
		Args: exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			if strings.HasPrefix(s.at, kafka.Scheme) {
				return usageError{hinted{errors.New("clean deletes a directory, not what a Kafka cluster holds"), "runnel topic delete NAME deletes topics there"}}
			}
			if err := s.checkClean(s.at); err != nil {
				return err
			}
			if !yes {
				if err := s.ask(fmt.Sprintf("Delete %s with everything in it?", s.at)); err != nil {
					return err
				}
				if err := s.checkClean(s.at); err != nil { // before the question, and again after the answer
					return err
				}
			}
			if err := os.RemoveAll(s.at); err != nil {
				return err
			}
			if !s.tables() {
				return s.line(map[string]string{"deleted": s.at})
			}
			_, err := fmt.Fprintf(s.out, "Deleted %s.\n", s.at)
			return err
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// maxForeign is the most files that an error names.
const maxForeign = 10

// checkClean rejects a directory that is not a data directory, that contains
// other files, or that is open elsewhere. A data directory that cannot be
// opened because it is damaged may be deleted.
func (s *shell) checkClean(dir string) error {
	if err := s.thereIs(dir); errors.Is(err, fs.ErrNotExist) {
		return noDirectory(dir)
	} else if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, catalogue)); err != nil {
		return hinted{fmt.Errorf("%s is not a data directory: there is no %s in it", dir, catalogue), "nothing was deleted"}
	}
	others, err := foreign(dir)
	if err != nil {
		return hinted{err, "nothing was deleted"}
	}
	if n := len(others); n > 0 {
		if n > maxForeign {
			others = append(others[:maxForeign], fmt.Sprintf("and %d more", n-maxForeign))
		}
		return hinted{
			fmt.Errorf("%s contains files that are not Runnel's:\n        %s", dir, strings.Join(others, "\n        ")),
			"nothing was deleted; move that elsewhere, or delete the directory by other means",
		}
	}
	b, err := runnel.Open(dir)
	if errors.Is(err, fault.Locked) {
		return hinted{err, "close it there first; nothing was deleted"}
	}
	if errors.Is(err, fault.UnsupportedFormat) {
		return hinted{err, "nothing was deleted; delete the directory by other means"}
	}
	if err == nil {
		return b.Close()
	}
	return nil
}

// ask asks a question to which the only positive answer is yes.
func (s *shell) ask(question string) error {
	if !isTerminal(s.in) {
		return usageError{errors.New("there is no terminal to ask on: give --yes")}
	}
	fmt.Fprintf(s.errs, "%s Type yes: ", question)
	answer, err := bufio.NewReader(s.in).ReadString('\n')
	if err != nil {
		return err
	}
	if strings.TrimSpace(answer) != "yes" {
		return errors.New("nothing was deleted")
	}
	return nil
}
