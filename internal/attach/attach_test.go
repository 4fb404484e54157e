package attach_test

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/backendtest"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/internal/fixture"
	"github.com/runnel-go/runnel/internal/leak"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// patience is how long servers wait for clients when they close, and tests for what must
// happen: what must not wait takes less, however slow the machine is.
const patience = time.Minute

func TestMain(m *testing.M) {
	attach.SetGrace(patience)
	if what := os.Getenv(doVariable); what != "" {
		fmt.Println("error:", asChild(what, os.Getenv(dirVariable)))
		os.Exit(1)
	}
	goleak.VerifyTestMain(leak.Patient(m))
}

// Everything that a broker can do works through its socket.
func TestBackend(t *testing.T) {
	var brokers sync.Map // *runnel.Broker by the *runnel.Remote of it
	mark := func(t *testing.T, b backendtest.Backend, tp record.TopicPartition) {
		p, err := producer.New(b, producer.Partitioner(topic.ManualPartitioner))
		require.NoError(t, err)
		_, err = p.Send(t.Context(), record.Record{Topic: tp.Topic, Partition: tp.Partition, Value: []byte("marked")})
		require.NoError(t, err)
		require.NoError(t, p.Close())
		broker, _ := brokers.Load(b)
		require.NoError(t, fixture.Append(broker, tp.Topic, tp.Partition, backendtest.Marker().Bytes))
	}
	backendtest.Run(t, func(t *testing.T) backendtest.Backend {
		dir := t.TempDir()
		b, err := runnel.Open(dir, runnel.ShareGroups())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		r, err := runnel.Attach(dir)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, r.Close()) })
		brokers.Store(r, b)
		return r
	}, backendtest.Features{AtomicTopics: true, Durability: true, Preconditions: true, ShareGroups: true, AppendTime: true, StaticMembers: true, Mark: mark, RefusesConsumers: fault.InconsistentProtocol})
}

func TestClosing(t *testing.T) {
	for name, broker := range map[string]bool{"the client": false, "the broker": true} {
		t.Run(name, func(t *testing.T) {
			backendtest.RunClosing(t, func(t *testing.T) backendtest.Closer {
				dir := t.TempDir()
				b, err := runnel.Open(dir)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, b.Close()) })
				r, err := runnel.Attach(dir)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, r.Close()) })
				if broker {
					return closedByBroker{r, b}
				}
				return r
			})
		})
	}
}

// closedByBroker is a Remote that closes the broker it is attached to.
type closedByBroker struct {
	*runnel.Remote
	b *runnel.Broker
}

func (c closedByBroker) Close() error { return c.b.Close() }
