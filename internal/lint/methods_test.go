package lint_test

import (
	"go/ast"
	"go/printer"
	"go/token"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOperatorsAreMethodsToo: a function of package streams that begins with a
// stream, a table or a grouping is an operator, which Go 1.27 lets users chain.
// The method has the function's name, without Table (see methodName), the rest of its
// parameters in their order and its result, and does nothing but call it; so an
// operator that is added later is not forgotten there, and there is one
// implementation. A grouping is an interface: each type that implements it has the
// method.
func TestOperatorsAreMethodsToo(t *testing.T) {
	methods := map[string]*ast.FuncDecl{} // by receiver.name
	var operators []*ast.FuncDecl
	for _, s := range sources(t) {
		if s.dir() != "streams" || s.isTest() {
			continue
		}
		for _, d := range s.funcs() {
			switch {
			case d.Recv != nil:
				methods[receiver(d)+"."+d.Name.Name] = d
			case d.Name.IsExported() && d.Type.TypeParams != nil && operand(d) != "" && !strings.HasPrefix(operand(d), "Windowed"):
				operators = append(operators, d)
			}
		}
	}
	require.GreaterOrEqual(t, len(operators), 9)
	for _, f := range operators {
		for _, on := range receivers(methods, operand(f)) {
			name := methodName(f)
			m, found := methods[on+"."+name]
			if !found {
				t.Errorf("%s: %s has no method %s", files.Position(f.Pos()), on, name)
				continue
			}
			require.Equal(t, signature(f, 1), signature(m, 0), "%s", files.Position(m.Pos()))
			require.Len(t, m.Body.List, 1, "%s", files.Position(m.Pos()))
			require.Equal(t, "return "+call(f, m.Recv.List[0].Names[0].Name), text(m.Body.List[0]), "%s", files.Position(m.Pos()))
		}
	}
}

// methodName is the name of an operator's method. Functions on tables cannot have the
// name of one on streams, so they say Table; methods have Kafka's names.
func methodName(f *ast.FuncDecl) string {
	name := f.Name.Name
	if on := operand(f); on != "KTable" && on != "KGroupedTable" {
		return name
	}
	name = strings.Replace(strings.Replace(name, "Tables", "", 1), "Table", "", 1)
	switch name {
	case "Map":
		return "MapValues"
	case "Group":
		return "GroupBy"
	}
	return name
}

// operand is the generic type of package streams that the first parameter of an
// operator has, and empty for other functions.
func operand(d *ast.FuncDecl) string {
	if d.Type.Params.NumFields() == 0 {
		return ""
	}
	e := d.Type.Params.List[0].Type
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	generic, ok := e.(*ast.IndexListExpr) // all of them have a key and a value
	if !ok {
		return ""
	}
	name, _ := generic.X.(*ast.Ident)
	if name == nil {
		return "" // another package's
	}
	return name.Name
}

// receivers are the types whose method an operator on that operand is.
func receivers(methods map[string]*ast.FuncDecl, operand string) []string {
	if operand != "Grouped" {
		return []string{operand}
	}
	var all []string
	for name := range methods {
		// The methods of windowed streams return types of their own: see WindowedTable.
		if on, method, _ := strings.Cut(name, "."); method == "grouping" && on != "TimeWindowedKStream" {
			all = append(all, on)
		}
	}
	slices.Sort(all)
	return all
}

// signature is the text of d's parameters behind the first skip, and of its
// results.
func signature(d *ast.FuncDecl, skip int) string {
	params := *d.Type.Params
	params.List = params.List[skip:]
	return text(&ast.FuncType{Params: &params, Results: d.Type.Results})
}

// call is the text of a call of f with on in place of its first parameter.
func call(f *ast.FuncDecl, on string) string {
	arguments := []string{on}
	for _, field := range f.Type.Params.List[1:] {
		for _, name := range field.Names {
			argument := name.Name
			if _, variadic := field.Type.(*ast.Ellipsis); variadic {
				argument += "..."
			}
			arguments = append(arguments, argument)
		}
	}
	return f.Name.Name + "(" + strings.Join(arguments, ", ") + ")"
}

func text(n ast.Node) string {
	var b strings.Builder
	if err := printer.Fprint(&b, token.NewFileSet(), n); err != nil {
		return err.Error()
	}
	return oneLine(b.String())
}
