package group

// reconcile returns where m stands after a call in which it said that it owns
// owned: one step nearer to the target, or where it stood. It is KIP-848's
// current assignment builder.
func (g *group) reconcile(m *member, topics *Topics, owned partitions) current {
	switch m.state {
	case unrevokedPartitions:
		if len(owned.and(m.revoking)) > 0 {
			return m.current // it still has to give up what it was told to
		}
		return g.towards(m, topics, min(m.epoch+1, g.targetEpoch), owned)
	case stable:
		if m.epoch == g.targetEpoch {
			return m.current
		}
	}
	return g.towards(m, topics, m.epoch, owned)
}

// towards leads m to the target as far as others let it. A member that must give
// something up stays at epoch until it has.
func (g *group) towards(m *member, topics *Topics, epoch int32, owned partitions) current {
	target := g.targets[m.id]
	kept := m.assigned.and(target)
	excess := m.assigned.minus(target)
	if len(excess.and(owned)) > 0 {
		return current{
			epoch: epoch, previousEpoch: m.epoch, state: unrevokedPartitions,
			assigned: kept, revoking: excess,
		}
	}
	wanted := target.minus(kept)
	free := g.whole(m, topics, wanted.filter(func(p Partition) bool {
		owner := g.owner(p)
		return owner == noneOwns || owner == m.id
	}))
	state := stable
	if len(free) < len(wanted) {
		state = unreleasedPartitions
	}
	next := current{epoch: g.targetEpoch, previousEpoch: m.previousEpoch, state: state, assigned: kept.plus(free)}
	if m.epoch != g.targetEpoch {
		next.previousEpoch = m.epoch
	}
	return next
}
