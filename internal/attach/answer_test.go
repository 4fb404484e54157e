package attach

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
)

// until is a backend whose calls return when their context has ended.
type until struct{ Backend }

func (until) Topics(ctx context.Context) ([]string, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Calls that a visit's end canceled answer with the reason for the end: their
// callers have canceled nothing.
func TestAnAnswerNamesWhatEndedTheVisit(t *testing.T) {
	v := &visit{server: &Server{backend: until{}}}
	for name, c := range map[string]struct{ cause, want error }{
		"the visit": {fault.Closed, fault.Closed},
		"its call":  {nil, context.Canceled},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(c.cause)
		call, err := encode(0, 7, func(c *coder) {
			m := listTopics
			c.method(&m)
		})
		require.NoError(t, err)
		answer := v.answer(ctx, frame{id: 7, body: call[frameHead:]})
		var told error
		require.NoError(t, decode(answer[frameHead:], func(c *coder) { c.problem(&told) }), name)
		require.ErrorIs(t, told, c.want, name)
	}
}
