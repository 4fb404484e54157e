package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/topic"
)

// completionPatience is how long completion may take after Tab.
const completionPatience = 2 * time.Second

type completion = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective)

const noFiles = cobra.ShellCompDirectiveNoFileComp

// complete adds shell completion of names that --at holds, and of flags'
// values.
func complete(s *shell, root *cobra.Command) {
	topics, one := s.completeNames(s.topicNames, 0), s.completeNames(s.topicNames, 1)
	groups := s.completeNames(s.groupNames, 0)
	shares, oneShare := s.completeNames(s.shareGroupNames, 0), s.completeNames(s.shareGroupNames, 1)
	transactions := s.completeNames(s.transactionalIDs, 0)
	arguments := map[string]completion{
		"topic describe": topics, "topic delete": topics, "topic alter": topics, "consume": topics,
		"topic add-partitions": one, "topic delete-records": one, "produce": one,
		"group describe": groups, "group delete": groups, "group reset": s.completeNames(s.groupNames, 1),
		"share describe": shares, "share delete": shares, "share reset": oneShare, "share delete-offsets": oneShare,
		"transaction describe": transactions, "transaction abort": s.completeNames(s.transactionalIDs, 1),
	}
	setting := fixed(settingNames("=")...)
	times := fixed("start", "end", "1h", "24h")
	flags := map[string]map[string]completion{
		"topic create":             {"config": setting},
		"topic alter":              {"config": setting, "unset": fixed(settingNames("")...)},
		"topic delete-records":     {"before": times},
		"produce":                  {"acks": fixed("all", "1", "0"), "compression": fixed("none", "gzip", "snappy", "lz4", "zstd")},
		"consume":                  {"group": groups, "value": fixed("text", "int64", "hex"), "isolation": fixed(readUncommitted, readCommitted), "from": times},
		"group reset":              {"topic": topics, "to": times},
		"share reset":              {"topic": topics, "to": times},
		"share delete-offsets":     {"topic": topics},
		"transaction abort":        {"topic": topics},
		"transaction find-hanging": {"topic": topics},
		"streams run wordcount":    {"from": topics, "to": topics},
	}
	var walk func(cmd *cobra.Command, path string)
	walk = func(cmd *cobra.Command, path string) {
		if f, ok := arguments[path]; ok {
			cmd.ValidArgsFunction = f
		}
		for name, f := range flags[path] {
			_ = cmd.RegisterFlagCompletionFunc(name, f) // a test checks that the flag exists
		}
		for _, sub := range cmd.Commands() {
			walk(sub, joinWords(path, sub.Name()))
		}
	}
	walk(root, "")
	_ = root.RegisterFlagCompletionFunc("at", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	})
}

func joinWords(a, b string) string {
	if a == "" {
		return b
	}
	return a + " " + b
}

// fixed completes with a fixed list of words.
func fixed(words ...string) completion {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		directive := noFiles
		if len(words) > 0 && words[0][len(words[0])-1] == '=' {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		return words, directive
	}
}

// settingNames returns the names of a topic's settings.
func settingNames(suffix string) []string {
	all := topic.SettingNames()
	for i := range all {
		all[i] += suffix
	}
	return all
}

// completeNames completes with names that --at holds and that were not given
// yet, at most limit of them if that is not 0. On an error it completes
// nothing, since the user is typing.
func (s *shell) completeNames(names func(context.Context) ([]string, error), limit int) completion {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if limit > 0 && len(args) >= limit {
			return nil, noFiles
		}
		s.hurried = true
		ctx, cancel := context.WithTimeout(context.Background(), completionPatience)
		defer cancel()
		all, err := names(ctx)
		if err != nil {
			return nil, noFiles
		}
		return slices.DeleteFunc(all, func(name string) bool { return slices.Contains(args, name) }), noFiles
	}
}

// topicNames returns the names of topics. Those of a directory are the names of
// its directories, so nothing is opened for that.
func (s *shell) topicNames(ctx context.Context) (names []string, err error) {
	if s.onCluster() {
		err = s.with(ctx, false, func(ctx context.Context, b backend) error {
			names, err = b.Topics(ctx)
			return err
		})
		return names, err
	}
	there, err := partitionsIn(s.at)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, tp := range there {
		if !topic.IsInternal(tp.Topic) {
			found[tp.Topic] = true
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func (s *shell) transactionalIDs(ctx context.Context) (ids []string, err error) {
	err = s.with(ctx, false, func(ctx context.Context, b backend) error {
		all, err := b.ListTransactions(ctx)
		for _, l := range all {
			ids = append(ids, l.TransactionalID)
		}
		return err
	})
	return ids, err
}

func (s *shell) groupNames(ctx context.Context) (names []string, err error) {
	err = s.with(ctx, false, func(ctx context.Context, b backend) error {
		groups, err := b.Groups(ctx)
		for _, g := range groups {
			names = append(names, g.Name)
		}
		return err
	})
	return names, err
}
