package streams

import (
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/serde"
)

// subscription is what a left row of a join by reference tells the right table.
// Its record has the key of the right row.
type subscription struct {
	kind subscriptionKind
	hash valueHash // of the left row's value
	key  []byte    // of the left row
}

type subscriptionKind byte

const (
	unsubscribing subscriptionKind = iota
	subscribing
)

// subscriptionSerde writes a subscription as its kind, the hash, and the key up
// to the end.
type subscriptionSerde struct{}

func (subscriptionSerde) Append(dst []byte, s subscription) ([]byte, error) {
	dst = append(append(dst, byte(s.kind)), s.hash[:]...)
	return append(dst, s.key...), nil
}

func (subscriptionSerde) Decode(src []byte) (s subscription, err error) {
	if len(src) < 1+len(s.hash) || subscriptionKind(src[0]) > subscribing {
		return s, fault.Newf(fault.Serialization, "not a subscription to a row")
	}
	s.kind = subscriptionKind(src[0])
	n := copy(s.hash[:], src[1:])
	s.key = append([]byte{}, src[1+n:]...)
	return s, nil
}

// response tells a left row about the right one that it refers to. Its
// record has the key of the left row.
type response[V any] struct {
	hash     valueHash // of the value that the left row had when it subscribed
	right    V
	hasRight bool
}

// responseSerde writes a response as the hash, 1 or 0, and after a 1 the value.
type responseSerde[V any] struct{ value serde.Serde[V] }

func (s responseSerde[V]) Append(dst []byte, r response[V]) ([]byte, error) {
	dst = append(dst, r.hash[:]...)
	if !r.hasRight {
		return append(dst, 0), nil
	}
	return s.value.Append(append(dst, 1), r.right)
}

func (s responseSerde[V]) Decode(src []byte) (r response[V], err error) {
	n := len(r.hash)
	if len(src) <= n || src[n] > 1 || src[n] == 0 && len(src) > n+1 {
		return r, fault.Newf(fault.Serialization, "not a response to a subscription")
	}
	copy(r.hash[:], src)
	if src[n] == 1 {
		r.right, err = s.value.Decode(src[n+1:])
		r.hasRight = err == nil
	}
	return r, err
}
