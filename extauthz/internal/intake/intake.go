// Package intake reads a check's message from its HTTP/2 stream, within bounds, and leaves its body out. It imports
// checkwire, guard and reason. It does not know what a message says.
package intake

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/reason"
)

// This file reads a check's message from its HTTP/2 stream. gRPC would hold each message whole before it asked
// anybody; here a body that Envoy sends along is passed over while it comes in, and what all messages together hold is
// bounded.

const (
	// DefaultMax bounds one check's message, the body that Envoy sends along with it.
	DefaultMax = 8 << 20
	// SmallMessage is what is read in one piece, in bytes: HTTP/2's window of one stream, which a peer may fill unasked.
	SmallMessage = 64 << 10
	// MessageChunk is how much of a larger message is asked for at a time, in bytes.
	MessageChunk = 128 << 10
	// leastHeld bounds what all messages together hold, in bytes; a larger Config.MaxMessageBytes raises it.
	leastHeld = 128 << 20
	// decodedGrowth is how much larger than its bytes a decoded message may be, at worst: one of many small fields.
	decodedGrowth = 16
	// receiveTimeout is the time for a message of more than smallMessage to come in. Envoy's own deadline is much
	// shorter; this one is for a peer that sets none.
	receiveTimeout = 10 * time.Second
)

// Stream is what gRPC's own server reads a message by. A version of gRPC whose streams have no such methods
// reads and decodes messages itself, within its own bounds (grpc.MaxRecvMsgSize).
type Stream interface {
	ReadMessageHeader(header []byte) error
	Read(n int) (mem.BufferSlice, error)
	RecvCompress() string
}

// Intake reads messages and bounds what they hold. Safe for concurrent use.
type Intake struct {
	panics  *guard.Panics
	max     int           // bytes of one message
	Limit   int64         // bytes of all; messages of more than smallMessage get half, so that the others find room
	Timeout time.Duration // see receiveTimeout
	held    atomic.Int64
}

// New reads messages of so many bytes each.
func New(maxMessage int, panics *guard.Panics) *Intake {
	return &Intake{panics: panics, max: maxMessage, Limit: max(leastHeld, 8*int64(maxMessage)), Timeout: receiveTimeout}
}

// HeldBytes is what all messages hold.
func (i *Intake) HeldBytes() int64 { return i.held.Load() }

// holding is what one message holds of an intake's bound.
type holding struct {
	intake *Intake
	bytes  int64
	limit  int64
}

// grow takes n bytes more; false when there is no room.
func (h *holding) grow(n int) bool {
	if h.intake.held.Add(int64(n)) > h.limit {
		h.intake.held.Add(-int64(n))
		return false
	}
	h.bytes += int64(n)
	return true
}

func (h *holding) release() {
	if h.bytes > 0 {
		h.intake.held.Add(-h.bytes)
	}
	*h = holding{}
}

// MaxKeptMessage bounds the memory that a rare large message leaves behind, in bytes.
const MaxKeptMessage = 64 << 10

// Message is the message of one check. It may be used for the next one after release.
type Message struct {
	Bytes   []byte
	prefix  [5]byte // of the message in its stream: a flag and a length
	holding holding
}

// Hold is a message that is there already, and counts against no bound.
func Hold(bytes []byte) Message {
	return Message{Bytes: bytes, holding: holding{intake: new(Intake), limit: math.MaxInt64}}
}

// Release gives back what the message held.
func (m *Message) Release() {
	m.holding.release()
	if cap(m.Bytes) > MaxKeptMessage {
		m.Bytes = nil
	}
}

// Decode decodes the whole message by the ordinary codec, within what messages may hold.
func (m *Message) Decode(into proto.Message) *reason.Denial {
	if len(m.Bytes) > SmallMessage && !m.holding.grow(decodedSize(m.Bytes)) {
		return overfull()
	}
	if proto.Unmarshal(m.Bytes, into) != nil {
		return undecodable(errBadWire)
	}
	return nil
}

// decodedSize bounds what a message takes once it is decoded, in bytes: its body as much as before, the rest more.
func decodedSize(message []byte) int {
	s := checkwire.NewStripper(len(message), false)
	if !s.Feed(message) || !s.End() {
		return len(message) * decodedGrowth
	}
	return len(message) - len(s.Kept) + len(s.Kept)*decodedGrowth
}

// Receive reads the message of one check into m. With bodies it keeps them, for who decodes the whole message. The
// denial says why there is none to judge.
func (i *Intake) Receive(ctx context.Context, stream Stream, m *Message, bodies bool) *reason.Denial {
	if err := stream.ReadMessageHeader(m.prefix[:]); err != nil {
		return cutOff(ctx, err)
	}
	length, compressed := int64(binary.BigEndian.Uint32(m.prefix[1:])), m.prefix[0] != 0
	m.holding = holding{intake: i, limit: i.Limit}
	switch {
	case length > int64(i.max):
		return i.oversized(length)
	case length > SmallMessage || compressed:
		m.holding.limit /= 2
		if denial := i.receiveLarge(ctx, stream, m, int(length), compressed, bodies); denial != nil {
			return denial
		}
	default:
		if denial := m.receiveSmall(ctx, stream, int(length)); denial != nil {
			return denial
		}
	}
	switch err := stream.ReadMessageHeader(m.prefix[:]); err {
	case io.EOF:
		return nil
	case nil:
		return undecodable(errors.New("more than one message in a call"))
	default:
		return cutOff(ctx, err)
	}
}

func (m *Message) receiveSmall(ctx context.Context, stream Stream, length int) *reason.Denial {
	if !m.holding.grow(length) {
		return overfull()
	}
	data, err := stream.Read(length)
	if err != nil {
		return cutOff(ctx, err)
	}
	defer data.Free()
	if cap(m.Bytes) < length {
		m.Bytes = make([]byte, length, length+length/4)
	} else {
		m.Bytes = m.Bytes[:length]
	}
	data.CopyTo(m.Bytes)
	return nil
}

// largeMessage is a message that is being read aside, so that a peer that sends it slowly, or never whole, can be left.
type largeMessage struct {
	holding holding
	kept    []byte
	denial  *reason.Denial
	settled atomic.Bool // by who comes first: the reader that is done, or the check that waits no more
	done    chan struct{}
}

func (i *Intake) receiveLarge(
	ctx context.Context, stream Stream, into *Message, length int, compressed, bodies bool,
) *reason.Denial {
	m := &largeMessage{holding: into.holding, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		if i.panics.Recovered(guard.InCheck, func() {
			if compressed {
				m.denial = m.readCompressed(ctx, stream, length, bodies)
			} else {
				m.denial = m.read(ctx, stream, length, bodies)
			}
		}) {
			m.denial = reason.Unavailable(reason.InternalError, errors.New("panic"))
		}
		if m.settled.Swap(true) {
			m.holding.release()
		}
	}()
	late := time.NewTimer(i.Timeout)
	defer late.Stop()
	select {
	case <-m.done:
	case <-late.C:
		if !m.settled.Swap(true) { // the reader ends with its stream, which the answer closes
			return undecodable(fmt.Errorf("it was not complete within %v", i.Timeout))
		}
		<-m.done
	}
	into.holding, into.Bytes = m.holding, m.kept
	return m.denial
}

// read takes the message in piece by piece.
func (m *largeMessage) read(ctx context.Context, stream Stream, length int, bodies bool) *reason.Denial {
	if !m.holding.grow(SmallMessage + MessageChunk) { // what a peer may have sent unasked, and what it is asked for
		return overfull()
	}
	stripper := checkwire.NewStripper(length, bodies)
	for left := length; left > 0; {
		n := min(left, MessageChunk)
		data, err := stream.Read(n)
		if err != nil {
			return cutOff(ctx, err)
		}
		left -= n
		for _, buffer := range data {
			if denial := m.feed(stripper, buffer.ReadOnlyData()); denial != nil {
				data.Free()
				return denial
			}
		}
		data.Free()
	}
	return m.end(stripper)
}

// readCompressed takes in the whole message first, and then inflates no more of it than the bound of a message.
func (m *largeMessage) readCompressed(ctx context.Context, stream Stream, length int, bodies bool) *reason.Denial {
	compressor := encoding.GetCompressor(stream.RecvCompress())
	if compressor == nil {
		return undecodable(errors.New("it is compressed by an unnamed algorithm"))
	}
	if !m.holding.grow(length + MessageChunk) {
		return overfull()
	}
	data, err := stream.Read(length)
	if err != nil {
		return cutOff(ctx, err)
	}
	defer data.Free()
	inflated, err := compressor.Decompress(data.Reader())
	if err != nil {
		return undecodable(errors.New("it cannot be decompressed"))
	}
	if closer, ok := inflated.(io.Closer); ok {
		defer closer.Close()
	}
	stripper := checkwire.NewStripper(-1, bodies)
	buffer, total := make([]byte, MessageChunk), int64(0)
	for {
		n, err := inflated.Read(buffer)
		if total += int64(n); total > int64(m.holding.intake.max) {
			return m.holding.intake.oversized(total)
		}
		if denial := m.feed(stripper, buffer[:n]); denial != nil {
			return denial
		}
		switch {
		case err == io.EOF:
			return m.end(stripper)
		case err != nil:
			return undecodable(errors.New("it cannot be decompressed"))
		}
	}
}

func (m *largeMessage) feed(stripper *checkwire.Stripper, piece []byte) *reason.Denial {
	if size := stripper.Size(len(piece)); size > cap(stripper.Kept) {
		if !m.holding.grow(size - cap(stripper.Kept)) {
			return overfull()
		}
		stripper.Kept = append(make([]byte, 0, size), stripper.Kept...)
	}
	if !stripper.Feed(piece) {
		return undecodable(errBadWire)
	}
	return nil
}

func (m *largeMessage) end(stripper *checkwire.Stripper) *reason.Denial {
	if !stripper.End() {
		return undecodable(errBadWire)
	}
	m.kept = stripper.Kept
	return nil
}

var errBadWire = errors.New("it is not a protobuf message")

func (i *Intake) oversized(length int64) *reason.Denial {
	return reason.Unavailable(reason.OversizedMessage,
		fmt.Errorf("a message of %d bytes or more, where %d are allowed: raise Config.MaxMessageBytes, "+
			"or lower max_request_bytes of with_request_body", length, i.max))
}

func undecodable(cause error) *reason.Denial {
	return reason.Unavailable(reason.UndecodableMessage, cause)
}

func overfull() *reason.Denial {
	return reason.Unavailable(reason.Overloaded,
		errors.New("the messages of other checks use all the memory for messages")).At(reason.StepCredential)
}

// cutOff is the denial of a check whose stream ended before its message was there.
func cutOff(ctx context.Context, err error) *reason.Denial {
	if ctx.Err() != nil {
		return reason.GivenUp(ctx, "its message").At(reason.StepCredential)
	}
	return undecodable(fmt.Errorf("it was cut off: %w", err))
}
