package main

import (
	"context"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/topic"
)

func newCluster(s *shell) *cobra.Command {
	return &cobra.Command{
		Use: "cluster", Short: "Show the nodes of a cluster, and what each leads",
		Long: `Show the nodes of a cluster, without internal topics: how many partitions
each leads, of how many it is the preferred leader, how many replicas it has, and how
many of these are not in sync. The controller is the node that changes topics.`,
		Example: `  runnel cluster
  runnel cluster --at kafka://localhost:9092 --json`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				cluster, err := b.DescribeCluster(ctx)
				if err != nil {
					return err
				}
				described, err := b.DescribeTopics(ctx)
				if err != nil {
					return err
				}
				lines := nodeLines(cluster, described)
				if s.tables() {
					return describeNodes(s.out, lines)
				}
				for _, l := range lines {
					if err := s.line(l); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

// nodeLine is a node in JSON.
type nodeLine struct {
	Node       int32  `json:"node"`
	Address    string `json:"address,omitempty"`
	Rack       string `json:"rack,omitempty"`
	Alive      bool   `json:"alive"`
	Controller bool   `json:"controller"`
	Leads      int    `json:"leads"`
	Preferred  int    `json:"preferred"` // partitions that it should lead
	Replicas   int    `json:"replicas"`
	OutOfSync  int    `json:"outOfSync"`
}

// nodeLines counts what each node has of these topics.
func nodeLines(c topic.Cluster, described []topic.Description) []nodeLine {
	lines := make([]nodeLine, len(c.Nodes))
	for i, n := range c.Nodes {
		l := nodeLine{Node: n.ID, Address: n.Address, Rack: n.Rack, Alive: n.Alive, Controller: n.ID == c.Controller}
		for _, d := range described {
			for _, p := range d.Partitions {
				if p.Leader == n.ID {
					l.Leads++
				}
				if len(p.Replicas) > 0 && p.Replicas[0] == n.ID {
					l.Preferred++
				}
				if slices.Contains(p.Replicas, n.ID) {
					l.Replicas++
					if !slices.Contains(p.ISR, n.ID) {
						l.OutOfSync++
					}
				}
			}
		}
		lines[i] = l
	}
	return lines
}

func describeNodes(w io.Writer, lines []nodeLine) error {
	t := newTable("#NODE", "STATE", "ROLE", "#LEADS", "#PREFERRED", "#REPLICAS", "#OUT-OF-SYNC", "RACK", "ADDRESS")
	for _, l := range lines {
		state, role := "silent", "-"
		if l.Alive {
			state = "alive"
		}
		if l.Controller {
			role = "controller"
		}
		t.row(l.Node, state, role, l.Leads, l.Preferred, l.Replicas, l.OutOfSync, orDash(l.Rack), orDash(l.Address))
	}
	return t.print(w)
}
