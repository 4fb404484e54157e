package kafka

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// failure converts err to an error of package fault, without a place.
func failure(err error) error { return failureAt(err, "", -1) }

// failureOf is failureAt for a partition.
func failureOf(err error, tp record.TopicPartition) error {
	return failureAt(err, tp.Topic, tp.Partition)
}

// failureAt converts err, which franz-go returned, to an error of package
// fault. The codes of package fault are Kafka's, so they need no table. It
// returns errors of a ctx, and those that are package fault's already,
// unchanged.
func failureAt(err error, topic string, partition int32) error {
	var own *fault.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	var code fault.Code
	if errors.As(err, &code) {
		return fault.At(code, topic, partition, -1)
	}
	if e, ok := errors.AsType[*kerr.Error](err); ok {
		f := fault.At(fault.Code(e.Code), topic, partition, -1)
		if !f.Code.Known() {
			f.Detail = e.Message + ": " + e.Description
		}
		return f
	}
	switch {
	case errors.Is(err, kgo.ErrClientClosed), errors.Is(err, kgo.ErrAborting):
		return fault.At(fault.Closed, topic, partition, -1)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, kgo.ErrRecordRetries):
		return fault.At(fault.TimedOut, topic, partition, -1).Because(err)
	}
	return fault.At(fault.Unknown, topic, partition, -1).Because(err)
}

// answer returns the error for the error code and message in the cluster's
// answer to a request, or nil.
func answer(code int16, message *string, topic string, partition int32) error {
	if code == 0 {
		return nil
	}
	err := failureAt(kerr.ErrorForCode(code), topic, partition)
	if f, ok := errors.AsType[*fault.Error](err); ok && message != nil && *message != "" {
		f.Detail = *message
	}
	return err
}

// unsure returns the error of a call that changes a group: where ctx ended while the
// call was made, the cluster may have made the change, which is fault.UnknownOutcome.
func unsure(ctx context.Context, err error) error {
	if why := ctx.Err(); why != nil && errors.Is(err, why) {
		return fault.Newf(fault.UnknownOutcome, "a change of a group").Because(err)
	}
	return err
}
