package wordcount

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"
)

// MaxPiece is the size of the largest record of the lines' topic. A word of that
// size still fits into the repartition topic, which has it as key and value.
const MaxPiece = 512<<10 - 128

// ErrWordTooLong is a word of more than MaxPiece bytes.
var ErrWordTooLong = fmt.Errorf("a word of more than %d bytes", MaxPiece)

// pieces cuts a text into lines, and lines that are longer than MaxPiece at their
// spaces. How it cuts depends on the text alone, not on how it is read.
type pieces struct {
	from  *bufio.Reader
	buf   []byte // the text from the last cut on
	taken int    // the length of the piece that was returned last
	whole bool   // buf contains the end of its line
	ended bool   // the text ends with buf
}

func newPieces(text io.Reader) *pieces { return &pieces{from: bufio.NewReaderSize(text, 64<<10)} }

// next returns the next piece, without the space before it, valid until the
// next call. It skips lines without a word. At the end of the text it returns
// io.EOF.
func (p *pieces) next() ([]byte, error) {
	for {
		if err := p.fill(); err != nil {
			return nil, err
		}
		size := len(p.buf)
		if size > MaxPiece {
			for size = lastSpace(p.buf); size > MaxPiece; {
				size = lastSpace(p.buf[:size])
			}
			if size < 0 {
				return nil, ErrWordTooLong
			}
		}
		p.taken = size
		switch {
		case size > 0:
			return p.buf[:size], nil
		case p.ended:
			return nil, io.EOF
		}
	}
}

// fill reads until buf contains a whole line, or enough that a space beyond
// MaxPiece would have been seen.
func (p *pieces) fill() error {
	p.buf = p.buf[:copy(p.buf, p.buf[p.taken:])]
	p.taken = 0
	if len(p.buf) == 0 {
		p.whole = false
	}
	for {
		p.buf = p.buf[:copy(p.buf, bytes.TrimLeftFunc(p.buf, unicode.IsSpace))]
		if p.whole || p.ended || len(p.buf) >= MaxPiece+utf8.UTFMax {
			return nil
		}
		chunk, err := p.from.ReadSlice('\n')
		p.buf = append(p.buf, bytes.TrimSuffix(chunk, []byte("\n"))...)
		switch {
		case err == nil:
			p.whole = true
		case errors.Is(err, io.EOF):
			p.ended = true
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

func lastSpace(b []byte) int { return bytes.LastIndexFunc(b, unicode.IsSpace) }
