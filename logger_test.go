package runnel_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/runneltest"
	"github.com/runnel-go/runnel/topic"
)

// heard is a logger's handler that keeps its lines as text, without times.
type heard struct {
	slog.Handler
	mu  sync.Mutex
	all []string
	do  func() // first, unless nil
}

func (l *heard) Handle(ctx context.Context, r slog.Record) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s", r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "took" && a.Key != "error" {
			fmt.Fprintf(&text, " %s", a)
		} else {
			fmt.Fprintf(&text, " %s", a.Key)
		}
		return true
	})
	l.mu.Lock()
	l.all = append(l.all, text.String())
	l.mu.Unlock()
	if l.do != nil {
		l.do()
	}
	return nil
}

// take returns what was told since the last time.
func (l *heard) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

func newHeard() *heard { return &heard{Handler: slog.DiscardHandler} }

func (l *heard) Enabled(context.Context, slog.Level) bool { return true }

// Nothing is written while nothing happens.
func TestLoggerIsSilent(t *testing.T) {
	dir, told := t.TempDir(), newHeard()
	for n := range 2 {
		b := openDir(t, dir, runnel.Logger(slog.New(told)))
		if n == 0 {
			require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}, topic.Spec{Name: "visits"}))
		}
		send(t, b, "orders", "k", "v")
		c, err := consumer.New(b, consumer.Group("g"), consumer.Topics("orders"))
		require.NoError(t, err)
		_, err = c.Poll(t.Context())
		require.NoError(t, err)
		require.NoError(t, c.Close())
		_, err = b.Cleanup(t.Context())
		require.NoError(t, err)
		require.NoError(t, b.Close())
	}
	require.Empty(t, told.take())
	require.NoError(t, os.Remove(filepath.Join(dir, ".kafka_cleanshutdown")))
	for _, nobody := range []runnel.Option{runnel.Logger(nil), runnel.Logger((*slog.Logger)(nil))} {
		require.NoError(t, openDir(t, dir, nobody).Close())
	}
}

// What opening finds after a crash is worth lines.
func TestLoggerTellsOfRecovery(t *testing.T) {
	dir, told := threeDir(t), newHeard()
	require.NoError(t, os.Remove(filepath.Join(dir, ".kafka_cleanshutdown")))
	f, err := os.OpenFile(filepath.Join(dir, "orders-1", firstLog), os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = f.WriteString("torn")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "orders-2")))
	require.NoError(t, os.CopyFS(filepath.Join(dir, "stranger-0"), os.DirFS(filepath.Join(dir, "orders-0"))))
	shorten(t, filepath.Join(dir, "orders-0", firstLog))
	b := openDir(t, dir, runnel.Logger(slog.New(told)))
	for range 3 { // each tries again to open what does not
		_, _ = b.ListOffsets(t.Context(), topic.Latest(), record.TopicPartition{Topic: "orders"})
	}
	require.NoError(t, b.Close())
	require.ElementsMatch(t, []string{
		"ERROR a partition does not open topic=orders partition=0 error",
		"WARN a torn tail was cut off topic=orders partition=1 bytes=4 reason=4 bytes, fewer than a batch's header has",
		"WARN a partition's directory was missing, and was created empty topic=orders partition=2",
		"WARN a directory of a partition that no topic has is left as it is dir=" + filepath.Join(dir, "stranger-0"),
	}, noSummary(t, told.take()))
}

// noSummary leaves out the line that sums recovery up.
func noSummary(t *testing.T, all []string) (rest []string) {
	t.Helper()
	for _, line := range all {
		if !strings.HasPrefix(line, "INFO recovered a directory that was not closed dir=") {
			rest = append(rest, line)
		}
	}
	require.Len(t, rest, len(all)-1)
	return rest
}

// A sync that is slow, one that fails, cleaning that fails, and a member that is
// expelled are worth lines, too.
func TestLoggerTellsOfTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := newHeard()
		b := runneltest.New(t, runnel.Logger(slog.New(told)))
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: topic.Config{SegmentBytes: 100, Retention: time.Hour}}))
		p, err := producer.New(b)
		require.NoError(t, err)
		defer p.Close()
		send := func() error {
			_, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: make([]byte, 50)})
			return err
		}
		require.NoError(t, send())
		end := b.Inject(runneltest.Fault{On: runneltest.Sync, Topic: "orders", File: ".log", Delay: 3 * time.Second})
		require.NoError(t, send())
		end()
		synctest.Wait()
		require.Contains(t, told.take(), "WARN a sync was slow file=/data/orders-0/00000000000000000001.log took")

		c, err := consumer.New(b, consumer.Group("g"), consumer.Topics("orders"), consumer.RebalanceTimeout(time.Minute))
		require.NoError(t, err)
		_, err = c.Poll(t.Context())
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		lines := told.take()
		require.Len(t, lines, 1)
		require.Regexp(t, "^WARN a member was expelled from its group because it was silent for too long group=g member=", lines[0])
		require.NoError(t, c.Close())

		end = b.Inject(runneltest.Fault{On: runneltest.Remove | runneltest.Write, Topic: "orders", Err: syscall.EMFILE})
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		require.Contains(t, told.take(), "WARN cleaning failed topic=orders partition=0 error")
		end()

		b = b.Crash()
		p, err = producer.New(b)
		require.NoError(t, err)
		defer p.Close()
		synctest.Wait()
		_ = told.take()
		end = b.Inject(runneltest.Fault{On: runneltest.Sync, Topic: "orders", File: ".log"})
		require.Error(t, send())
		end()
		synctest.Wait()
		require.Equal(t, []string{"ERROR a partition takes no more records topic=orders partition=0 error"}, told.take())
	})
}

// A logger may use the broker, and one that ends its goroutine does not take the
// lines after its own along.
func TestLoggersHandler(t *testing.T) {
	dir, told := threeDir(t), newHeard()
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "log"}))
	require.NoError(t, b.Close())
	for n := range 3 {
		shorten(t, filepath.Join(dir, fmt.Sprint("orders-", n), firstLog))
	}
	opened := make(chan *runnel.Broker, 1)
	var handled sync.WaitGroup
	handled.Add(3)
	told.do = func() {
		defer handled.Done()
		b := <-opened
		opened <- b
		p, err := producer.New(b)
		if err == nil {
			_, err = p.Send(context.Background(), record.Record{Topic: "log", Value: []byte("v")})
		}
		if err == nil {
			err = p.Close()
		}
		if err != nil {
			t.Error(err)
		}
		runtime.Goexit()
	}
	b, err := runnel.Open(dir, runnel.Logger(slog.New(told)))
	require.NoError(t, err)
	opened <- b
	_, _ = b.DescribeTopics(t.Context(), "orders")
	require.Len(t, readN(t, b, record.TopicPartition{Topic: "log"}, 3), 3)
	handled.Wait() // a record can be read before its Send returns
	require.NoError(t, b.Close())
	require.Len(t, told.take(), 3)
}

// readN reads so many records of a partition, which may be yet to come.
func readN(t *testing.T, b *runnel.Broker, tp record.TopicPartition, n int) (all []string) {
	t.Helper()
	c, err := consumer.New(b, consumer.Assign(tp))
	require.NoError(t, err)
	defer c.Close()
	for len(all) < n {
		batch, err := c.Poll(t.Context())
		require.NoError(t, err)
		for _, r := range batch {
			all = append(all, string(r.Value))
		}
	}
	return all
}

func ExampleLogger() {
	dir, err := os.MkdirTemp("", "runnel")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "took" || a.Key == "dir" || a.Key == "bytes" || a.Key == "batches" {
				return slog.Attr{}
			}
			return a
		},
	}))
	ctx := context.Background()
	for range 2 {
		broker, err := runnel.Open(dir, runnel.Logger(logger))
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = broker.CreateTopics(ctx, topic.Spec{Name: "orders"})
		_ = broker.Close()
		_ = os.Remove(filepath.Join(dir, ".kafka_cleanshutdown")) // as a crash would
	}
	// Output:
	// level=INFO msg="recovered a directory that was not closed" partitions=2 cut=0
}
