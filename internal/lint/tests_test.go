package lint_test

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// TestNoTestSleepsOrSkips: a test that sleeps is slow or flaky, one that skips
// is green without having looked. Inside a synctest bubble sleeping is how
// virtual time moves, and is allowed: in what is given to synctest.Test or to a
// function of the package that calls it, and anywhere in a file whose tests all
// do so.
func TestNoTestSleepsOrSkips(t *testing.T) {
	bubbles := map[string]bool{} // directory and name of such functions
	inBubble := func(s source, n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return false
		}
		f, ok := call.Fun.(*ast.Ident)
		return isCall(call, "synctest", "Test") || ok && bubbles[s.dir()+" "+f.Name]
	}
	opensBubble := func(s source, d *ast.FuncDecl) (found bool) {
		ast.Inspect(d, func(n ast.Node) bool {
			found = found || n != nil && inBubble(s, n)
			return !found
		})
		return found
	}
	for _, s := range sources(t) {
		for _, d := range s.funcs() {
			if s.isTest() && opensBubble(s, d) {
				bubbles[s.dir()+" "+d.Name.Name] = true
			}
		}
	}
	for _, s := range sources(t) {
		if !s.isTest() {
			continue
		}
		tests := slices.DeleteFunc(s.funcs(), func(d *ast.FuncDecl) bool { return !strings.HasPrefix(d.Name.Name, "Test") })
		virtual := len(tests) > 0 && !slices.ContainsFunc(tests, func(d *ast.FuncDecl) bool { return !opensBubble(s, d) })
		ast.Inspect(s.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if isCall(call, "time", "Sleep") && !virtual {
				t.Errorf("%s: sleeps", s.at(call.Pos()))
			}
			for _, on := range []string{"t", "b", "f", "tb"} {
				if isCall(call, on, "Skip", "Skipf", "SkipNow") {
					t.Errorf("%s: skips", s.at(call.Pos()))
				}
			}
			return !inBubble(s, n)
		})
	}
}

// TestWhoStartsGoroutinesLooksForLeaks: a package that starts goroutines
// verifies in its TestMain that none is left. (Not a conformance suite, which
// runs within its callers' tests.)
func TestWhoStartsGoroutinesLooksForLeaks(t *testing.T) {
	starts, verifies := map[string]string{}, map[string]bool{}
	for _, s := range sources(t) {
		if s.ast.Name.Name == "main" {
			continue
		}
		if !s.isTest() && slices.ContainsFunc(s.ast.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing"` }) {
			verifies[s.dir()] = true
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				if !s.isTest() {
					starts[s.dir()] = s.at(n.Pos())
				}
			case *ast.CallExpr:
				if s.isTest() && isCall(n, "goleak", "VerifyTestMain") {
					verifies[s.dir()] = true
				}
			}
			return true
		})
	}
	for dir, at := range starts {
		if !verifies[dir] {
			t.Errorf("%s starts a goroutine, and no TestMain of its package calls goleak.VerifyTestMain", at)
		}
	}
}

// TestConstructorsHaveExamples: every exported function of a public package
// that gives its caller something new to use (New…, Open…, Connect…, For, To,
// Of) is called in a testable example of its own package, one with output.
func TestConstructorsHaveExamples(t *testing.T) {
	constructors := map[string][]string{} // by directory
	shown := map[string]map[string]bool{}
	for _, s := range sources(t) {
		if !s.public() {
			continue
		}
		for _, d := range s.funcs() {
			if d.Recv != nil {
				continue
			}
			switch {
			case !s.isTest() && isConstructor(d.Name.Name):
				constructors[s.dir()] = append(constructors[s.dir()], d.Name.Name)
			case s.isTest() && strings.HasPrefix(d.Name.Name, "Example") && hasOutput(s, d):
				if shown[s.dir()] == nil {
					shown[s.dir()] = map[string]bool{}
				}
				ast.Inspect(d.Body, func(n ast.Node) bool {
					if id, ok := n.(*ast.Ident); ok {
						shown[s.dir()][id.Name] = true
					}
					return true
				})
			}
		}
	}
	for dir, names := range constructors {
		for _, name := range names {
			if !shown[dir][name] {
				t.Errorf("%s: no example with output calls %s", dir, name)
			}
		}
	}
}

func isConstructor(name string) bool {
	if slices.Contains([]string{"For", "To", "Of"}, name) {
		return true
	}
	return slices.ContainsFunc([]string{"New", "Open", "Connect"}, func(verb string) bool {
		noun, found := strings.CutPrefix(name, verb)
		return found && (noun == "" || ast.IsExported(noun)) // New, NewReader, not Newf
	})
}

// hasOutput reports whether the example's last comment is its expected output,
// without which go test only compiles it.
func hasOutput(s source, example *ast.FuncDecl) bool {
	for _, group := range s.ast.Comments {
		if group.Pos() > example.Body.Pos() && group.End() < example.Body.End() {
			text := strings.ToLower(strings.TrimSpace(group.Text()))
			if strings.HasPrefix(text, "output:") || strings.HasPrefix(text, "unordered output:") {
				return true
			}
		}
	}
	return false
}
