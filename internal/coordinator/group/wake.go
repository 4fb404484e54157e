package group

import "slices"

// end returns the command's records and the members to wake. The caller knows its own
// step.
func (c *Coordinator) end(caller string) (Result, error) {
	if c.err != nil {
		return Result{}, c.err
	}
	r := Result{Records: c.records, Cuts: c.cuts, Refused: c.refuses, Answers: c.answers}
	for name := range c.news {
		if g := c.groups[name]; g != nil {
			for id, m := range g.members {
				if id != caller && !g.settled(m) && m.epoch != epochAway {
					r.Wake = append(r.Wake, id)
				}
			}
		}
	}
	for name, freed := range c.freed {
		if g := c.groups[name]; g != nil && !c.news[name] {
			r.Wake = append(r.Wake, c.waitingFor(g, freed, caller)...)
		}
	}
	slices.Sort(r.Wake)
	return r, nil
}

// waitingFor returns the members that wait for some of the partitions. Those that wait
// for tasks may need others to be free than those that they get.
func (c *Coordinator) waitingFor(g *group, freed []Partition, caller string) (ids []string) {
	if len(g.waiting) == 0 {
		return nil
	}
	for id, m := range g.waiting {
		if m.told != nil && id != caller && m.epoch != epochAway {
			ids = append(ids, id)
		}
	}
	heirs := c.heirs[g.name]
	if heirs == nil {
		heirs = make(map[Partition]string, len(g.owners))
		for id, target := range g.targets {
			for _, p := range target {
				heirs[p] = id
			}
		}
		c.heirs[g.name] = heirs
	}
	for _, p := range freed {
		if m := g.waiting[heirs[p]]; m != nil && m.told == nil && m.id != caller && m.epoch != epochAway {
			ids = append(ids, m.id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
