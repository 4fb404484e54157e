package lint_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
)

var update = flag.Bool("update", false, "rewrite the generated pictures in docs/pictures.md")

// TestGeneratedPictures: what docs/pictures.md draws of the code is what the code
// says of itself.
func TestGeneratedPictures(t *testing.T) {
	const path = root + "/docs/pictures.md"
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	drawn := string(text)
	for name, picture := range map[string]string{"house": house(packages(t)), "word count": wordCount(t)} {
		place := regexp.MustCompile("(?s)<!-- generated: " + name + " -->\n```mermaid\n(.*?)```\n")
		require.Len(t, place.FindAllString(drawn, -1), 1, "the place of the picture %q", name)
		drawn = place.ReplaceAllLiteralString(drawn, "<!-- generated: "+name+" -->\n```mermaid\n"+picture+"```\n")
	}
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(drawn), 0o644))
		return
	}
	require.Equal(t, drawn, string(text), "docs/pictures.md is out of date: go test ./internal/lint -run TestGeneratedPictures -update")
}

// wordCount is the topology of the README, drawn by the application itself.
func wordCount(t *testing.T) string {
	broker, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer broker.Close()
	app, err := streams.New(broker, "wordcount", func(t *streams.Topology) {
		words := streams.FlatMapValues(streams.Stream(t, serde.For("lines", serde.String, serde.String)), strings.Fields)
		byWord := streams.GroupBy(words, func(_, word string) string { return word })
		streams.Count(byWord, "counts").ToStream().To(serde.For("totals", serde.String, serde.Int64))
	})
	require.NoError(t, err)
	return app.Mermaid()
}

// house draws what the packages import, in three towers: what programs call, the
// root and what belongs to it, and what keeps bytes. Programs and what only tests
// import are no part of it.
func house(all []listed) string {
	outside := func(name string) bool {
		return strings.HasSuffix(name, "test") || matchesAny([]string{"examples/...", "internal/lint", "internal/mutants", "internal/fixture", "internal/pipeline"}, name)
	}
	imports := map[string][]string{}
	for _, p := range all {
		if p.Name == "main" || outside(p.name()) {
			continue
		}
		imports[p.name()] = nil
		for _, path := range p.Imports {
			if name := below(path); (path == module || name != path) && !outside(name) {
				imports[p.name()] = append(imports[p.name()], name)
			}
		}
	}

	names := slices.Sorted(maps.Keys(imports))
	towers := []struct {
		title string
		has   func(name string) bool
	}{
		{"what programs call, and what that needs", func(name string) bool {
			needs := func(from string) bool { return matchesAny(clientTower, from) && reaches(imports, from, name) }
			return matchesAny(clientTower, name) || slices.ContainsFunc(names, needs)
		}},
		{"what keeps bytes", func(name string) bool {
			return matchesAny([]string{"log", "partition", "internal/vfs"}, name)
		}},
		{"the broker", func(string) bool { return true }},
	}
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	drawn := map[string]bool{}
	for i, tower := range towers {
		fmt.Fprintf(&b, "    subgraph tower%d[\"%s\"]\n", i, tower.title)
		for _, name := range names {
			if !drawn[name] && tower.has(name) {
				drawn[name] = true
				fmt.Fprintf(&b, "        %s[\"%s\"]\n", node(name), title(name))
			}
		}
		b.WriteString("    end\n")
	}
	for _, name := range names {
		for _, to := range slices.Sorted(slices.Values(imports[name])) {
			implied := func(other string) bool { return other != to && reaches(imports, other, to) }
			if !slices.ContainsFunc(imports[name], implied) {
				fmt.Fprintf(&b, "    %s --> %s\n", node(name), node(to))
			}
		}
	}
	return b.String()
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, name) })
}

// reaches reports whether from imports to, itself or by what it imports.
func reaches(imports map[string][]string, from, to string) bool {
	return slices.ContainsFunc(imports[from], func(next string) bool { return next == to || reaches(imports, next, to) })
}

// title is how a package is called in the picture, and node its name there.
func title(name string) string {
	if name == "." {
		return "runnel (the root)"
	}
	return name
}

func node(name string) string {
	if name == "." {
		return "runnel"
	}
	return strings.NewReplacer("/", "_", ".", "_").Replace(name)
}
