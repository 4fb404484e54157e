package partition

import (
	"sync/atomic"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Rules are what a partition demands of a batch, whatever it holds and wherever its
// replicas are: the part of a Handle for which no copy is needed. Make them with NewRules.
// All methods are safe for concurrent use.
type Rules struct {
	topic    string
	number   int32
	codec    *record.Codec // decodes batches whose records must be checked
	settings atomic.Pointer[Settings]
}

// NewRules returns the rules of a partition of which this process has no copy.
func NewRules(cfg Config) *Rules {
	r := new(Rules)
	r.init(&cfg)
	return r
}

func (r *Rules) init(cfg *Config) {
	r.topic, r.number, r.codec = cfg.Log.Topic, cfg.Log.Partition, cfg.Log.Codec
	settings := cfg.Settings
	r.settings.Store(&settings)
}

// Configure changes the settings; appends already in the queue may get the old ones.
func (r *Rules) Configure(s Settings) { r.settings.Store(&s) }

// MinReplicas returns the current Settings' MinReplicas.
func (r *Rules) MinReplicas() int { return r.settings.Load().MinReplicas }

// Settings returns the current settings.
func (r *Rules) Settings() *Settings { return r.settings.Load() }

// Codec returns what decodes the partition's records.
func (r *Rules) Codec() *record.Codec { return r.codec }

// fault returns an error that names the partition.
func (r *Rules) fault(code fault.Code, offset int64) *fault.Error {
	return fault.At(code, r.topic, r.number, offset)
}
