package transporttest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/replica"
)

func framesArriveUnaltered(f *fixture) {
	a, b := f.pair()
	sizes := []int{0, 1, 31, 4 << 10, 64<<10 - 1, 64 << 10, 200 << 10, 1 << 20}
	var frames []*replica.Frame
	for i, size := range sizes {
		whole := pattern(size, uint64(i))
		frames = append(frames,
			&replica.Frame{Header: pattern(i, 7), Payload: [][]byte{whole}},
			&replica.Frame{Header: pattern(300*i, 8), Payload: [][]byte{whole[:size/3], {}, whole[size/3 : size/2], whole[size/2:]}},
		)
	}
	frames = append(frames, &replica.Frame{}, &replica.Frame{Header: []byte("alone")}, &replica.Frame{Payload: make([][]byte, 1000)})
	for i, frame := range frames {
		sent := replica.Frame{Header: frame.Header, Payload: frame.Payload}
		require.True(f, a.Send(2, replica.LaneBulk, &sent), "frame %d", i)
		f.until(b, fmt.Sprintf("frame %d arrives", i), func() bool { return len(b.arrived) > i })
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, want := range frames {
		got := b.arrived[i]
		require.Equal(f, replica.NodeID(1), got.from)
		require.Equal(f, replica.LaneBulk, got.lane)
		require.True(f, bytes.Equal(want.Header, got.frame.Header), "the header of frame %d", i)
		require.Len(f, got.frame.Payload, len(want.Payload), "frame %d", i)
		for j := range want.Payload {
			require.True(f, bytes.Equal(want.Payload[j], got.frame.Payload[j]), "slice %d of frame %d", j, i)
		}
	}
}

// Four goroutines send at once, each on both lanes.
func framesOfALaneKeepTheirOrder(f *fixture) {
	const senders, each = 4, 300
	a, b := f.pair()
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				number := uint64(s)<<32 | uint64(i)
				a.Send(2, replica.Lane(i%replica.Lanes), &pack(number, pattern(i*7, number)).Frame)
			}
		})
	}
	wg.Wait()
	for _, lane := range []replica.Lane{replica.LaneControl, replica.LaneBulk} {
		f.lastOnes(a, b, lane)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	type way struct {
		sender uint64
		lane   replica.Lane
	}
	last := map[way]uint64{}
	for _, arrived := range b.arrived {
		if arrived.number() == final {
			continue
		}
		w := way{arrived.number() >> 32, arrived.lane}
		i := arrived.number()&(1<<32-1) + 1
		require.Greater(f, i, last[w], "sender %d, %v", w.sender, w.lane)
		last[w] = i
	}
	require.Len(f, last, senders*replica.Lanes)
}

// final is the number of a frame after which a test sends nothing more.
const final = 1<<64 - 2

// lastOnes sends a last frame, and waits until it has arrived, so that everything
// before it has arrived too or is lost.
func (f *fixture) lastOnes(a, b *node, lane replica.Lane) {
	f.Helper()
	for {
		p := pack(final)
		if a.Send(2, lane, &p.Frame) {
			break
		}
		f.soon("a refused frame is released", p.gone)
	}
	f.until(b, "the last frame arrives", func() bool {
		return slices.ContainsFunc(b.arrived, func(a arrival) bool { return a.lane == lane && a.number() == final })
	})
}

func framesAreTheSendersAgainAfterRelease(f *fixture) {
	a, b := f.pair()
	const frames = 50
	for i := range uint64(frames) {
		payload := pattern(20_000, i)
		p := pack(i, payload)
		count := p.Release
		p.Release = func() {
			clear(payload)
			clear(p.Header)
			count()
		}
		require.True(f, a.Send(2, replica.LaneBulk, &p.Frame))
	}
	f.until(b, "all frames arrive", func() bool { return len(b.arrived) == frames })
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, arrived := range b.arrived {
		require.Equal(f, uint64(i), arrived.number())
		require.True(f, bytes.Equal(pattern(20_000, uint64(i)), arrived.frame.Payload[0]), "frame %d", i)
	}
}

// A transport that uses its buffers again must not do so before the handler says Done.
func framesAreTheReceiversUntilDone(f *fixture) {
	a, b := f.pair()
	b.mu.Lock()
	b.keep = true
	b.mu.Unlock()
	const frames = 60
	size := func(i uint64) int { return int(i) * 1700 }
	for i := range uint64(frames) {
		require.True(f, a.Send(2, replica.LaneBulk, &pack(i, pattern(size(i), i)).Frame))
	}
	f.until(b, "all frames arrive", func() bool { return len(b.arrived) == frames })
	b.mu.Lock()
	for i, frame := range b.kept {
		require.True(f, bytes.Equal(pattern(size(uint64(i)), uint64(i)), frame.Payload[0]), "frame %d", i)
	}
	b.mu.Unlock()
	b.release()
}

func everyFrameIsReleasedOnce(f *fixture) {
	a, b := f.pair()
	late := f.unstarted(3)
	require.NoError(f, late.SetPeersOf(a))
	var all []*parcel
	send := func(from *node, to replica.NodeID, lane replica.Lane, p *parcel) bool {
		all = append(all, p)
		ok := from.Send(to, lane, &p.Frame)
		if !ok {
			require.Equal(f, 1, p.releases(), "a frame that is refused is released before Send returns")
		}
		return ok
	}
	require.False(f, send(late, 1, replica.LaneBulk, pack(0)), "before Start")
	require.False(f, send(a, 9, replica.LaneBulk, pack(1)), "to a node that is no peer")
	require.False(f, send(a, 1, replica.LaneControl, pack(2)), "to itself")
	require.False(f, send(a, 2, replica.Lanes, pack(3)), "on a lane that there is not")
	for lane := range replica.Lane(replica.Lanes) {
		require.GreaterOrEqual(f, a.MaxFrame(lane), 64<<10, "the largest frame, %v", lane)
		require.False(f, send(a, 2, lane, pack(4, make([]byte, a.MaxFrame(lane)-7))), "a frame that is one byte too large, %v", lane)
		largest := pack(5, make([]byte, a.MaxFrame(lane)-8))
		require.True(f, send(a, 2, lane, largest), "the largest frame, %v", lane)
		f.until(b, "the largest frame arrives", func() bool { return len(b.arrived) == int(lane)+1 })
		f.soon("it is released", largest.gone)
	}
	for i := range uint64(200) {
		send(a, 2, replica.Lane(i%2), pack(i, make([]byte, i*10)))
	}
	require.NoError(f, b.Close())
	for i := range uint64(200) {
		send(a, 2, replica.Lane(i%2), pack(i, make([]byte, i*10)))
	}
	require.NoError(f, a.Close())
	require.False(f, send(a, 2, replica.LaneBulk, pack(6)), "after Close")
	for _, p := range all {
		require.Equal(f, 1, p.releases())
	}
}

// SetPeersOf makes another node the only peer.
func (n *node) SetPeersOf(other *node) error {
	n.SetPeers(map[replica.NodeID]string{other.id: other.address})
	return nil
}

// The receiver's handler keeps bulk frames, until the sender's lane is full.
func bulkOverBudgetIsRefusedAndControlGoesOn(f *fixture) {
	a, b := f.pair()
	b.mu.Lock()
	b.keep = true
	b.mu.Unlock()
	payload := pattern(256<<10, 1)
	full := false
	for i := uint64(0); i < 4<<30/uint64(len(payload)) && !full; i++ {
		full = !a.Send(2, replica.LaneBulk, &pack(i, payload).Frame)
	}
	require.True(f, full, "4 GiB in memory for one peer")

	require.True(f, a.Send(2, replica.LaneControl, &pack(final).Frame))
	f.until(b, "a control frame overtakes", func() bool {
		return slices.ContainsFunc(b.arrived, func(a arrival) bool { return a.lane == replica.LaneControl })
	})
	b.release()
	f.lastOnes(a, b, replica.LaneBulk)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, arrived := range b.arrived {
		if len(arrived.frame.Payload) > 0 {
			require.Len(f, arrived.frame.Payload[0], len(payload))
		}
	}
}

// Frames without a byte fill a lane too, as they take memory.
func emptyFramesAreBounded(f *fixture) {
	a, b := f.pair()
	b.mu.Lock()
	b.keep = true
	b.mu.Unlock()
	full := false
	for i := 0; i < 4<<20 && !full; i++ {
		full = !a.Send(2, replica.LaneBulk, &replica.Frame{})
	}
	require.True(f, full, "four million frames in memory for one peer")
	b.release()
}

func unlistedSendersAreHeard(f *fixture) {
	a, b := f.start(1), f.start(2)
	a.SetPeers(map[replica.NodeID]string{2: b.address})
	f.until(a, "node 2 is up", func() bool { return a.up[2] })
	require.True(f, a.Send(2, replica.LaneControl, &pack(11).Frame))
	f.until(b, "the frame arrives", func() bool { return len(b.arrived) == 1 })
	require.False(f, b.Send(1, replica.LaneControl, &pack(12).Frame), "node 2 has no address of node 1")
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Equal(f, uint64(11), binary.BigEndian.Uint64(b.arrived[0].frame.Header))
	require.Empty(f, b.up)
}
