package lint_test

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// clientTower is what programs call. It runs on any backend, so it knows none.
var clientTower = []string{"fault", "record", "serde", "topic", "producer", "consumer", "share", "streams", "streams/...", "internal/tasks"}

// allowed is the table of ARCHITECTURE.md: what each package of the root module
// may import, of this module and of others. "dir/..." stands for all packages
// below dir. A package without a row does not belong here yet.
var allowed = map[string][]string{
	"fault":  {},
	"serde":  {},
	"record": {"fault", "github.com/klauspost/compress/...", "github.com/pierrec/lz4/v4"},
	"topic":  {"record", "fault"},

	"log":       {"record", "fault", "internal/vfs"},
	"partition": {"log", "record", "fault", "internal/keyindex"},

	"producer": {"record", "fault", "serde", "topic", "consumer"},
	"consumer": {"record", "fault", "serde", "topic", "internal/pattern", "internal/callback"},

	"share": {"record", "fault", "topic", "consumer", "internal/callback"},

	"streams":                 slices.Concat(clientTower, []string{"github.com/google/btree"}),
	"streams/...":             slices.Concat(clientTower, []string{"github.com/google/btree"}),
	"streams/state/statetest": {"streams/state", "serde", "github.com/stretchr/testify/...", "pgregory.net/rapid"},

	// The composition root, and the storage tower's upper floors, each on those below.
	".": {
		"fault", "record", "serde", "topic", "producer", "consumer", "log", "partition",
		"internal/vfs", "internal/layout", "internal/catalogue", "internal/metadata", "internal/host", "internal/cleaner",
		"internal/coordinator/...", "internal/produce", "internal/fetch", "internal/journal", "internal/archive",
		"internal/attach", "internal/closing", "internal/fixture", "internal/wire", "share", "internal/sharing",
	},
	"datadir": {
		"fault", "record", "topic", "log", "internal/vfs", "internal/layout", "internal/catalogue", "internal/metadata",
		"internal/coordinator/group", "internal/archive", "internal/attach", "internal/fixture",
	},
	"internal/produce": {
		"internal/coordinator/txn",
		"fault", "record", "topic", "producer", "consumer", "log", "partition", "internal/host", "internal/quota", "internal/role", "internal/callback",
	},
	"internal/fetch": {
		"fault", "record", "topic", "consumer", "partition", "internal/host", "internal/catalogue",
		"internal/coordinator", "internal/coordinator/group", "internal/closing", "internal/role",
	},
	"internal/sharing": {
		"fault", "record", "share", "producer", "partition", "internal/host", "internal/catalogue", "internal/coordinator", "internal/coordinator/share",
	},
	"internal/coordinator": {
		"log", "internal/coordinator/txn", "internal/coordinator/share",
		"fault", "record", "topic", "consumer", "partition", "internal/host", "internal/layout", "internal/coordinator/group", "internal/pattern", "internal/role",
		"internal/attach", "internal/wire",
	},
	"internal/keyindex":      {"log", "record", "fault", "internal/vfs"},
	"internal/cleaner":       {"fault", "record", "topic", "log", "partition", "internal/host", "internal/layout", "internal/role"},
	"internal/host":          {"fault", "record", "topic", "log", "partition", "internal/vfs", "internal/layout", "internal/catalogue"},
	"internal/host/hosttest": {"fault", "record", "topic", "log", "partition", "internal/vfs", "internal/catalogue", "internal/metadata", "internal/host", "github.com/stretchr/testify/..."},
	"internal/metadata":      {"fault", "record", "topic", "log", "partition", "internal/vfs", "internal/layout", "internal/catalogue"},
	"internal/layout":        {"fault", "record", "topic", "internal/vfs", "github.com/gofrs/flock"},
	"internal/archive":       {"fault"},
	"internal/journal":       {},
	"internal/quota":         {"fault"},
	"internal/buffers":       {},
	"internal/hub":           {"replica", "fault", "internal/buffers", "internal/journal"},
	"internal/role":          {},

	"replica":               {"fault", "record", "log", "partition", "topic", "internal/vfs", "internal/wire", "go.etcd.io/raft/v3/..."},
	"replica/memory":        {"replica", "fault", "internal/buffers"},
	"replica/tcp":           {"replica", "fault", "internal/buffers", "internal/hub", "internal/journal"},
	"replica/replicatest":   {".", "record", "replica", "replica/memory", "topic", "internal/fixture", "internal/vfs"},
	"replica/transporttest": {"replica", "fault", "internal/leak", "github.com/stretchr/testify/...", "go.uber.org/goleak"},

	"runneltest":  {".", "fault", "topic", "internal/fixture", "internal/vfs"},
	"backendtest": slices.Concat(clientTower, []string{"github.com/stretchr/testify/..."}),

	"internal/closing":           {},
	"internal/pattern":           {"fault"},
	"internal/vfs":               {},
	"internal/callback":          {},
	"internal/fixture":           {"internal/vfs"},
	"internal/leak":              {"go.uber.org/goleak"},
	"internal/turns":             {},
	"internal/kafkadump":         {"record", "github.com/stretchr/testify/..."},
	"internal/wire":              {"fault"},
	"internal/catalogue":         {"fault", "record", "topic", "internal/wire"},
	"internal/coordinator/txn":   {"fault", "record", "topic", "internal/wire"},
	"internal/coordinator/share": {"fault", "topic", "internal/wire"},
	"internal/coordinator/group": {"fault", "record", "topic", "consumer", "internal/wire", "internal/tasks", "internal/pattern"},
	"internal/tasks":             {"fault", "record", "internal/wire"},
	"internal/lint":              {},
	"internal/mutants":           {},
	"internal/processtest":       {},
	"internal/pipeline":          {"fault", "record", "topic", "producer", "consumer"},
	"internal/attach": {
		"fault", "record", "topic", "producer", "consumer", "share", "internal/callback", "internal/closing", "internal/pattern", "internal/quota", "internal/wire",
	},

	"examples/cluster": {"consumer", "fault", "producer", "record", "topic", ".", "replica", "replica/tcp"},
	"examples/...":     slices.Concat(clientTower, []string{".", "runneltest", "examples/..."}),
}

// row finds the most exact row for a package: its own name, or the longest
// "dir/..." above it.
func row(table map[string][]string, name string) (imports []string, found bool) {
	if imports, found = table[name]; found {
		return imports, true
	}
	longest := ""
	for pattern := range table {
		if matches(pattern, name) && len(pattern) > len(longest) {
			longest = pattern
		}
	}
	imports, found = table[longest]
	return imports, found
}

// matches reports whether pattern is the path or, ending in "/...", lies above it.
func matches(pattern, path string) bool {
	above, wild := strings.CutSuffix(pattern, "/...")
	return pattern == path || wild && (above == path || strings.HasPrefix(path, above+"/"))
}

// standard reports whether an import path belongs to the standard library.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// below is an import path of this module without the module's own.
func below(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

func TestEveryPackageImportsOnlyWhatTheTableSays(t *testing.T) {
	for _, p := range packages(t) {
		imports, found := row(allowed, p.name())
		if !found {
			t.Errorf("%s has no row in the table of imports", p.ImportPath)
		}
		for _, path := range p.Imports {
			if standard(path) {
				continue
			}
			if !slices.ContainsFunc(imports, func(pattern string) bool { return matches(pattern, below(path)) }) {
				t.Errorf("%s imports %s", p.ImportPath, path)
			}
		}
	}
}

func TestEveryRowOfTheTableHasAPackage(t *testing.T) {
	for pattern := range allowed {
		if !slices.ContainsFunc(packages(t), func(p listed) bool { return matches(pattern, p.name()) }) {
			t.Errorf("the table of imports has a row for %s, which is not there", pattern)
		}
	}
}

func TestClientTowerReachesNoStorage(t *testing.T) {
	forbidden := []string{
		".", "datadir", "log/...", "partition/...", "replica/...", "internal/vfs/...", "internal/layout", "internal/catalogue/...", "internal/metadata",
		"internal/host/...", "internal/cleaner", "internal/coordinator/...", "internal/produce", "internal/fetch",
	}
	reachesNone(t, clientTower, forbidden)
}

func TestRootReachesNoReplicaAndNoStreams(t *testing.T) {
	reachesNone(t, []string{"."}, []string{"replica/...", "streams/...", "connect/..."})
}

// A program without replicas links no consensus library: package replica alone knows it.
func TestOnlyReplicasLinkRaft(t *testing.T) {
	for _, p := range packages(t) {
		if p.name() == "replica" || strings.HasPrefix(p.name(), "replica/") || slices.Contains(p.Deps, module+"/replica") {
			continue
		}
		for _, dep := range p.Deps {
			if strings.HasPrefix(dep, "go.etcd.io/") || strings.HasPrefix(dep, "google.golang.org/protobuf") {
				t.Errorf("%s reaches %s", p.ImportPath, dep)
			}
		}
	}
}

// A program that only opens a broker links nothing that repairs directories.
func TestRootReachesNoTools(t *testing.T) {
	reachesNone(t, []string{"."}, []string{"datadir"})
}

func reachesNone(t *testing.T, from, forbidden []string) {
	t.Helper()
	for _, p := range packages(t) {
		if !slices.ContainsFunc(from, func(pattern string) bool { return matches(pattern, p.name()) }) {
			continue
		}
		for _, dep := range p.Deps {
			for _, pattern := range forbidden {
				ours := dep == module || strings.HasPrefix(dep, module+"/")
				if ours && matches(pattern, below(dep)) {
					t.Errorf("%s reaches %s", p.ImportPath, dep)
				}
			}
		}
	}
}

// TestEngineLinksNoHeavyPackages keeps the engine small, and free of
// reflection: none of its packages imports these itself. (serde does, for JSON.)
// A command is not linked into anything. A subscription by a regular expression is
// one of package regexp, and internal/pattern the place where it comes in.
func TestEngineLinksNoHeavyPackages(t *testing.T) {
	heavy := []string{"encoding/json", "encoding/gob", "net/http", "net/rpc", "reflect", "regexp", "text/template", "html/template", "go/ast", "testing", "expvar", "flag"}
	engine := []string{".", "fault", "record", "topic", "log", "partition", "producer", "consumer", "streams", "streams/state", "internal/..."}
	for _, p := range packages(t) {
		if p.Name == "main" || !slices.ContainsFunc(engine, func(pattern string) bool { return matches(pattern, p.name()) }) {
			continue
		}
		for _, path := range p.Imports {
			allowed := path == "regexp" && p.name() == "internal/pattern" || path == "testing" && (p.name() == "internal/host/hosttest" || p.name() == "internal/kafkadump")
			if slices.Contains(heavy, path) && !allowed {
				t.Errorf("%s imports %s", p.ImportPath, path)
			}
		}
	}
}

// TestDirectDependenciesAreFew holds go.mod to a list, so that a new dependency
// is a decision and not an accident.
func TestDirectDependenciesAreFew(t *testing.T) {
	known := []string{
		"github.com/gofrs/flock",
		"github.com/google/btree",
		"github.com/klauspost/compress",
		"github.com/pierrec/lz4/v4",
		"go.etcd.io/raft/v3",
		"golang.org/x/sync",

		// In tests alone.
		"github.com/anishathalye/porcupine",
		"github.com/anishathalye/porcupine",
		"github.com/stretchr/testify",
		"go.uber.org/goleak",
		"pgregory.net/rapid",
	}
	cmd := exec.Command("go", "mod", "edit", "-json")
	cmd.Dir = root
	out, err := cmd.Output()
	require.NoError(t, err)
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Replace []struct{ Old struct{ Path string } }
	}
	require.NoError(t, json.Unmarshal(out, &mod))
	require.NotEmpty(t, mod.Require)
	for _, r := range mod.Require {
		if !r.Indirect && !slices.Contains(known, r.Path) {
			t.Errorf("go.mod requires %s", r.Path)
		}
	}
	require.Empty(t, mod.Replace, "a replaced module is not what our users would get")
}
