package runnel

import (
	"github.com/runnel-go/runnel/internal/fixture"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/topic"
)

func init() {
	fixture.Open = func(fsys vfs.FS, dir string, opts any) (any, error) {
		c, err := configure(defaults(topic.Fsync), opts.([]Option))
		if err != nil {
			return nil, err
		}
		return open(c, home{fsys: fsys, dir: dir, disk: true})
	}
}
