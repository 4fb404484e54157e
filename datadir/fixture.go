package datadir

import (
	"context"

	"github.com/runnel-go/runnel/internal/fixture"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
)

func init() {
	fixture.Inspect = func(ctx context.Context, fsys vfs.FS, dir string, live bool, found any) (err error) {
		*found.(*Inspection), err = inspect(ctx, fsys, dir, live, nil)
		return err
	}
	fixture.Repair = func(ctx context.Context, fsys vfs.FS, dir string, how, steps any) (err error) {
		*steps.(*[]log.Step), err = repair(ctx, fsys, dir, how.(RepairOptions))
		return err
	}
	fixture.Restore = restore
	fixture.Import = func(ctx context.Context, fsys vfs.FS, dir string, from, topics []string) error {
		n := importing{ctx: ctx, opts: ImportOptions{Topics: topics}}
		defer n.release()
		if err := n.openSources(from); err != nil {
			return err
		}
		if err := n.plan(); err != nil {
			return err
		}
		_, err := n.into(fsys, dir)
		return err
	}
}
