package lint_test

import (
	"go/ast"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/topic"
)

// TestConfigurationIsComplete holds docs/configuration.md against the code:
// every option of every constructor has a row, and so has every setting of a
// topic, with its default.
func TestConfigurationIsComplete(t *testing.T) {
	text, err := os.ReadFile(root + "/docs/configuration.md")
	require.NoError(t, err)
	rows := map[string]string{} // by the name in the first column
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, "`"); len(cells) > 2 && cells[0] == "| " {
			name, _, _ := strings.Cut(cells[1], "(")
			rows[name] = line
		}
	}

	for _, s := range sources(t) {
		for _, d := range s.funcs() {
			if s.isTest() || !s.public() || d.Recv != nil || !d.Name.IsExported() || d.Type.Results.NumFields() != 1 {
				continue
			}
			result, ok := d.Type.Results.List[0].Type.(*ast.Ident)
			if !ok || result.Name != "Option" {
				continue
			}
			name := s.ast.Name.Name + "." + d.Name.Name
			if _, found := rows[name]; !found {
				t.Errorf("docs/configuration.md has no row for %s", name)
			}
		}
	}
	for _, e := range (topic.Config{}.WithDefaults()).Entries() {
		row, found := rows[e.Name]
		if !found {
			t.Errorf("docs/configuration.md has no row for %s", e.Name)
		} else if !strings.Contains(row, "`"+e.Value+"`") {
			t.Errorf("docs/configuration.md does not say that the default of %s is %s", e.Name, e.Value)
		}
	}
}
