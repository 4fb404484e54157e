package keyindex

// AwaitMerges waits until no runs are being merged.
func (x *Index) AwaitMerges() { x.merging.Wait() }

// Runs returns how many runs there are, and how many entries they have.
func (x *Index) Runs() (n int, entries int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range x.runs {
		entries += r.count
	}
	return len(x.runs), entries
}
