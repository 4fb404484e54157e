package runnel

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/topic"
)

// verdict is a test within a test, which may fail.
type verdict struct {
	ctx   context.Context
	found string // what failed first
}

func (v *verdict) Context() context.Context { return v.ctx }

func (v *verdict) Errorf(format string, args ...any) {
	if v.found == "" {
		v.found = fmt.Sprintf(format, args...)
	}
}

func (v *verdict) FailNow() { runtime.Goexit() }

// judge runs a check and returns what it found wrong.
func judge(ctx context.Context, check func(t failer)) string {
	v := &verdict{ctx: ctx}
	done := make(chan struct{})
	go func() {
		defer close(done)
		check(v)
	}()
	<-done
	return v.found
}

// TestPowerLossFindsLies: what the power loss tests check, they find missing where
// the broker runs on a disk that does not do one kind of thing; and nothing where
// there is nothing to find.
func TestPowerLossFindsLies(t *testing.T) {
	const honest = "is honest"
	for name, lie := range map[string]vfs.Rule{
		honest:                              {},
		"syncs no segment of a topic":       {On: vfs.OpSync, Match: vfs.Named("orders-0/00000000000000000000.log")},
		"syncs nothing of the catalogue":    {On: vfs.OpSync, Match: vfs.Named("__cluster_metadata-0/00000000000000000000.log")},
		"syncs no snapshot":                 {On: vfs.OpSync, Match: func(path string) bool { return strings.HasSuffix(path, "0.checkpoint.tmp") }},
		"syncs no names of partitions":      {On: vfs.OpSyncDir, Match: vfs.Named("/srv/data")},
		"syncs no names within a partition": {On: vfs.OpSyncDir, Match: vfs.Named("/srv/data/orders-0")},
		"syncs no names in the catalogue":   {On: vfs.OpSyncDir, Match: vfs.Named("__cluster_metadata-0")},
		"syncs no owner of a partition":     {On: vfs.OpSync, Match: vfs.Named("partition.metadata.tmp")},
	} {
		t.Run(name, func(t *testing.T) {
			lie.Lie = true
			liar := func(fsys vfs.FS) vfs.FS {
				f := vfs.NewFaulty(fsys)
				f.Add(lie)
				return f
			}
			p := losePower(t, liar, func(*powerLoss) {}, func(p *powerLoss) {
				p.create(topic.Spec{Name: "orders"})
				p.send("orders", 1, 10)
				for n := range 3 {
					p.create(topic.Spec{Name: fmt.Sprint("topic-", n), Partitions: 2})
					settleSnapshot(p.broker)
				}
				p.delete("topic-1")
				p.send("orders", 1, 10)
			})
			for _, m := range p.moments {
				if found := judge(t.Context(), m.check); found != "" {
					require.NotEqual(t, honest, name, found)
					t.Logf("%s: %.120s", m.name, strings.Join(strings.Fields(found), " "))
					return
				}
			}
			require.Equal(t, honest, name, "nothing was found")
		})
	}
}
