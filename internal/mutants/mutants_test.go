package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel/internal/leak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leak.Patient(m)) }

const root = "../.."

// The table stays true: each bug can be planted in the sources of today, leaves
// Go code, and names a test that there is.
func TestEveryBugCanBePlanted(t *testing.T) {
	all, err := readTable("table")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(all), 45)
	names := make(map[string]bool)
	for _, m := range all {
		if names[m.name] {
			t.Errorf("%s: there is another %s", m.at, m.name)
		}
		names[m.name] = true
		source, err := os.ReadFile(filepath.Join(root, m.file))
		if err != nil {
			t.Errorf("%s: %v", m.at, err)
			continue
		}
		changed, err := m.apply(string(source))
		if err != nil {
			t.Errorf("%s: %v", m.at, err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), m.file, changed, 0); err != nil {
			t.Errorf("%s: it does not parse: %v", m.at, err)
		}
		checkCommand(t, m)
	}
}

var (
	command = regexp.MustCompile(`^(?:cd (\S+) && )?go test .*?-run '([^']+)'(?: -\S+)* (\.\S*)(?: -\S+)*$`)
	tests   = regexp.MustCompile(`(?:Test|Example|Fuzz)\w+`)
)

// checkCommand looks for the tests that a bug's command names.
func checkCommand(t *testing.T, m mutant) {
	parts := command.FindStringSubmatch(m.test)
	if parts == nil {
		t.Errorf("%s: the command is not go test … -run 'Test' ./package: %s", m.at, m.test)
		return
	}
	files, err := filepath.Glob(filepath.Join(root, parts[1], parts[3], "*_test.go"))
	require.NoError(t, err)
	var sources strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		sources.Write(text)
	}
	found := tests.FindAllString(parts[2], -1)
	if len(found) == 0 {
		t.Errorf("%s: the command names no test: %s", m.at, m.test)
	}
	for _, name := range found {
		if !strings.Contains(sources.String(), "func "+name) {
			t.Errorf("%s: there is no %s in %s", m.at, name, parts[3])
		}
	}
}

func TestATableIsReadAsItIsWritten(t *testing.T) {
	text := "# A story.\n\n=== one\nfile: a.go\ntest: go test -run 'TestA' .\n< \tif a {\n< \t\tb()\n> \tif c {\n\n=== two\nfile: b.go\ntest: go test -run 'TestB' .\n< x\n"
	all, err := parseTable("t", text)
	require.NoError(t, err)
	require.Equal(t, []mutant{
		{name: "one", file: "a.go", test: "go test -run 'TestA' .", old: "\tif a {\n\t\tb()\n", new: "\tif c {\n", at: "t:3"},
		{name: "two", file: "b.go", test: "go test -run 'TestB' .", old: "x\n", at: "t:10"},
	}, all)
	changed, err := all[0].apply("\tif a {\n\t\tb()\n\t}\n")
	require.NoError(t, err)
	require.Equal(t, "\tif c {\n\t}\n", changed)
	for _, source := range []string{"", "y := x\n", "x\nx\n"} {
		_, err := all[1].apply(source)
		require.Error(t, err, source)
	}
	for _, wrong := range []string{"file: a.go", "=== one\nwhat\n", "=== one\nfile: a.go\n< a\n> b\n", "=== one\nfile: a.go\ntest: t\n< a\n> a\n"} {
		_, err := parseTable("t", wrong)
		require.Error(t, err, wrong)
	}
}

func TestWhatACommandSaysOfABug(t *testing.T) {
	for output, want := range map[string]verdict{
		"--- FAIL: TestA (0.00s)\nFAIL\n":                         caught,
		"panic: test timed out after 20s\nFAIL\tpkg\t20s":         caught,
		"FAIL\tpkg [build failed]\nFAIL":                          broken,
		"# pkg\n# [pkg]\nFAIL\tpkg [setup failed]":                broken,
		"testing: warning: no tests to run\nok":                   broken,
		"sh: 1: got: not found":                                   broken,
		"flag provided but not defined: -x\nusage: go test [...]": broken,
	} {
		got, _ := judge(true, output)
		require.Equal(t, want, got, output)
	}
	got, _ := judge(false, "ok  \tpkg\t0.1s")
	require.Equal(t, survived, got)
	got, _ = judge(false, "ok  \tpkg\t0.1s [no tests to run]")
	require.Equal(t, broken, got)
}

// A bug is planted in what is compiled and not in the work tree.
func TestABugIsPlantedBesideTheSources(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("go.mod", "module sum\n\ngo 1.26\n")
	write("sum.go", "package sum\n\nfunc sum(a, b int) int {\n\treturn a + b\n}\n")
	write("sum_test.go", "package sum\n\nimport \"testing\"\n\nfunc TestSum(t *testing.T) {\n\tif sum(1, 2) != 3 {\n\t\tt.Fatal()\n\t}\n}\n")
	r := plant(t.Context(), dir, t.TempDir(), mutant{file: "sum.go", test: "GOWORK=off go test .", old: "\treturn a + b\n", new: "\treturn a - b\n"})
	require.Equal(t, caught, r.verdict, r.output)
	text, err := os.ReadFile(filepath.Join(dir, "sum.go"))
	require.NoError(t, err)
	require.Contains(t, string(text), "return a + b")
	require.Equal(t, broken, plant(t.Context(), dir, t.TempDir(), mutant{file: "none.go", old: "x", test: "true"}).verdict)
}
