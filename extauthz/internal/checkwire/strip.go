package checkwire

import (
	"errors"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// bodyPath leads to the message that holds a request's body: CheckRequest.attributes, AttributeContext.request,
// Request.http.
var bodyPath = [...]protowire.Number{1, 4, 2}

// isBody tells HttpRequest's body and raw_body.
func isBody(number protowire.Number) bool { return number == 11 || number == 12 }

// Stripper keeps an encoded CheckRequest without the body of its request, from pieces as they come in. The lengths
// in front of the messages around a body are corrected in place: a varint of the same width may hold a smaller number.
type Stripper struct {
	Kept   []byte
	whole  bool // bodies are kept too
	left   int  // of the message; math.MaxInt when its length is not known
	skip   int  // of a body, still to come
	pass   int  // of a field that is kept, still to come
	field  int  // where in kept the field begins whose tag is being read
	stack  [len(bodyPath)]enclosing
	depth  int
	broken bool
}

// enclosing is a message around a body that has not come in whole.
type enclosing struct {
	left      int // of it, still to come
	length    int // as it was
	at, width int // where in kept that stands
	cut       int // how much of it was left out
}

// NewStripper takes the message's length; negative when it is not known.
func NewStripper(length int, whole bool) *Stripper {
	if length < 0 {
		length = math.MaxInt
	}
	return &Stripper{left: length, whole: whole}
}

// Size is what kept's memory must be, in bytes, for this piece to fit were it kept whole.
func (s *Stripper) Size(piece int) int {
	need := len(s.Kept) + piece - min(piece, s.skip)
	if need <= cap(s.Kept) {
		return cap(s.Kept)
	}
	return max(need, 2*cap(s.Kept))
}

// Feed takes the next piece; false when the message cannot be read.
func (s *Stripper) Feed(piece []byte) bool {
	for len(piece) > 0 && !s.broken {
		switch {
		case s.whole:
			s.Kept = append(s.Kept, piece...)
			return true
		case s.skip > 0:
			n := min(s.skip, len(piece))
			s.skip, piece = s.skip-n, piece[n:]
			s.advance(n)
		case s.pass > 0:
			n := min(s.pass, len(piece))
			s.Kept = append(s.Kept, piece[:n]...)
			s.pass, piece = s.pass-n, piece[n:]
			s.advance(n)
			s.field = len(s.Kept)
		default:
			s.Kept = append(s.Kept, piece[0])
			piece = piece[1:]
			s.advance(1)
			s.readTag()
		}
		if s.skip == 0 && s.pass == 0 && s.field == len(s.Kept) {
			s.leave()
		}
	}
	return !s.broken
}

// advance counts n bytes that have come in.
func (s *Stripper) advance(n int) {
	s.left -= n
	for i := range s.depth {
		s.stack[i].left -= n
	}
}

// readTag looks at what has come in of a field's tag, and of the length behind it.
func (s *Stripper) readTag() {
	at := s.Kept[s.field:]
	number, kind, n := protowire.ConsumeTag(at)
	if n < 0 {
		s.broken = !isShort(n)
		return
	}
	switch kind {
	case protowire.VarintType:
		if _, m := protowire.ConsumeVarint(at[n:]); m < 0 {
			s.broken = !isShort(m)
			return
		}
		s.field = len(s.Kept)
	case protowire.Fixed32Type:
		s.pass = 4
	case protowire.Fixed64Type:
		s.pass = 8
	case protowire.BytesType:
		length, m := protowire.ConsumeVarint(at[n:])
		if m < 0 {
			s.broken = !isShort(m)
			return
		}
		s.begin(number, length, len(s.Kept)-m, m)
	default: // groups: no message of Envoy's has one
		s.broken = true
	}
	s.broken = s.broken || s.pass > s.within()
}

// isShort tells that protowire wants more bytes.
func isShort(n int) bool { return errors.Is(protowire.ParseError(n), io.ErrUnexpectedEOF) }

// within is how much of the innermost message is still to come.
func (s *Stripper) within() int {
	if s.depth > 0 {
		return s.stack[s.depth-1].left
	}
	return s.left
}

// begin begins a field of so many bytes, whose length stands at that place.
func (s *Stripper) begin(number protowire.Number, length uint64, at, width int) {
	if length > uint64(max(s.within(), 0)) {
		s.broken = true
		return
	}
	switch {
	case s.depth == len(bodyPath) && isBody(number):
		// The field goes, its tag and its length too.
		s.stack[s.depth-1].cut += len(s.Kept) - s.field + int(length)
		s.Kept, s.skip = s.Kept[:s.field], int(length)
	case s.depth < len(bodyPath) && number == bodyPath[s.depth]:
		s.stack[s.depth] = enclosing{left: int(length), length: int(length), at: at, width: width}
		s.depth++
		s.field = len(s.Kept)
	default:
		s.pass = int(length)
		if length == 0 {
			s.field = len(s.Kept)
		}
	}
}

// leave ends the messages that have come in whole.
func (s *Stripper) leave() {
	for s.depth > 0 && s.stack[s.depth-1].left <= 0 {
		m := &s.stack[s.depth-1]
		s.depth--
		s.broken = s.broken || m.left < 0
		rest := uint64(m.length - m.cut)
		for i := range m.width {
			b := byte(rest) & 0x7f
			if rest >>= 7; i < m.width-1 {
				b |= 0x80
			}
			s.Kept[m.at+i] = b
		}
		if s.depth > 0 {
			s.stack[s.depth-1].cut += m.cut
		}
	}
}

// End tells whether the message has come in whole.
func (s *Stripper) End() bool {
	return s.whole || !s.broken && s.depth == 0 && s.skip == 0 && s.pass == 0 && s.field == len(s.Kept)
}
