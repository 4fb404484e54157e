package vfs

import (
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
)

// Kept says which of the changes that were not synced survive a crash.
type Kept int

const (
	// KeepNone is power loss at its plainest: only what was synced is there.
	KeepNone Kept = iota

	// KeepAll is what a killed process leaves: everything, and what was not synced
	// is so still.
	KeepAll

	// KeepPrefix keeps the first of the changes of each file, the last of them
	// cut at any byte, and the first of the changes of names.
	KeepPrefix

	// KeepSome keeps any of the blocks that were written to each file, any of
	// its truncations, and any of the changes of names.
	KeepSome
)

// Loss says what a crash takes of what was not synced. Equal ones take the same
// from equal file systems.
type Loss struct {
	Kept  Kept
	Block int64  // of KeepSome, in bytes, such as 512 or 4096; 0 is 4096
	Seed  uint64 // of KeepPrefix and KeepSome
}

// RandomLoss returns any loss, drawn from a seed.
func RandomLoss(seed uint64) Loss {
	r := rand.New(rand.NewPCG(seed, 1))
	loss := Loss{Kept: KeepSome, Block: 512, Seed: seed}
	switch n := r.IntN(10); {
	case n < 1:
		loss.Kept = KeepNone
	case n < 2:
		loss.Kept = KeepAll
	case n < 5:
		loss.Kept = KeepPrefix
	}
	if r.IntN(2) == 0 {
		loss.Block = 4096
	}
	return loss
}

// Crash switches the power off: every operation on c, and on files opened in
// it, fails from now on. It returns what is found when it is on again, all of
// which is durable (but for KeepAll).
func (c *Crashable) Crash(loss Loss) *Crashable {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.crashed = true
	return c.after(loss)
}

// After returns what would be found after a crash now, and leaves c running.
func (c *Crashable) After(loss Loss) *Crashable {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.after(loss)
}

// aftermath builds the file system that a crash leaves.
type aftermath struct {
	loss  Loss
	rand  *rand.Rand                             // for the names; then for the file at hand
	names map[*memoryNode]map[string]*memoryNode // the entries of directories of which a change survived
	built map[*memoryNode]*memoryNode
}

func (c *Crashable) after(loss Loss) *Crashable {
	if loss.Kept == KeepAll {
		return c.fork()
	}
	if loss.Block <= 0 {
		loss.Block = 4096
	}
	a := aftermath{
		loss: loss, rand: rand.New(rand.NewPCG(loss.Seed, 2)),
		names: map[*memoryNode]map[string]*memoryNode{},
		built: map[*memoryNode]*memoryNode{},
	}
	for _, change := range a.survivingNames(c.names) {
		change.apply(a.entries)
	}
	next := &Crashable{live: &Memory{}}
	next.live.top = a.node(c.live.top, "/")
	return next
}

// fork returns a copy, with what is not synced yet.
func (c *Crashable) fork() *Crashable {
	copies := map[*memoryNode]*memoryNode{}
	var node func(old *memoryNode) *memoryNode
	all := func(old map[string]*memoryNode) map[string]*memoryNode {
		entries := make(map[string]*memoryNode, len(old))
		for name, n := range old {
			entries[name] = node(n)
		}
		return entries
	}
	node = func(old *memoryNode) *memoryNode {
		if old == nil || copies[old] != nil {
			return copies[old]
		}
		n := &memoryNode{crash: &crashNode{changes: slices.Clone(old.crash.changes)}}
		copies[old] = n
		if old.isDir() {
			n.entries, n.crash.entries = all(old.entries), all(old.crash.entries)
		} else {
			n.data, n.crash.data = old.data.clone(), old.crash.data.clone()
		}
		return n
	}
	next := &Crashable{live: &Memory{top: node(c.live.top)}}
	for _, change := range c.names {
		var copied nameChange
		for _, s := range change {
			copied = append(copied, nameSet{node(s.dir), s.name, node(s.node)})
		}
		next.names = append(next.names, copied)
	}
	return next
}

// entries returns a directory's durable entries, in a copy.
func (a *aftermath) entries(dir *memoryNode) map[string]*memoryNode {
	entries := a.names[dir]
	if entries == nil {
		entries = maps.Clone(dir.crash.entries)
		a.names[dir] = entries
	}
	return entries
}

func (a *aftermath) survivingNames(changes []nameChange) []nameChange {
	switch a.loss.Kept {
	case KeepNone:
		return nil
	case KeepPrefix:
		return changes[:a.rand.IntN(len(changes)+1)]
	}
	odds := a.odds()
	var kept []nameChange
	for _, change := range changes {
		if a.rand.Float64() < odds {
			kept = append(kept, change)
		}
	}
	return kept
}

// odds returns how likely something is to survive, from never to always.
func (a *aftermath) odds() float64 { return float64(a.rand.IntN(6)) / 5 }

// node returns what is left of a node that is found at path. A file with two
// names, of which one should have gone, is one file.
func (a *aftermath) node(old *memoryNode, path string) *memoryNode {
	if n := a.built[old]; n != nil {
		return n
	}
	n := &memoryNode{crash: &crashNode{}}
	a.built[old] = n
	if !old.isDir() {
		// Each file has draws of its own: what one loses does not depend on how
		// often another was written, which may be a matter of time.
		h := fnv.New64a()
		_, _ = h.Write([]byte(path)) // never fails
		a.rand = rand.New(rand.NewPCG(a.loss.Seed, h.Sum64()))
		n.data = a.content(old.crash, old.data.size())
		n.crash.data = n.data.clone()
		return n
	}
	entries := a.entries(old)
	n.entries = make(map[string]*memoryNode, len(entries))
	for _, name := range slices.Sorted(maps.Keys(entries)) { // the first of two names is that of the draws
		n.entries[name] = a.node(entries[name], path+name+"/")
	}
	n.crash.entries = maps.Clone(n.entries)
	return n
}

// content returns what is left of a file that was size bytes long.
func (a *aftermath) content(disk *crashNode, size int64) *chunks {
	data := disk.data.clone()
	if len(disk.changes) == 0 || a.loss.Kept == KeepNone {
		return data
	}
	if a.loss.Kept == KeepPrefix {
		a.keepPrefix(disk.changes, data)
	} else {
		a.keepSome(disk.changes, data)
	}
	if data.size() < size && a.rand.IntN(2) == 0 {
		data.truncate(size) // the length got to the disk, the bytes did not
	}
	return data
}

func (a *aftermath) keepPrefix(changes []byteChange, data *chunks) {
	n := a.rand.IntN(len(changes) + 1)
	for _, b := range changes[:n] {
		b.apply(data)
	}
	if n < len(changes) && !changes[n].truncate {
		b := changes[n]
		b.data = b.data[:a.rand.IntN(len(b.data)+1)]
		if len(b.data) > 0 {
			b.apply(data)
		}
	}
}

func (a *aftermath) keepSome(changes []byteChange, data *chunks) {
	odds := a.odds()
	for _, b := range changes {
		if b.truncate {
			if a.rand.Float64() < odds {
				b.apply(data)
			}
			continue
		}
		for len(b.data) > 0 {
			n := min(int64(len(b.data)), a.loss.Block-b.pos%a.loss.Block)
			if a.rand.Float64() < odds {
				data.writeAt(b.data[:n], b.pos)
			}
			b.pos, b.data = b.pos+n, b.data[n:]
		}
	}
}

// clone returns a copy.
func (c *chunks) clone() *chunks {
	c.mu.RLock()
	defer c.mu.RUnlock()
	next := &chunks{length: c.length, list: make([][]byte, len(c.list))}
	for i, chunk := range c.list {
		next.list[i] = slices.Clone(chunk)
	}
	return next
}
