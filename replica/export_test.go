package replica

// Panic panics where the core calls the consensus library.
func (c *Core) Panic(v any) { c.do(func() error { panic(v) }) }
