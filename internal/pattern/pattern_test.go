package pattern_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/pattern"
)

func TestWholeNamesMatch(t *testing.T) {
	p, err := pattern.Parse(`orders|orders\.(eu|us)`)
	require.NoError(t, err)
	for name, want := range map[string]bool{
		"orders": true, "orders.eu": true, "orders.us": true, "orders.eux": false, "my-orders": false, "orders-2": false, "": false,
	} {
		require.Equal(t, want, p.Matches(name), name)
	}
	none, err := pattern.Parse("")
	require.NoError(t, err)
	require.False(t, none.Matches(""))
	_, err = pattern.Parse("a(")
	require.ErrorIs(t, err, fault.InvalidRegularExpression)
	_, err = pattern.Parse("a)|(b")
	require.ErrorIs(t, err, fault.InvalidRegularExpression, "what is no expression by itself is none in brackets")
}
