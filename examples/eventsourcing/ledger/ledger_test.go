package ledger_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/examples/eventsourcing/ledger"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/runneltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// do carries out a command that is written as text.
func do(ctx context.Context, t require.TestingT, l *ledger.Ledger, line string) error {
	c, err := ledger.ParseCommand(line)
	require.NoError(t, err)
	_, err = l.Do(ctx, c)
	return err
}

func open(t *testing.T, backend ledger.Backend) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), backend)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

func TestCommandsLeadToEvents(t *testing.T) {
	l := open(t, runneltest.New(t))
	for _, line := range []string{"open a", "open b", "deposit a 10.50", "transfer a b 4", "withdraw b 1.5"} {
		require.NoError(t, do(t.Context(), t, l, line))
	}
	require.Equal(t, ledger.State{"a": 650, "b": 250}, l.State())
	require.EqualValues(t, 5, l.Next())
}

func TestRefusedCommandsLeaveNothing(t *testing.T) {
	l := open(t, runneltest.New(t))
	require.NoError(t, do(t.Context(), t, l, "open a"))
	for line, says := range map[string]string{
		"open a":         "open already",
		"deposit b 1":    "no account b",
		"transfer a b 1": "no account b",
		"transfer a a 1": "cannot pay itself",
		"withdraw a 1":   "a has 0.00, which is less than 1.00",
	} {
		err := do(t.Context(), t, l, line)
		require.ErrorAs(t, err, new(ledger.Refused))
		require.ErrorContains(t, err, says)
	}
	require.EqualValues(t, 1, l.Next())
	require.Equal(t, ledger.State{"a": 0}, l.State())
}

func TestParse(t *testing.T) {
	for s, want := range map[string]ledger.Cents{"1": 100, "0.01": 1, "12.5": 1250, "10000000000": 1_000_000_000_000} {
		got, err := ledger.ParseCents(s)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, s := range []string{"", "0", "-1", "+1", "1.234", "1e3", "10000000000.01", "99999999999999999999", "a.b", "."} {
		_, err := ledger.ParseCents(s)
		require.Error(t, err, s)
	}
	for _, s := range []string{"", "open", "open a b", "close a", "deposit a", "deposit a nothing", "transfer a b"} {
		_, err := ledger.ParseCommand(s)
		require.Error(t, err, s)
	}
	require.Equal(t, "-12.05", ledger.Cents(-1205).String())
}

// The present state is the result of the past: a ledger that is opened again
// has the same state, and a past state is the fold of fewer events.
func TestOpeningAgainGivesTheSameState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		broker, err := runnel.OpenMemory()
		require.NoError(t, err)
		defer broker.Close()
		l, err := ledger.Open(ctx, broker)
		require.NoError(t, err)
		defer l.Close()
		account := rapid.SampledFrom([]string{"a", "b", "c"})
		states := []ledger.State{{}}
		for range rapid.IntRange(0, 30).Draw(t, "commands") {
			_, err := l.Do(ctx, ledger.Command{
				Kind:    rapid.SampledFrom([]ledger.Kind{ledger.Opened, ledger.Deposited, ledger.Withdrawn, ledger.Transferred}).Draw(t, "kind"),
				Account: account.Draw(t, "account"), To: account.Draw(t, "to"),
				Cents: ledger.Cents(rapid.IntRange(1, 500).Draw(t, "cents")),
			})
			if errors.As(err, new(ledger.Refused)) {
				continue
			}
			require.NoError(t, err)
			states = append(states, maps.Clone(l.State()))
		}
		for a, balance := range l.State() {
			require.GreaterOrEqual(t, balance, ledger.Cents(0), a)
		}
		again, err := ledger.Open(ctx, broker)
		require.NoError(t, err)
		defer again.Close()
		require.Equal(t, l.State(), again.State())
		require.Equal(t, l.Next(), again.Next())
		for number, want := range states {
			state, err := l.Before(ctx, int64(number))
			require.NoError(t, err)
			require.Equal(t, want, state)
		}
	})
}

// Several ledgers share the accounts: whichever is faster, no account is overdrawn, each
// event is applied by all, and a later one begins with a snapshot.
func TestSeveralLedgers(t *testing.T) {
	b := runneltest.New(t)
	first := open(t, b)
	require.NoError(t, do(t.Context(), t, first, "open a"))
	require.NoError(t, do(t.Context(), t, first, "deposit a 100"))
	var withdrawn atomic.Int64
	var running sync.WaitGroup
	for range 4 {
		l := open(t, b)
		running.Go(func() {
			for range 60 {
				if do(t.Context(), t, l, "withdraw a 1") == nil {
					withdrawn.Add(1)
				}
			}
		})
	}
	running.Wait()
	require.EqualValues(t, 100, withdrawn.Load())
	last := open(t, b)
	require.Equal(t, ledger.State{"a": 0}, last.State())
	require.EqualValues(t, 102, last.Next())
	require.ErrorAs(t, do(t.Context(), t, first, "withdraw a 1"), new(ledger.Refused), "one that has not read the others' events")
	before, err := last.Before(t.Context(), 52)
	require.NoError(t, err)
	require.Equal(t, ledger.State{"a": 5000}, before)
}

func TestStateAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker, err := runnel.OpenMemory()
		require.NoError(t, err)
		defer broker.Close()
		l, err := ledger.Open(t.Context(), broker)
		require.NoError(t, err)
		defer l.Close()
		begin := time.Now()
		for _, line := range []string{"open a", "deposit a 3", "withdraw a 1"} {
			time.Sleep(time.Hour)
			require.NoError(t, do(t.Context(), t, l, line))
		}
		for hours, want := range []ledger.State{{}, {"a": 0}, {"a": 300}, {"a": 200}} {
			state, err := l.At(t.Context(), begin.Add(time.Duration(hours)*time.Hour+time.Minute))
			require.NoError(t, err)
			require.Equal(t, want, state)
		}
		deposited, err := ledger.Project(t.Context(), l, ledger.Cents(0), func(sum ledger.Cents, e ledger.Entry) (ledger.Cents, bool) {
			if e.Kind == ledger.Deposited {
				sum += e.Cents
			}
			return sum, true
		})
		require.NoError(t, err)
		require.EqualValues(t, 300, deposited)
	})
}

func TestDamagedEventIsNotPassedOver(t *testing.T) {
	b := runneltest.New(t)
	require.NoError(t, do(t.Context(), t, open(t, b), "open a"))
	p, err := producer.New(b)
	require.NoError(t, err)
	defer p.Close()
	_, err = p.Send(t.Context(), record.Record{Topic: "ledger-events", Key: []byte("a"), Value: []byte("{")})
	require.NoError(t, err)
	_, err = ledger.Open(t.Context(), b)
	require.ErrorContains(t, err, "ledger-events-0 at offset 1")
}
