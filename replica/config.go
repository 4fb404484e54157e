package replica

// Config configures a Core. ID is required; the zero value of any other field means
// its default.
type Config struct {
	ID        ID
	Topic     string // named in errors
	Partition int32  // named in errors

	// HeartbeatTicks is how many ticks lie between a leader's heartbeats. Default 1.
	HeartbeatTicks int

	// ElectionTicks is how many ticks without a leader begin an election, drawn
	// between once and twice this. Default 10.
	ElectionTicks int

	// TailBytes is how much of the log's end is kept in memory for followers.
	// Default 16 MiB.
	TailBytes int

	// MessageBytes is how many bytes of batches a message carries, unless a single
	// batch is larger. Default 1 MiB.
	MessageBytes int

	// InflightMessages bounds what a follower is sent before it answers. Default 64.
	InflightMessages int

	// UncommittedBytes bounds what may be proposed and not yet committed. Beyond it
	// Propose fails with fault.BufferFull. Default 64 MiB.
	UncommittedBytes int
}

func (cfg Config) withDefaults() Config {
	for _, d := range []struct {
		field *int
		value int
	}{
		{&cfg.HeartbeatTicks, 1},
		{&cfg.ElectionTicks, 10},
		{&cfg.TailBytes, 16 << 20},
		{&cfg.MessageBytes, 1 << 20},
		{&cfg.InflightMessages, 64},
		{&cfg.UncommittedBytes, 64 << 20},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return cfg
}

// Acks says when a proposal counts.
type Acks int8

const (
	AcksAll    Acks = iota // once it is committed: a majority has it
	AcksLeader             // once the leader's log has it
)
