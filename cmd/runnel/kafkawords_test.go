package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Kafka's command lines, and what does the same here. Ours are real: they parse.
func TestKafkasWords(t *testing.T) {
	for theirs, want := range map[string]string{
		"kafka-topics.sh --create --topic quickstart-events --bootstrap-server localhost:9092":                               "runnel topic create quickstart-events --at kafka://localhost:9092",
		"bin/kafka-topics.sh --create --topic a --partitions 3 --replication-factor 2 --config retention.ms=5 --zookeeper x": "runnel topic create a --partitions 3 --replicas 2 --config retention.ms=5",
		"topic --describe --topic a": "runnel topic describe a",
		"topics --describe --under-replicated-partitions --bootstrap-server b:1": "runnel topic describe --under-replicated-partitions --at kafka://b:1",
		"topic --describe a":       "runnel topic describe a",
		"topic describe --topic a": "runnel topic describe a",
		"topics --list":            "runnel topic list",
		"topics":                   "runnel topic list",
		"topic create a --if-not-exists --bootstrap-server h:1":                                                                     "runnel topic create a --if-not-exists --at kafka://h:1",
		"topic --alter --topic a --partitions 40":                                                                                   "runnel topic add-partitions a --total 40",
		"topic --delete --topic a":                                                                                                  "runnel topic delete a",
		"kafka-console-producer.sh --topic a --broker-list h:1,i:2":                                                                 "runnel produce a --at kafka://h:1,i:2",
		"produce --topic a --property parse.key=true --property key.separator=:":                                                    "runnel produce a --key-sep :",
		"produce --topic=a --reader-property parse.key=true,null.marker=NULL":                                                       `runnel produce a --key-sep '\t' --null NULL`,
		"produce a --topic b --compression-codec zstd --request-required-acks all":                                                  "runnel produce b --acks all --compression zstd",
		"consume --topic a --from-beginning":                                                                                        "runnel consume a --follow",
		"consume a --from-beginning --at d":                                                                                         "runnel consume a --follow --at d",
		"kafka-console-consumer --topic a":                                                                                          "runnel consume a --from end --follow",
		"kafka-console-consumer --topic a --isolation-level read_committed":                                                         "runnel consume a --from end --isolation read_committed --follow",
		"kafka-console-consumer --topic a --from-beginning --max-messages 5 --group g":                                              "runnel consume a --group g --count 5",
		"kafka-console-consumer --topic a --partition 1 --offset 7 --timeout-ms 100":                                                "runnel consume a --from 7 --partition 1",
		"kafka-console-consumer --topic a --from-beginning --property print.headers=true":                                           "runnel consume a --verbose --follow",
		"kafka-consumer-groups.sh --list":                                                                                           "runnel group list",
		"kafka-consumer-groups.sh --describe --group g":                                                                             "runnel group describe g",
		"kafka-consumer-groups.sh --describe --group g --members":                                                                   "runnel group describe g --members",
		"kafka-consumer-groups.sh --describe --group g --state":                                                                     "runnel group describe g --state",
		"kafka-consumer-groups.sh --delete-offsets --group g --topic a:1":                                                           "runnel group delete-offsets g --topic a:1",
		"group --delete --group g":                                                                                                  "runnel group delete g",
		"group --reset-offsets --group g --topic a:0,1 --to-earliest --execute":                                                     "runnel group reset g --to start --topic a:0,1",
		"kafka-consumer-groups --reset-offsets --group g --all-topics --shift-by -10":                                               "runnel group reset g --shift -10 --dry-run",
		"group --reset-offsets --group g --all-topics --by-duration P1DT2H --execute":                                               "runnel group reset g --to 26h",
		"group --reset-offsets --group g --all-topics --to-datetime 2026-05-01T12:00:00":                                            "runnel group reset g --to 2026-05-01T12:00:00 --dry-run",
		"kafka-configs.sh --alter --entity-type topics --entity-name a --add-config cleanup.policy=[compact,delete],retention.ms=5": "runnel topic alter a --config cleanup.policy=compact,delete --config retention.ms=5",
		"kafka-configs --alter --entity-type topics --entity-name a --delete-config retention.ms":                                   "runnel topic alter a --unset retention.ms",
		"kafka-configs --describe --entity-type topics --entity-name a":                                                             "runnel topic describe a",
		"kafka-get-offsets.sh --topic a":                                                                                            "runnel topic describe --offsets a",
		"kafka-dump-log.sh --files a.log,b.log --print-data-log":                                                                    "runnel dump a.log b.log --records",
		"kafka-share-groups.sh --bootstrap-server h:1 --list":                                                                       "runnel share list --at kafka://h:1",
		"kafka-share-groups.sh --describe --group workers":                                                                          "runnel share describe workers",
		"kafka-share-groups.sh --delete --group workers":                                                                            "runnel share delete workers",
		"kafka-share-groups.sh --delete-offsets --group workers --topic jobs":                                                       "runnel share delete-offsets workers --topic jobs",
		"kafka-share-groups.sh --reset-offsets --group workers --topic jobs --to-earliest --execute":                                "runnel share reset workers --to start --topic jobs",
		"kafka-transactions.sh --bootstrap-server h:1 list":                                                                         "runnel transaction list --at kafka://h:1",
		"kafka-transactions.sh describe --transactional-id shop":                                                                    "runnel transaction describe shop",
		"kafka-transactions.sh abort --topic a --partition 1 --start-offset 7":                                                      "runnel transaction abort --topic a --partition 1 --start-offset 7",
		"kafka-transactions.sh forceTerminateTransaction --transactional-id shop":                                                   "runnel transaction abort shop",
		"kafka-transactions.sh find-hanging --broker-id 1 --max-transaction-timeout 5":                                              "runnel transaction find-hanging --max-transaction-timeout 5m",
		"kafka-delete-records.sh --offset-json-file f":                                                                              "runnel topic delete-records NAME --before OFFSET",
	} {
		got, ok := translate(strings.Fields(theirs))
		require.True(t, ok, theirs)
		require.Equal(t, want, got, theirs)
		root := newRoot(&shell{})
		cmd, rest, err := root.Find(strings.Fields(got)[1:])
		require.NoError(t, err, got)
		require.NotEqual(t, root, cmd)
		require.NoError(t, cmd.ParseFlags(rest), got)
	}
	for _, ours := range []string{
		"", "topic", "topic create", "consume", "consume a --cuont 3", "produce a b", "group describe", "frobnicate --topic a", "dump", "verify --topic a", "--topic a",
		"kafka-configs --alter --entity-type brokers --entity-name 1 --add-config a=b", "kafka-acls --list",
	} {
		_, ok := translate(strings.Fields(ours))
		require.False(t, ok, ours)
	}
}
