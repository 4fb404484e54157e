package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build describes how the program was built.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // the sources were not those of the commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: "(unknown)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// version is the version that the program was built from.
func version() string { return thisBuild().Version }

// String formats it in one line.
func (b build) String() string {
	text := "runnel " + b.Version + " (" + b.Go + ", " + b.Platform
	if b.Commit != "" {
		text += ", commit " + b.Commit[:min(len(b.Commit), 12)]
	}
	if b.Modified {
		text += ", modified"
	}
	return text + ")"
}

func newVersion(s *shell) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version",
		Long:    "Print the version of the tool, and what it was built with and for.",
		Example: "  runnel version\n  runnel version --json | jq -r .version",
		Args:    exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			if !s.tables() {
				return s.line(thisBuild())
			}
			_, err := fmt.Fprintln(s.out, thisBuild())
			return err
		},
	}
}
