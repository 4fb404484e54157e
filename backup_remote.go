package runnel

import (
	"context"
	"io"

	"github.com/runnel-go/runnel/internal/archive"
)

// Backup writes a copy of everything to w. See Broker.Backup.
func (r *Remote) Backup(ctx context.Context, w io.Writer) error {
	a := archive.NewWriter(w)
	files := archive.NewReceiver(a)
	if err := r.client.Stream(ctx, streamBackup, files); err != nil {
		return err
	}
	if err := files.End(); err != nil {
		return err
	}
	return a.Close()
}
