package runnel_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// killVariable names a directory into which the test binary, run again by a
// test, is to send records until it is killed; killRound what they begin with.
const (
	killVariable = "RUNNEL_TEST_KILL"
	killRound    = "RUNNEL_TEST_KILL_ROUND"
)

const (
	kills          = 100
	killPartitions = 3
)

// sendUntilKilled sends numbered records, each once, and prints the numbers of
// those that are acknowledged.
func sendUntilKilled(dir, round string) error {
	b, err := runnel.Open(dir)
	if err != nil {
		return err
	}
	p, err := producer.New(b, producer.Partitioner(topic.ManualPartitioner))
	if err != nil {
		return err
	}
	acked := make(chan string, 1<<16)
	go func() {
		for n := 0; ; n++ {
			value := fmt.Sprintf("%s/%d", round, n)
			r := record.Record{Topic: "orders", Partition: int32(n % killPartitions), Value: []byte(value)}
			p.SendAsync(context.Background(), r, func(_ record.Position, err error) {
				if err != nil {
					value = "error: " + err.Error()
				}
				acked <- value
			})
			if n%7 == 0 { // not always a full pipe
				_ = p.Flush(context.Background())
			}
		}
	}()
	for value := range acked {
		fmt.Println(value)
	}
	return nil
}

// TestKilledProcess kills a process again and again that sends into the same
// directory, at any moment: while it opens, sends, rolls, syncs.
func TestKilledProcess(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{
		Name: "orders", Partitions: killPartitions, Config: topic.Config{SegmentBytes: 16 << 10},
	}))
	require.NoError(t, b.Close())

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	acked := map[string]bool{}
	for round := range kills {
		child := exec.Command(self)
		child.Env = append(os.Environ(), killVariable+"="+dir, fmt.Sprintf("%s=%d", killRound, round))
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		lines := bufio.NewScanner(out)
		for left := random.IntN(150); left > 0 && lines.Scan(); left-- {
			acked[lines.Text()] = true
		}
		require.NoError(t, child.Process.Kill())
		for lines.Scan() { // what it said before it died
			acked[lines.Text()] = true
		}
		var exit *exec.ExitError
		require.True(t, errors.As(child.Wait(), &exit) && !exit.Exited(), "round %d: it ended by itself", round)
	}

	b = openDir(t, dir)
	require.NoError(t, b.Verify(t.Context()))
	seen := map[string]bool{}
	for partition := range int32(killPartitions) {
		latest := map[int]int{} // the last number of each round
		for _, value := range readPartition(t, b, record.TopicPartition{Topic: "orders", Partition: partition}) {
			require.False(t, seen[value], "%s twice", value)
			seen[value] = true
			round, n := parseSent(t, value)
			if last, ok := latest[round]; ok {
				require.Equal(t, last+killPartitions, n, "the order of round %d in partition %d", round, partition)
			} else {
				require.EqualValues(t, partition, n)
			}
			latest[round] = n
		}
	}
	lost := 0
	for value := range acked {
		require.NotContains(t, value, "error")
		if !seen[value] {
			lost++
		}
	}
	require.Zero(t, lost, "of %d acknowledged records", len(acked))
	require.Greater(t, len(acked), kills)
	t.Logf("%d records acknowledged, %d found", len(acked), len(seen))
}

func parseSent(t *testing.T, value string) (round, n int) {
	t.Helper()
	a, b, ok := strings.Cut(value, "/")
	require.True(t, ok, value)
	round, err := strconv.Atoi(a)
	require.NoError(t, err)
	n, err = strconv.Atoi(b)
	require.NoError(t, err)
	return round, n
}

// readPartition returns the values of a partition's records.
func readPartition(t *testing.T, b *runnel.Broker, tp record.TopicPartition) []string {
	t.Helper()
	end := describe(t, b, tp.Topic).Partitions[tp.Partition].HighWatermark
	c, err := consumer.New(b, consumer.Assign(tp))
	require.NoError(t, err)
	defer c.Close()
	var values []string
	for next := int64(0); next < end; {
		batch, err := c.Poll(t.Context())
		require.NoError(t, err)
		for _, r := range batch {
			require.Equal(t, next, r.Offset)
			values = append(values, string(r.Value))
			next++
		}
	}
	return values
}
