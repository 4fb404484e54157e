// Package turns compares ways of doing one thing in a benchmark. They take turns, so that
// whatever else the machine does meanwhile slows down all of them: their ratio means
// something on a busy machine, too, where single figures do not.
package turns

import (
	"slices"
	"time"
)

// B is what is used of a *testing.B.
type B interface {
	Loop() bool
	ReportMetric(n float64, unit string)
}

// Way is a way of doing the thing.
type Way struct {
	Name string
	Do   func()
}

// Run does it each way, in turns, for as long as the benchmark takes. It reports the median
// time of each, in ns/name, and how many times the first one's that of each other is, as
// x-name.
func Run(b B, ways ...Way) {
	took := make([][]time.Duration, len(ways))
	for b.Loop() {
		for i, way := range ways {
			began := time.Now()
			way.Do()
			took[i] = append(took[i], time.Since(began))
		}
	}
	medians := make([]float64, len(ways))
	for i, way := range ways {
		slices.Sort(took[i])
		medians[i] = float64(took[i][len(took[i])/2])
		b.ReportMetric(medians[i], "ns/"+way.Name)
		if i > 0 {
			b.ReportMetric(medians[i]/medians[0], "x-"+way.Name)
		}
	}
}
