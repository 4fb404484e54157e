package partition

// Known returns how many producers the partition knows. No writer may run.
func (p *Partition) Known() int { return p.log.Producers() }

// Ended returns how many producers wait to be forgotten.
func (p *Partition) Ended() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ended)
}

// Cuts returns how many Truncates wait.
func (p *Partition) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.replica.cuts)
}
