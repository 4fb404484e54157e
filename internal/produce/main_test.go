package produce

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/runnel-go/runnel/internal/leak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leak.Patient(m)) }
