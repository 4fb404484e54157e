package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPrintsWhatIsUnpaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		in := strings.NewReader("1 placed\n2 placed\n1 paid\n")
		require.NoError(t, run(t.Context(), []string{"--after", "1h"}, in, &out))
		require.Equal(t, "order 2 is not paid\n", out.String())
	})
}

func TestBadInput(t *testing.T) {
	require.ErrorContains(t, run(t.Context(), nil, strings.NewReader("1\n"), &bytes.Buffer{}), "not a number and a status")
}
