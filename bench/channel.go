package main

import "context"

// channelPingPong sends a record there and back over two unbuffered channels, and
// measures the way there and back.
func channelPingPong(_ context.Context, w *Work) (Sample, error) {
	ping, pong := make(chan []byte), make(chan []byte)
	go func() {
		for b := range ping {
			pong <- b
		}
		close(pong)
	}()
	defer close(ping)
	return timed(w, w.part(slowTurn), func(i int) error {
		ping <- w.value(i)
		<-pong
		return nil
	})
}
