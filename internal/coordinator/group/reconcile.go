package group

// reconcile returns m's next assignment, after a heartbeat in which it owned the
// partitions owned: one step nearer to the target, or the present one if it has to
// wait. It is KIP-848's current assignment builder. See the package's documentation
// for the states.
//
// The safety property is that a partition never has two owners. It holds because a
// partition leaves assigned and revoking, and so g.owners, only after its member has
// sent a heartbeat without it; and because towards only adds partitions without an
// owner.
func (g *group) reconcile(m *member, topics *Topics, owned partitions) current {
	switch m.state {
	case unrevokedPartitions:
		if len(owned.and(m.revoking)) > 0 {
			return m.current // it has not revoked all that it must
		}
		// Its epoch rises by one: it has left the assignment of its old epoch. The
		// target may be further ahead by now, and can take away more.
		return g.towards(m, topics, min(m.epoch+1, g.targetEpoch), owned)
	case stable:
		if m.epoch == g.targetEpoch {
			return m.current
		}
	}
	return g.towards(m, topics, m.epoch, owned)
}

// towards returns the step from m's assignment to its target. First, what the target
// takes away must be revoked: m keeps epoch until it has. Then m gets the partitions
// of the target that no other member owns, and waits for the rest
// (unreleasedPartitions). It is at the target's epoch from then on, because it owns
// nothing that the target gives to others.
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
	free := g.freeTasks(m, topics, wanted.filter(func(p Partition) bool {
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
