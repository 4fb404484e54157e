package runnel

import (
	"github.com/runnel-go/runnel/internal/fixture"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
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
	fixture.Append = func(broker any, name string, number int32, batch []byte) error {
		p, err := broker.(*Broker).host.Partition(record.TopicPartition{Topic: name, Partition: number})
		if err != nil {
			return err
		}
		return p.AppendAwait(batch)
	}
}
