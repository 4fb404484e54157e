package lint_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// module is the path of the root module; every import path of ours starts so.
const module = "github.com/runnel-go/runnel"

// root is the tree's top, seen from this package's directory.
const root = "../.."

// listed is what `go list` says of a package of the root module.
type listed struct {
	ImportPath string
	Name       string
	Dir        string
	Imports    []string
	Deps       []string
	DepsErrors []struct{ Err string }
}

// name is the package's path below the module, and "." for the root.
func (p listed) name() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

// list returns the root module's packages, as its users see them: without the
// workspace.
var list = sync.OnceValues(func() ([]listed, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Dir,Imports,Deps,DepsErrors", "./...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var packages []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
})

func packages(t *testing.T) []listed {
	t.Helper()
	packages, err := list()
	require.NoError(t, err)
	require.NotEmpty(t, packages)
	return packages
}

// source is one Go file of any module in the tree.
type source struct {
	path string // from the tree's top, with slashes
	text string
	ast  *ast.File
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// dir is the directory, which is also the package's path below its module.
func (s source) dir() string { return filepath.ToSlash(filepath.Dir(s.path)) }

// funcs returns the functions and methods that the file declares.
func (s source) funcs() []*ast.FuncDecl {
	var all []*ast.FuncDecl
	for _, decl := range s.ast.Decls {
		if d, ok := decl.(*ast.FuncDecl); ok {
			all = append(all, d)
		}
	}
	return all
}

// public reports whether users may import the file's package.
func (s source) public() bool {
	return s.ast.Name.Name != "main" && !strings.Contains("/"+s.dir()+"/", "/internal/")
}

// at names a place in the file for a failure.
func (s source) at(pos token.Pos) string {
	return files.Position(pos).String()
}

var files = token.NewFileSet()

// parse reads every Go file in the tree once.
var parse = sync.OnceValues(func() ([]source, error) {
	var all []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == "testdata" || name == "bin" || (name != ".." && strings.HasPrefix(name, ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		file, err := parser.ParseFile(files, rel, text, parser.ParseComments|parser.SkipObjectResolution|parser.AllErrors)
		if err != nil && !onlyGenericMethods(rel, err) {
			return err
		}
		all = append(all, source{path: rel, text: string(text), ast: file})
		return nil
	})
	return all, err
})

// newer marks the files that only Go 1.27 builds. Tools of an older Go cannot
// parse them and go by this mark; TestNewerFilesAreMarked holds it to the build
// constraint.
const newer = "_go127"

func isNewer(path string) bool {
	stem := strings.TrimSuffix(strings.TrimSuffix(path, ".go"), "_test")
	return strings.HasSuffix(stem, newer)
}

// onlyGenericMethods reports whether err says no more than that a file for Go
// 1.27 has methods with type parameters. The parser of Go 1.26 drops those and
// goes on, so everything else in the file is there for the rules to see.
func onlyGenericMethods(path string, err error) bool {
	var list scanner.ErrorList
	return isNewer(path) && errors.As(err, &list) && !slices.ContainsFunc(list, func(e *scanner.Error) bool {
		return e.Msg != "method must have no type parameters"
	})
}

func sources(t *testing.T) []source {
	t.Helper()
	all, err := parse()
	require.NoError(t, err)
	require.NotEmpty(t, all)
	return all
}

// isCall reports whether e calls one of names on the package or variable on.
func isCall(e *ast.CallExpr, on string, names ...string) bool {
	sel, ok := e.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == on && slices.Contains(names, sel.Sel.Name)
}
