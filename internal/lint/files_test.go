package lint_test

import (
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

// TestNoDrawers refuses names under which anything could be filed. (Tests may
// have helpers.)
func TestNoDrawers(t *testing.T) {
	for _, s := range sources(t) {
		drawers := []string{"util", "utils", "common", "types", "misc", "shared", "base"}
		if !s.isTest() {
			drawers = append(drawers, "helper", "helpers")
		}
		stem := strings.TrimSuffix(strings.TrimSuffix(path.Base(s.path), ".go"), "_test")
		if slices.Contains(drawers, stem) || slices.Contains(drawers, path.Base(s.dir())) {
			t.Errorf("%s: anything could be filed here", s.path)
		}
	}
}

// TestNewerFilesAreMarked: a file's name says that it needs Go 1.27, because the
// formatter of an older Go has to pass over it without reading it.
func TestNewerFilesAreMarked(t *testing.T) {
	for _, s := range sources(t) {
		constrained := strings.HasPrefix(s.text, "//go:build go1.27\n")
		if constrained && !isNewer(s.path) {
			t.Errorf("%s is for Go 1.27, so its name should end in %s", s.path, newer)
		} else if isNewer(s.path) && !constrained {
			t.Errorf("%s should begin with //go:build go1.27", s.path)
		}
	}
}

// TestFilesAreShort: a file past 600 lines is two things.
func TestFilesAreShort(t *testing.T) {
	for _, s := range sources(t) {
		if lines := strings.Count(s.text, "\n"); lines > 600 && !s.isTest() {
			t.Errorf("%s has %d lines", s.path, lines)
		}
	}
}

// TestNothingIsLeftForLater: a reader meets no promise, only what is there.
func TestNothingIsLeftForLater(t *testing.T) {
	for _, s := range sources(t) {
		for _, group := range s.ast.Comments {
			for _, word := range strings.FieldsFunc(group.Text(), func(r rune) bool { return r < 'A' || r > 'Z' }) {
				if slices.Contains([]string{"TODO", "FIXME", "XXX", "HACK"}, word) {
					t.Errorf("%s: %s", s.at(group.Pos()), word)
				}
			}
		}
	}
}

// TestEveryPackageIsIntroduced: one comment per package, in Go's form.
func TestEveryPackageIsIntroduced(t *testing.T) {
	comments := map[string][]string{} // by directory: the files that hold one
	names := map[string]string{}
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		names[s.dir()] = s.ast.Name.Name
		if s.ast.Doc == nil || strings.TrimSpace(s.ast.Doc.Text()) == "" {
			continue
		}
		comments[s.dir()] = append(comments[s.dir()], s.path)
		if name := s.ast.Name.Name; name != "main" && !strings.HasPrefix(s.ast.Doc.Text(), "Package "+name+" ") {
			t.Errorf("%s: the package comment does not begin with Package %s", s.path, name)
		}
	}
	for dir, name := range names {
		if len(comments[dir]) != 1 {
			t.Errorf("package %s in %s should have one package comment, not %d: %v", name, dir, len(comments[dir]), comments[dir])
		}
	}
}

// TestEveryExportedThingIsDocumented: functions, types and their methods have a
// comment of their own, in the form that go doc expects; constants and
// variables have one, or their group has.
func TestEveryExportedThingIsDocumented(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() || !s.public() {
			continue
		}
		for _, decl := range s.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) && !says(d.Doc, d.Name.Name) && !obvious(d) {
					t.Errorf("%s: %s has no comment that begins with its name", s.at(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						if spec.Name.IsExported() && !says(spec.Doc, spec.Name.Name) && !says(d.Doc, spec.Name.Name) {
							t.Errorf("%s: type %s has no comment that names it", s.at(spec.Pos()), spec.Name.Name)
						}
					case *ast.ValueSpec:
						if slices.ContainsFunc(spec.Names, (*ast.Ident).IsExported) && d.Doc == nil && spec.Doc == nil && spec.Comment == nil {
							t.Errorf("%s: %s is not explained", s.at(spec.Pos()), spec.Names[0].Name)
						}
					}
				}
			}
		}
	}
}

// says reports whether a comment begins by naming the thing it explains.
func says(comment *ast.CommentGroup, name string) bool {
	if comment == nil {
		return false
	}
	text := comment.Text()
	for _, article := range []string{"A ", "An ", "The "} {
		text = strings.TrimPrefix(text, article)
	}
	return strings.HasPrefix(text, name)
}

// obvious are the methods whose name says all, because an interface that every
// Go programmer knows gives it its meaning.
func obvious(d *ast.FuncDecl) bool {
	return d.Recv != nil && slices.Contains([]string{"Error", "String", "Unwrap", "Is", "Len", "Less", "Swap", "Close"}, d.Name.Name)
}

// receiver is the name of a method's type.
func receiver(d *ast.FuncDecl) string {
	e := d.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// TestNoLazyPackageState: what a package makes at first use belongs to whoever
// used it first; a pool made inside one synctest bubble kills the next. Pools,
// locks and onces are fields of what owns them.
func TestNoLazyPackageState(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() || !s.public() && !strings.HasPrefix(s.path, "internal/") {
			continue
		}
		for _, decl := range s.ast.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range d.Specs {
				v, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				ast.Inspect(v, func(n ast.Node) bool {
					if _, inside := n.(*ast.FuncLit); inside {
						return false
					}
					sel, ok := n.(*ast.SelectorExpr)
					if !ok {
						return true
					}
					if pkg, ok := sel.X.(*ast.Ident); ok && (pkg.Name == "sync" || pkg.Name == "atomic") {
						t.Errorf("%s: package-level %s.%s", s.at(v.Pos()), pkg.Name, sel.Sel.Name)
					}
					return true
				})
			}
		}
	}
}
