package catalogue

import (
	"crypto/rand"
	"strings"

	"github.com/runnel-go/runnel/topic"
)

// NewID returns a random topic ID. It avoids those that Kafka reserves, and those whose
// text begins with a dash, which a shell command would take for an option.
func NewID() topic.ID {
	for {
		var id topic.ID
		_, _ = rand.Read(id[:])   // never fails
		id[6] = id[6]&0x0f | 0x40 // version 4
		id[8] = id[8]&0x3f | 0x80 // RFC 9562
		if !strings.HasPrefix(id.String(), "-") {
			return id
		}
	}
}
