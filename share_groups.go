package runnel

import (
	"context"
	"sync"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator"
	"github.com/runnel-go/runnel/internal/sharing"
	"github.com/runnel-go/runnel/share"
)

var _ share.Backend = (*Broker)(nil)

// shareGroups is what a broker has of share groups: nothing until they are used. A program
// that never uses them does not link them, so only methods that it does not call may name
// what they are made of.
type shareGroups struct {
	mu       sync.Mutex
	groups   interface{ Close() } // a *coordinator.Shares
	sessions any                  // a *sharing.Sessions
}

// close is called when the sessions are closed. No session is opened later.
func (s *shareGroups) close() {
	s.mu.Lock()
	groups := s.groups
	s.mu.Unlock()
	if groups != nil {
		groups.Close()
	}
}

// shareSessions returns the sessions of share consumers, with their coordinators, which it
// makes at the first call.
func (b *Broker) shareSessions() (*sharing.Sessions, *coordinator.Shares) {
	b.shares.mu.Lock()
	defer b.shares.mu.Unlock()
	if b.shares.groups == nil {
		groups := coordinator.NewShares(coordinator.SharesConfig{Host: b.host, Ensure: b.internalTopic, Reserve: b.reserve})
		b.shares.groups, b.shares.sessions = groups, sharing.New(b.host, groups)
	}
	return b.shares.sessions.(*sharing.Sessions), b.shares.groups.(*coordinator.Shares)
}

// OpenShare implements share.Backend. Programs call share.New. A broker whose partitions have
// replicas has no share groups yet: fault.UnsupportedVersion.
func (b *Broker) OpenShare(ctx context.Context, cfg share.Config) (share.Session, error) {
	if b.replication != nil {
		return nil, fault.Newf(fault.UnsupportedVersion, "share groups need partitions with one copy; these have replicas")
	}
	sessions, _ := b.shareSessions()
	s, err := sessions.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return s, nil
}
