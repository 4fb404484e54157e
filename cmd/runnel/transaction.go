package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

func newTransaction(s *shell) *cobra.Command {
	return group("transaction", "List, describe and abort transactions",
		"A producer with a transactional ID writes in transactions, which count as a whole\nor not at all. Readers of committed records wait for one that is open.",
		`  runnel transaction list
  runnel transaction describe shop
  runnel transaction find-hanging`,
		newTransactionList(s), newTransactionDescribe(s), newTransactionAbort(s), newTransactionFindHanging(s))
}

func newTransactionList(s *shell) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List transactional IDs",
		Long:    "List transactional IDs, who coordinates them, their producers and states.",
		Example: `  runnel transaction list`,
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				all, err := b.ListTransactions(ctx)
				if err != nil {
					return err
				}
				t := newTable("TRANSACTIONAL-ID", "#COORDINATOR", "#PRODUCER-ID", "STATE")
				for _, l := range all {
					if !s.tables() {
						line := map[string]any{"transactionalId": l.TransactionalID, "coordinator": l.Coordinator, "producerId": l.ProducerID, "state": l.State}
						if err := s.line(line); err != nil {
							return err
						}
					}
					t.row(l.TransactionalID, l.Coordinator, l.ProducerID, l.State)
				}
				switch {
				case !s.tables():
					return nil
				case len(all) == 0:
					fmt.Fprintf(s.errs, "There are no transactional IDs in %s yet: producer.TransactionalID gives one to a producer\n", s.at)
					return nil
				}
				return t.print(s.out)
			})
		},
	}
}

// transactionLine is a transactional ID as JSON.
type transactionLine struct {
	ID          string   `json:"transactionalId"`
	Coordinator int32    `json:"coordinator"`
	ProducerID  int64    `json:"producerId"`
	Epoch       int16    `json:"producerEpoch"`
	State       string   `json:"state"`
	TimeoutMs   int64    `json:"timeoutMs"`
	StartMs     int64    `json:"startMs"` // -1 without a transaction
	Partitions  []string `json:"partitions"`
}

func newTransactionDescribe(s *shell) *cobra.Command {
	return &cobra.Command{
		Use: "describe ID...", Short: "Describe transactional IDs",
		Long: `Describe transactional IDs: the producer that each has, the state and, while a
transaction is open, since when and in which partitions.`,
		Example: `  runnel transaction describe shop`,
		Args:    atLeast(1, "a transactional ID"),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				all, err := b.DescribeTransactions(ctx, ids...)
				if errors.Is(err, fault.TransactionalIDNotFound) {
					return s.unknownTransactionOf(ctx, b, ids, err)
				}
				if err != nil {
					return err
				}
				t := newTable("TRANSACTIONAL-ID", "#COORDINATOR", "#PRODUCER-ID", "#EPOCH", "STATE", "#TIMEOUT", "STARTED", "#DURATION", "PARTITIONS")
				for _, d := range all {
					l := transactionLine{
						d.TransactionalID, d.Coordinator, d.ProducerID, d.Epoch, d.State, d.Timeout.Milliseconds(), -1, []string{},
					}
					started, lasts := "-", "-"
					if !d.Started.IsZero() {
						l.StartMs, started, lasts = d.Started.UnixMilli(), stamp(d.Started), time.Since(d.Started).Truncate(time.Second).String()
					}
					for _, tp := range d.Partitions {
						l.Partitions = append(l.Partitions, tp.String())
					}
					if !s.tables() {
						if err := s.line(l); err != nil {
							return err
						}
					}
					t.row(d.TransactionalID, d.Coordinator, d.ProducerID, d.Epoch, d.State, d.Timeout, started, lasts, cmp.Or(strings.Join(l.Partitions, ","), "-"))
				}
				if !s.tables() {
					return nil
				}
				return t.print(s.out)
			})
		},
	}
}

// unknownTransactionOf explains that one of some transactional IDs is not known.
func (s *shell) unknownTransactionOf(ctx context.Context, b backend, ids []string, err error) error {
	listed, listErr := b.ListTransactions(ctx)
	if listErr != nil {
		return err
	}
	known := map[string]bool{}
	names := make([]string, len(listed))
	for i, l := range listed {
		names[i], known[l.TransactionalID] = l.TransactionalID, true
	}
	for _, id := range ids {
		if known[id] {
			continue
		}
		hint := "runnel transaction list" + s.atFlag() + " shows what there is"
		if near := topic.Nearest(id, names); len(near) > 0 {
			hint = "did you mean " + strings.Join(near, ", ") + "?"
		}
		return hinted{fmt.Errorf("there is no transactional ID %q in %s", id, s.at), hint}
	}
	return err
}

func newTransactionAbort(s *shell) *cobra.Command {
	var name string
	var number, start counter = 0, -1
	cmd := &cobra.Command{
		Use: "abort [ID]", Short: "Abort a transaction",
		Long: `Abort the open transaction of a transactional ID: its records do not count, and
readers of committed records go on. Its producer finds that when it commits; on
Kafka it is fenced.

With --topic, --partition and --start-offset, abort a hanging transaction in that
partition: one that no coordinator will end. find-hanging prints them.`,
		Example: `  runnel transaction abort shop
  runnel transaction abort --topic orders --partition 0 --start-offset 4100`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			flags := cmd.Flags()
			hanging := flags.Changed("topic") || flags.Changed("partition") || flags.Changed("start-offset")
			switch {
			case len(args) == 1 && hanging, len(args) == 0 && !hanging:
				return usageError{hinted{errors.New("abort needs a transactional ID, or --topic, --partition and --start-offset"), "runnel transaction list" + s.atFlag() + " prints IDs, and find-hanging the others"}}
			case hanging && (name == "" || !flags.Changed("start-offset")):
				return usageError{hinted{errors.New("abort needs --topic, --partition and --start-offset together"), "runnel transaction find-hanging" + s.atFlag() + " prints them"}}
			}
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				if hanging {
					return s.abortHanging(ctx, b, record.TopicPartition{Topic: name, Partition: int32(number)}, int64(start))
				}
				return s.abortID(ctx, b, args[0])
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&name, "topic", "", "abort a hanging transaction in this `topic`")
	flags.Var(&number, "partition", "in this partition")
	flags.Var(&start, "start-offset", "the offset where it begins")
	return cmd
}

func (s *shell) abortID(ctx context.Context, b backend, id string) error {
	err := s.done(b.ForceTerminateTransaction(ctx, id), fault.InvalidTxnState)
	switch {
	case errors.Is(err, fault.TransactionalIDNotFound):
		return s.unknownTransactionOf(ctx, b, []string{id}, err)
	case err != nil:
		return err
	case !s.tables():
		return s.line(map[string]any{"aborted": id})
	}
	_, err = fmt.Fprintf(s.out, "Aborted the transaction of %s.\n", id)
	return err
}

func (s *shell) abortHanging(ctx context.Context, b backend, tp record.TopicPartition, start int64) error {
	if _, err := s.describe(ctx, b, []string{tp.Topic}); err != nil {
		return err
	}
	err := s.done(producer.AbortHanging(ctx, b, tp, start), fault.InvalidTxnState)
	switch {
	case err != nil:
		return err
	case !s.tables():
		return s.line(map[string]any{"aborted": tp.String(), "startOffset": start})
	}
	_, err = fmt.Fprintf(s.out, "Aborted the transaction that began at offset %d of %s.\n", start, tp)
	return err
}

// hangingLine is a hanging transaction as JSON.
type hangingLine struct {
	Topic      string `json:"topic"`
	Partition  int32  `json:"partition"`
	Start      int64  `json:"startOffset"`
	ProducerID int64  `json:"producerId"`
	Epoch      int16  `json:"producerEpoch"`
	LastMs     int64  `json:"lastTimestampMs"`
}

func newTransactionFindHanging(s *shell) *cobra.Command {
	longer := producer.MaxTransactionTimeout
	var topics []string
	cmd := &cobra.Command{
		Use: "find-hanging", Short: "Find transactions that no coordinator will end",
		Long: `Find transactions that are open in a partition and that no coordinator will end:
readers of committed records wait for them for ever, until they are aborted. A
directory that was imported from Kafka may have some.`,
		Example: `  runnel transaction find-hanging
  runnel transaction find-hanging --topic orders --max-transaction-timeout 1m`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				described, err := s.describe(ctx, b, topics)
				if err != nil {
					return err
				}
				var tps []record.TopicPartition
				for _, d := range described {
					for _, p := range d.Partitions {
						tps = append(tps, record.TopicPartition{Topic: d.Name, Partition: p.Number})
					}
				}
				found, err := producer.FindHanging(ctx, b, longer, tps...)
				if err != nil {
					return err
				}
				return s.printHanging(found)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&topics, "topic", nil, "in this `topic`; may be repeated; default: in all")
	flags.DurationVar(&longer, "max-transaction-timeout", longer, "younger than that none hangs")
	return cmd
}

func (s *shell) printHanging(found []producer.Hanging) error {
	t := newTable("TOPIC", "#PARTITION", "#START-OFFSET", "#PRODUCER-ID", "#EPOCH", "LAST-RECORD")
	for _, h := range found {
		if !s.tables() {
			l := hangingLine{h.Topic, h.Partition, h.TransactionStart, h.ProducerID, h.Epoch, h.LastTimestamp.UnixMilli()}
			if err := s.line(l); err != nil {
				return err
			}
		}
		t.row(h.Topic, h.Partition, h.TransactionStart, h.ProducerID, h.Epoch, stamp(h.LastTimestamp))
	}
	switch {
	case !s.tables():
		return nil
	case len(found) == 0:
		fmt.Fprintf(s.errs, "No transaction hangs in %s\n", s.at)
		return nil
	}
	if err := t.print(s.out); err != nil {
		return err
	}
	first := found[0]
	fmt.Fprintf(s.errs, "To abort one: runnel transaction abort --topic %s --partition %d --start-offset %d%s\n", shellQuoted(first.Topic), first.Partition, first.TransactionStart, s.atFlag())
	return nil
}
