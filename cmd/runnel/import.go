package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/datadir"
)

func newImport(s *shell) *cobra.Command {
	var from, topics []string
	cmd := &cobra.Command{
		Use: "import DIR --from KAFKA_LOG_DIR", Short: "Make a data directory of a Kafka broker's",
		Long: `Make a data directory of the log directories of Kafka brokers that are stopped,
or of copies of them: topics with their IDs, settings, offsets and transactions,
and the offsets that groups have committed. Kafka's directories are only read. If
partitions are spread over several brokers, name the directories of all.

The directory must be empty or not exist yet. An import that was interrupted goes
on when it is started again.`,
		Example: `  runnel import ./data --from /var/lib/kafka/data
  runnel import ./data --from broker-1/data --from broker-2/data --topic orders`,
		Args: exactly(1, "a directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			m := s.newMeter()
			got, err := datadir.Import(cmd.Context(), args[0], from, datadir.ImportOptions{
				Topics:   topics,
				Progress: func(p datadir.ImportProgress) { m.show(p.Done, p.Total) },
			})
			m.end()
			if err != nil {
				return err
			}
			return s.imported(args[0], got)
		},
	}
	cmd.Flags().StringArrayVar(&from, "from", nil, "a log `directory` of Kafka's; may be given several times")
	cmd.Flags().StringArrayVar(&topics, "topic", nil, "a `topic` to import, may be given several times; default all")
	_ = cmd.MarkFlagRequired("from")
	_ = cmd.MarkFlagDirname("from")
	return cmd
}

// imported prints what an import has brought.
func (s *shell) imported(dir string, got datadir.Imported) error {
	if !s.tables() {
		for _, t := range got.Topics {
			if err := s.line(map[string]any{"topic": t.Name, "id": t.ID.String(), "partitions": t.Partitions, "offsets": t.Offsets, "bytes": t.Bytes}); err != nil {
				return err
			}
		}
		return s.line(map[string]any{"imported": dir, "topics": len(got.Topics), "groups": got.Groups, "notes": append([]string{}, got.Notes...)})
	}
	t := newTable("TOPIC", "#PARTITIONS", "#OFFSETS", "#BYTES")
	for _, i := range got.Topics {
		t.row(i.Name, i.Partitions, i.Offsets, i.Bytes)
	}
	if err := t.print(s.out); err != nil {
		return err
	}
	for _, note := range got.Notes {
		if _, err := fmt.Fprintf(s.out, "note: %s\n", note); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(s.out, "Imported %d topics and the offsets of %d groups into %s.\n", len(got.Topics), got.Groups, dir)
	return err
}
