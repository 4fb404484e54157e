package main

import (
	"fmt"
	"io"
	"time"
)

// meter shows the progress of a long read on a terminal.
type meter struct {
	w     io.Writer // nil: no terminal
	began time.Time
	shown time.Time
}

func (s *shell) newMeter() *meter {
	m := &meter{began: time.Now()}
	if s.watched {
		m.w = s.errs
	}
	return m
}

// show updates the line on the terminal, a few times a second.
func (m *meter) show(done, total int64) {
	now := time.Now()
	if m.w == nil || done == 0 || now.Sub(m.shown) < 200*time.Millisecond {
		return
	}
	m.shown = now
	fmt.Fprintf(m.w, "\r\x1b[K%s", progressLine(done, total, now.Sub(m.began)))
}

// end clears the line.
func (m *meter) end() {
	if m.w != nil && !m.shown.IsZero() {
		fmt.Fprint(m.w, "\r\x1b[K")
	}
}

// waiting shows on a terminal how long something has taken, until the returned
// function is called.
func (s *shell) waiting(what string) (end func()) {
	if !s.watched {
		return func() {}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for began := time.Now(); ; {
			fmt.Fprintf(s.errs, "\r\x1b[K%s, %s", what, time.Since(began).Round(time.Second))
			select {
			case <-ticker.C:
			case <-stop:
				fmt.Fprint(s.errs, "\r\x1b[K")
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

// A rate and the remaining time are shown only after this long and this much.
const (
	ratedAfter = 500 * time.Millisecond
	ratedFrom  = 1_000_000 // bytes
)

// progressLine describes progress: done of total bytes in a time. A total below
// 0 is unknown.
func progressLine(done, total int64, took time.Duration) string {
	line := size(done)
	if total > 0 {
		line = fmt.Sprintf("%3d%% of %s", 100*done/total, size(total))
	}
	if took < ratedAfter || done < ratedFrom {
		return line
	}
	rate := float64(done) / took.Seconds()
	line += fmt.Sprintf(", %s/s", size(int64(rate)))
	if total > 0 {
		left := time.Duration(float64(total-done) / rate * float64(time.Second))
		line += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	return line
}

// size formats a number of bytes for people.
func size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), "B"
	for _, next := range []string{"kB", "MB", "GB", "TB"} {
		if f < 1000 {
			break
		}
		f, unit = f/1000, next
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}
