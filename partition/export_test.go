package partition

// Producers returns how many producers the partition knows, while nobody writes.
func (p *Partition) Producers() int { return p.log.Producers() }
