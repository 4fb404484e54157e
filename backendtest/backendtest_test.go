package backendtest_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/backendtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var features = backendtest.Features{AtomicTopics: true, Durability: true, AppendTime: true, StaticMembers: true}

func TestMemory(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Backend {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		return b
	}, features)
}

func TestDisk(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Backend {
		b, err := runnel.Open(t.TempDir())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		return b
	}, features)
}

func TestClosing(t *testing.T) {
	backendtest.RunClosing(t, func(t *testing.T) backendtest.Closer {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		return b
	})
}
