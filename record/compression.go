package record

import (
	"strconv"

	"github.com/runnel-go/runnel/fault"
)

// Compression says how a batch's records are compressed. Numbers and names are
// Kafka's.
type Compression int8

// The compressions that Kafka knows.
const (
	None Compression = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

var compressionNames = [...]string{None: "none", Gzip: "gzip", Snappy: "snappy", LZ4: "lz4", Zstd: "zstd"}

// String returns Kafka's name of the compression, such as zstd.
func (c Compression) String() string {
	if c < None || c > Zstd {
		return "compression " + strconv.Itoa(int(c))
	}
	return compressionNames[c]
}

// ParseCompression returns the compression of that name, or
// fault.UnsupportedCompression.
func ParseCompression(name string) (Compression, error) {
	for c, n := range compressionNames {
		if n == name {
			return Compression(c), nil
		}
	}
	return None, fault.Newf(fault.UnsupportedCompression, "%q", name)
}
