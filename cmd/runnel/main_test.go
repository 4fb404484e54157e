package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/backendtest"
	"github.com/runnel-go/runnel/internal/fixture"
	"github.com/runnel-go/runnel/kafka"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/share"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// TestMain lets the scripts call this program as runnel.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"runnel": main})
}

// TestStories runs the scripts in testdata, which read as what somebody types
// and what comes back. $KAFKA is a cluster in this process.
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			golden, err := filepath.Abs("../../record/testdata/golden")
			if err != nil {
				return err
			}
			env.Setenv("GOLDEN", golden)
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
			if err != nil {
				return err
			}
			env.Defer(cluster.Close)
			env.Setenv("KAFKA", kafka.Scheme+cluster.ListenAddrs()[0])
			directory, err := filepath.Abs("../../testdata/kafka.tar.gz")
			if err != nil {
				return err
			}
			env.Setenv("KAFKA_DIRECTORY", directory)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"settle": settle, "hold": hold, "mark": mark, "transact": transact, "work": work},
	})
}

// settle NAME replaces what differs from run to run in the last standard output
// (topic IDs, times) and keeps it as the file NAME, for cmp.
func settle(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: settle NAME")
	}
	out := ts.ReadFile("stdout")
	out = replaceAll(out, `[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{12}Z`, "TIME")
	out = replaceAll(out, `"id":"[A-Za-z0-9_-]{22}"`, `"id":"ID"`)
	out = replaceAll(out, `TopicId: [A-Za-z0-9_-]{22}`, "TopicId: ID")
	out = replaceAll(out, `"crc":"[0-9a-f]{8}"`, `"crc":"CRC"`)
	out = replaceAll(out, `damaged-[0-9TZ]{16}`, "damaged-TIME")
	out = replaceAll(out, `(be|is|checksum|say) [0-9a-f]{8}`, "$1 CRC")
	out = replaceAll(out, `process [0-9]+`, "process PID")
	out = replaceAll(out, `TIME  [0-9a-f]{8}`, "TIME  CRC")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(out), 0o644))
}

// hold DIR [nosocket] opens a data directory in the process of the test, until
// the script ends.
func hold(ts *testscript.TestScript, neg bool, args []string) {
	var opts []runnel.Option
	switch {
	case neg || len(args) < 1 || len(args) > 2 || len(args) == 2 && args[1] != "nosocket":
		ts.Fatalf("usage: hold DIR [nosocket]")
	case len(args) == 2:
		opts = append(opts, runnel.NoSocket())
	}
	broker, err := runnel.Open(ts.MkAbs(args[0]), opts...)
	ts.Check(err)
	ts.Defer(func() { ts.Check(broker.Close()) })
}

// work DIR GROUP TOPIC [hold] receives a record as a member of a share group and acknowledges
// it, in the process of the test; with hold it keeps it until the script ends.
func work(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 4 || len(args) == 4 && args[3] != "hold" {
		ts.Fatalf("usage: work DIR GROUP TOPIC [hold]")
	}
	broker, err := runnel.Open(ts.MkAbs(args[0]), runnel.ShareGroups())
	ts.Check(err)
	c, err := share.New(broker, share.Group(args[1]), share.Topics(args[2]))
	ts.Check(err)
	d, err := c.Receive(context.Background())
	ts.Check(err)
	end := func() { ts.Check(errors.Join(c.Close(), broker.Close())) }
	if len(args) == 4 {
		ts.Defer(end)
		return
	}
	ts.Check(d.Ack(context.Background()))
	end()
}

// mark DIR TOPIC ends a topic's first partition with a transaction's marker.
func mark(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mark DIR TOPIC")
	}
	broker, err := runnel.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(fixture.Append(broker, args[1], 0, backendtest.Marker().Bytes))
	ts.Check(broker.Close())
}

// transact AT ID TOPIC VALUE commit|open sends a value in a transaction of a transactional
// ID, and commits it or leaves it open.
func transact(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 5 {
		ts.Fatalf("usage: transact AT ID TOPIC VALUE commit|open")
	}
	ctx := context.Background()
	s := &shell{at: args[0]}
	if !s.onCluster() {
		s.at = ts.MkAbs(args[0])
	}
	broker, err := s.open(ctx, false, 0)
	ts.Check(err)
	p, err := producer.New(broker, producer.TransactionalID(args[1]), producer.TransactionTimeout(producer.MaxTransactionTimeout))
	ts.Check(err)
	ts.Check(p.Begin(ctx))
	_, err = p.Send(ctx, record.Record{Topic: args[2], Value: []byte(args[3])})
	ts.Check(err)
	if args[4] == "commit" {
		ts.Check(p.Commit(ctx))
	}
	ts.Check(p.CloseNow())
	ts.Check(broker.Close())
}

// Every command has an example, and its help fits a screen.
func TestHelp(t *testing.T) {
	var walk func(path []string)
	walk = func(path []string) {
		var out strings.Builder
		s := &shell{in: os.Stdin, out: &out, errs: &out}
		root := newRoot(s)
		root.SetArgs(append(path, "--help"))
		require.NoError(t, root.ExecuteContext(t.Context()))
		help := out.String()
		name := strings.Join(append([]string{"runnel"}, path...), " ")
		require.Contains(t, help, "Examples:\n", name)
		require.Contains(t, help, "Usage: runnel", name)
		lines := strings.Split(strings.TrimRight(help, "\n"), "\n")
		require.LessOrEqual(t, len(lines), 40, name)
		if len(path) == 0 {
			require.LessOrEqual(t, len(lines), 24, "runnel --help is more than a screen")
		}
		for _, line := range lines {
			require.LessOrEqual(t, len([]rune(line)), 110, "%s: %s", name, line)
			require.Equal(t, strings.TrimRight(line, " "), line, name)
		}
		cmd, _, err := root.Find(path)
		require.NoError(t, err)
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "completion" {
				walk(append(path[:len(path):len(path)], sub.Name()))
			}
		}
	}
	walk(nil)
}
