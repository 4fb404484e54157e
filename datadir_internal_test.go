package runnel

import (
	"context"
	"io"

	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/internal/fixture"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
)

func inspect(ctx context.Context, fsys vfs.FS, dir string, live bool, _ func(done, total int64)) (found datadir.Inspection, err error) {
	err = fixture.Inspect(ctx, fsys, dir, live, &found)
	return found, err
}

func repair(ctx context.Context, fsys vfs.FS, dir string, how datadir.RepairOptions) (steps []log.Step, err error) {
	err = fixture.Repair(ctx, fsys, dir, how, &steps)
	return steps, err
}

func restore(ctx context.Context, fsys vfs.FS, dir string, r io.Reader) error {
	return fixture.Restore(ctx, fsys, dir, r)
}
