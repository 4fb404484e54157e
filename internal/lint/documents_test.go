package lint_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// block is one fenced block of a document.
type block struct {
	language string
	needs    string // the version of Go behind the language, as in "```go go1.27"
	text     string
	line     int // of its first line of text
}

// program reports whether the block is a whole program and not a part of one.
func (b block) program() bool {
	return b.language == "go" && strings.HasPrefix(b.text, "package main\n")
}

var fenced = regexp.MustCompile("(?ms)^```([a-z]*)(?: (go1\\.[0-9]+))?\n(.*?)^```$")

func blocks(document string) []block {
	var all []block
	for _, at := range fenced.FindAllStringSubmatchIndex(document, -1) {
		b := block{
			language: document[at[2]:at[3]],
			text:     document[at[6]:at[7]],
			line:     strings.Count(document[:at[6]], "\n") + 1,
		}
		if at[4] >= 0 {
			b.needs = document[at[4]:at[5]]
		}
		all = append(all, b)
	}
	return all
}

// documents returns what users read, by path from the tree's top.
func documents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"/*.md", "/docs/*.md", "/docs/*/*.md"} {
		paths, err := filepath.Glob(root + pattern)
		require.NoError(t, err)
		for _, path := range paths {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			all[strings.TrimPrefix(path, root+"/")] = string(text)
		}
	}
	return all
}

// TestCodeInDocumentsCompiles checks the types of every Go block. A block is a
// whole program, declarations (which the other blocks of its document see), or
// statements inside a function. In place of what a reader imagines, "…" is
// nothing, and blocks may use what is imagined below.
func TestCodeInDocumentsCompiles(t *testing.T) {
	exports := exportData(t)
	for path, text := range documents(t) {
		var sources []string
		for _, b := range blocks(text) {
			if b.language != "go" || b.needs != "" {
				continue
			}
			code := strings.ReplaceAll(b.text, "…", "")
			position := fmt.Sprintf("//line %s:%d\n", path, b.line)
			if b.program() {
				check(t, exports, []string{position + code})
				continue
			}
			file := "package p\n" + imports(exports, code) + position + code
			if _, err := parser.ParseFile(token.NewFileSet(), "", file, 0); err != nil {
				file = "package p\n" + imports(exports, code) + "func _() error {\n" + position + code + "\nreturn nil\n}\n"
			}
			sources = append(sources, file)
		}
		if len(sources) == 0 {
			continue
		}
		check(t, exports, append(sources, "package p\n"+imports(exports, imagined)+imagined))
	}
}

// TestCodeForNewerGoIsCompiledElsewhere: a block that needs a newer Go than this
// test may run with declares functions whose bodies stand in a file for that Go,
// which CI compiles and runs.
func TestCodeForNewerGoIsCompiledElsewhere(t *testing.T) {
	var compiled strings.Builder
	for _, s := range sources(t) {
		if isNewer(s.path) {
			compiled.WriteString(oneLine(s.text))
		}
	}
	for path, text := range documents(t) {
		for _, b := range blocks(text) {
			if b.needs == "" {
				continue
			}
			file := "package p\n" + b.text
			parsed, err := parser.ParseFile(token.NewFileSet(), "", file, 0)
			require.NoError(t, err, "%s:%d", path, b.line)
			for _, d := range (source{ast: parsed}).funcs() {
				body := file[d.Body.Lbrace-1 : d.Body.Rbrace]
				require.Contains(t, compiled.String(), oneLine(body), "%s:%d: %s", path, b.line, d.Name.Name)
			}
		}
	}
}

// oneLine is a text without its line breaks and indentation.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

const imagined = `
var (
	ctx    context.Context
	t      *testing.T
	broker *runnel.Broker
	p      *producer.Producer
	c      *consumer.Consumer
	err    error
)
`

var qualified = regexp.MustCompile(`\b([a-z]+[a-z0-9]*)\.[A-Z]`)

// imports writes the import declarations that code needs: each name before a
// dot, where it is a package of ours or, if not, of the standard library.
func imports(exports map[string]string, code string) string {
	var b strings.Builder
	seen := map[string]bool{}
	for _, m := range qualified.FindAllStringSubmatch(code, -1) {
		name := m[1]
		if seen[name] {
			continue
		}
		seen[name] = true
		var ours, std string
		for path := range exports {
			switch {
			case path != name && !strings.HasSuffix(path, "/"+name) || strings.Contains(path, "internal/"):
			case strings.HasPrefix(path, module):
				ours = path
			case standard(path) && (std == "" || len(path) < len(std)):
				std = path
			}
		}
		if ours != "" {
			fmt.Fprintf(&b, "import %q\n", ours)
		} else if std != "" {
			fmt.Fprintf(&b, "import %q\n", std)
		}
	}
	return b.String()
}

// check reports the errors in a package, passing over what is declared or
// imported and not used.
func check(t *testing.T, exports map[string]string, sources []string) {
	t.Helper()
	fset := token.NewFileSet()
	var parsed []*ast.File
	for _, source := range sources {
		file, err := parser.ParseFile(fset, "", source, 0)
		if err != nil {
			t.Error(err)
			return
		}
		parsed = append(parsed, file)
	}
	lookup := func(path string) (io.ReadCloser, error) {
		file, found := exports[path]
		if !found {
			return nil, fmt.Errorf("no package %s", path)
		}
		return os.Open(file)
	}
	config := types.Config{
		Importer: importer.ForCompiler(fset, "gc", lookup),
		Error: func(err error) {
			var typed types.Error
			if errors.As(err, &typed) && !typed.Soft {
				t.Error(err)
			}
		},
	}
	_, _ = config.Check("p", fset, parsed, nil) // its errors went to config.Error
}

// exportData says where the compiled declarations lie of every package that a
// document may show, and of what those import.
func exportData(t *testing.T) map[string]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Export", "./...", module+"/kafka",
		"context", "encoding/json", "errors", "fmt", "log", "maps", "net/http", "net/http/httptest", "os", "os/signal", "slices", "strconv", "strings", "sync", "testing", "testing/synctest", "time")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOWORK=") // kafka is a module of its own
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	exports := map[string]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ ImportPath, Export string }
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return exports
		} else {
			require.NoError(t, err)
		}
		if p.Export != "" {
			exports[p.ImportPath] = p.Export
		}
	}
}

// TestOutputInDocumentsIsReal runs every whole program whose block a text block
// follows, and compares. (TestFirstScreen runs those that the READMEs begin with.)
func TestOutputInDocumentsIsReal(t *testing.T) {
	for path, text := range documents(t) {
		all := blocks(text)
		for i, b := range all {
			if !b.program() || i+1 == len(all) || all[i+1].language != "text" || i == 0 && slices.Contains(readmes, path) {
				continue
			}
			patiently(t, b.text, func(run func() string) error {
				if got := run(); got != all[i+1].text {
					return fmt.Errorf("%s:%d prints %q", path, b.line, got)
				}
				return nil
			})
		}
	}
}

// patiently has use run a program of a document, in an empty directory. Such programs end
// after a second; where that is too short for what use expects, they have longer.
func patiently(t *testing.T, program string, use func(run func() string) error) {
	t.Helper()
	const asShown = "context.Background(), time.Second)"
	err := use(build(t, program))
	for _, longer := range []string{"10*time.Second", "time.Minute"} {
		if err == nil || !strings.Contains(program, asShown) {
			break
		}
		err = use(build(t, strings.Replace(program, asShown, "context.Background(), "+longer+")", 1)))
	}
	require.NoError(t, err)
}

// build compiles a program in an empty directory and returns what runs it there, and what
// it prints, an error included.
func build(t *testing.T, program string) (run func() string) {
	t.Helper()
	dir := t.TempDir()
	main := filepath.Join(dir, "main.go")
	require.NoError(t, os.WriteFile(main, []byte(program), 0o600))
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "program"), main)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return func() string {
		cmd := exec.Command(filepath.Join(dir, "program"))
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			return string(out) + err.Error() + "\n"
		}
		return string(out)
	}
}

// readmes begin with a program, which TestFirstScreen runs.
var readmes = []string{"README.md", "README.zh-CN.md"}

// TestFirstScreen: a README begins with a program whose main has at most 20 lines,
// and says what the program prints when it runs for the first time and again.
func TestFirstScreen(t *testing.T) {
	all := documents(t)
	for _, path := range readmes {
		first, printed := blocks(all[path])[0], blocks(all[path])[1]
		require.True(t, first.program(), path)
		require.Less(t, first.line, 10, "%s: the program is not on the first screen", path)
		_, body, found := strings.Cut(first.text, "\nfunc main() {\n")
		require.True(t, found, path)
		body, _, _ = strings.Cut(body, "\n}\n")
		require.LessOrEqual(t, strings.Count(body, "\n")+1, 20, "%s: lines in main", path)

		require.Equal(t, "text", printed.language)
		patiently(t, first.text, func(run func() string) error {
			if got := run(); got != printed.text {
				return fmt.Errorf("the program of %s prints %q", path, got)
			}
			if got := run(); !strings.Contains(all[path], "`"+strings.TrimSpace(got)+"`") {
				return fmt.Errorf("%s does not say that its program prints %q the second time", path, got)
			}
			return nil
		})
	}
}

// TestServiceOfTheDocumentWorks runs the declarations of docs/building-a-service.md
// under the program in testdata.
func TestServiceOfTheDocumentWorks(t *testing.T) {
	driver, err := os.ReadFile("testdata/service.go.txt")
	require.NoError(t, err)
	code := string(driver)
	for _, b := range blocks(documents(t)["docs/building-a-service.md"]) {
		if _, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+b.text, 0); err == nil && b.language == "go" {
			code += b.text
		}
	}
	code = strings.ReplaceAll(code, "5*time.Second", "5*time.Minute") // where nothing waits that long, but for a slow machine
	withoutComments := regexp.MustCompile(`(?m)//.*$`).ReplaceAllString(code, "")
	run := build(t, "package main\n"+imports(exportData(t), withoutComments)+code)
	require.Equal(t, strings.Join([]string{
		"POST /orders/ann 201 orders-2@0",
		"POST /orders/ann 201 orders-2@1",
		"POST /orders/bob 201 orders-0@0",
		"POST /orders/bob 400 invalid character 'o' in literal null (expecting 'u')",
		"the client hung up, and the order was taken: 201",
		"GET /totals/ann 200 2",
		"GET /totals/bob 200 2",
		"GET /totals/eve 404 404 page not found",
		"given up: ann's espresso, after 6 attempts",
		"paid: map[ann:200 bob:200 eve:400]",
		"brewed: map[cocoa:1 espresso:1 tea:2 water:1]",
	}, "\n")+"\n", run())
}

var (
	link    = regexp.MustCompile(`\]\(([^)#:]*)(#[^)]*)?\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// TestLinksInDocumentsLead: a relative link names something that is there, and a
// heading that it has.
func TestLinksInDocumentsLead(t *testing.T) {
	anchors := map[string][]string{}
	for path, text := range documents(t) {
		for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			anchor := dropped.ReplaceAllString(strings.ToLower(m[1]), "")
			anchors[path] = append(anchors[path], "#"+strings.ReplaceAll(anchor, " ", "-"))
		}
	}
	for path, text := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			target := path
			if m[1] != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(path), m[1]))
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			if m[2] != "" && !slices.Contains(anchors[target], m[2]) {
				t.Errorf("%s: %s has no heading %s", path, target, m[2])
			}
		}
	}
}
