package attach

import (
	"io"
	"os"
	"strconv"
	"time"

	"github.com/runnel-go/runnel/fault"
)

// protocolVersion is the version of everything but the hello, whose form never
// changes. Both sides must have the same.
const protocolVersion = 1

// helloPatience is how long a side waits for the other's hello.
const helloPatience = 30 * time.Second

// greeting starts a hello, so that neither side talks to a different protocol.
const greeting = "runnel"

// hello is the first message of each side: which process it is.
type hello struct {
	version  int16
	pid      int32
	instance int64 // of the server: differs each time a broker opens the directory
}

func (h *hello) fields(c *coder) {
	word := greeting
	text(c, &word)
	if word != greeting {
		c.fail("no hello")
	}
	int16s(c, &h.version)
	int32s(c, &h.pid)
	int64s(c, &h.instance)
}

// self is this side's hello.
func self(instance int64) hello {
	return hello{version: protocolVersion, pid: int32(os.Getpid()), instance: instance}
}

// String names the process.
func (h hello) String() string {
	return "process " + strconv.Itoa(int(h.pid))
}

// checkVersion returns nil if the two sides speak the same version, else an error that
// says which side to upgrade.
func (h hello) checkVersion(holder hello) error {
	if h.version == holder.version {
		return nil
	}
	err := fault.Newf(fault.UnsupportedVersion, "%s speaks version %d, and %s, which holds the directory, %d", h, h.version, holder, holder.version)
	if h.version < holder.version {
		return err.Try("upgrade the program that attaches")
	}
	return err.Try("upgrade the program that holds the directory")
}

// writeHello writes this side's hello.
func writeHello(conn stream, own hello) error {
	f, err := encode(kindHello, 0, own.fields)
	if err != nil {
		return err
	}
	_, err = conn.Write(f)
	return err
}

// readHello reads the other side's.
func readHello(r io.Reader) (hello, error) {
	var h hello
	f, err := readFrame(io.LimitReader(r, 4<<10))
	if err != nil {
		return h, err
	}
	if f.kind != kindHello {
		return h, fault.Newf(fault.InvalidRequest, "a frame of kind %d where a hello was expected", f.kind)
	}
	return h, decode(f.body, h.fields)
}
