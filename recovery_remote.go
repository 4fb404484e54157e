package runnel

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// Recovery returns what opening the directory has found so far. See
// Broker.Recovery.
func (r *Remote) Recovery(ctx context.Context) (Recovery, error) {
	var b bytes.Buffer
	if err := r.client.Stream(ctx, streamRecovery, &b); err != nil {
		return Recovery{}, err
	}
	return readRecovery(b.Bytes())
}

// writeRecovery encodes r for an attached process.
func writeRecovery(to io.Writer, r Recovery) error {
	w := &wire.Writer{}
	w.Bool(r.Clean)
	w.Int64(int64(r.Duration))
	w.ArrayLen(len(r.Partitions))
	for _, p := range r.Partitions {
		w.Bytes([]byte(p.Topic))
		w.Int32(p.Partition)
		w.Bool(p.Clean)
		w.Int64(int64(p.Segments))
		w.Int64(p.Batches)
		w.Int64(p.Bytes)
		w.Int64(p.Cut)
		w.Bytes([]byte(p.Reason))
		w.Int64(int64(p.Indexes))
		for _, errs := range [][]error{p.Restored, p.Damage} {
			w.ArrayLen(len(errs))
			for _, err := range errs {
				attach.WriteError(w, err)
			}
		}
		w.Int64(int64(p.Duration))
		attach.WriteError(w, p.Err)
	}
	w.ArrayLen(len(r.Missing))
	for _, tp := range r.Missing {
		w.Bytes([]byte(tp.Topic))
		w.Int32(tp.Partition)
	}
	for _, names := range [][]string{r.Removed, r.Orphans} {
		w.ArrayLen(len(names))
		for _, name := range names {
			w.Bytes([]byte(name))
		}
	}
	if err := w.Err(); err != nil {
		return err
	}
	_, err := to.Write(w.B)
	return err
}

// readRecovery decodes the result of writeRecovery.
func readRecovery(b []byte) (r Recovery, err error) {
	d := wire.NewReader(b)
	r.Clean, r.Duration = d.Bool(), time.Duration(d.Int64())
	for range d.ArrayLen(66) {
		p := PartitionRecovery{TopicPartition: readPartition(&d)}
		p.Recovery = log.Recovery{
			Clean: d.Bool(), Segments: int(d.Int64()), Batches: d.Int64(), Bytes: d.Int64(), Cut: d.Int64(),
			Reason: string(d.Bytes()), Indexes: int(d.Int64()),
		}
		for _, errs := range []*[]error{&p.Restored, &p.Damage} {
			for range d.ArrayLen(1) {
				*errs = append(*errs, attach.ReadError(&d))
			}
		}
		p.Duration, p.Err = time.Duration(d.Int64()), attach.ReadError(&d)
		r.Partitions = append(r.Partitions, p)
	}
	for range d.ArrayLen(8) {
		r.Missing = append(r.Missing, readPartition(&d))
	}
	for _, names := range []*[]string{&r.Removed, &r.Orphans} {
		for range d.ArrayLen(4) {
			*names = append(*names, string(d.Bytes()))
		}
	}
	return r, d.End()
}

func readPartition(d *wire.Reader) record.TopicPartition {
	return record.TopicPartition{Topic: string(d.Bytes()), Partition: d.Int32()}
}
