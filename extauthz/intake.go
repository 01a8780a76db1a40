package extauthz

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/reason"
)

// This file reads a check's message from its HTTP/2 stream. gRPC would hold each message whole before it asked
// anybody; here a body that Envoy sends along is passed over while it comes in, and what all messages together hold is
// bounded.

const (
	// DefaultMaxMessageBytes bounds one check's message, the body that Envoy sends along with it.
	DefaultMaxMessageBytes = 8 << 20
	// smallMessage is what is read in one piece, in bytes: HTTP/2's window of one stream, which a peer may fill unasked.
	smallMessage = 64 << 10
	// messageChunk is how much of a larger message is asked for at a time, in bytes.
	messageChunk = 128 << 10
	// leastHeld bounds what all messages together hold, in bytes; a larger Config.MaxMessageBytes raises it.
	leastHeld = 128 << 20
	// decodedGrowth is how much larger than its bytes a decoded message may be, at worst: one of many small fields.
	decodedGrowth = 16
	// receiveTimeout is the time for a message of more than smallMessage to come in. Envoy's own deadline is much
	// shorter; this one is for a peer that sets none.
	receiveTimeout = 10 * time.Second
)

// messageStream is what gRPC's own server reads a message by. A version of gRPC whose streams have no such methods
// reads and decodes messages itself, within its own bounds (grpc.MaxRecvMsgSize).
type messageStream interface {
	ReadMessageHeader(header []byte) error
	Read(n int) (mem.BufferSlice, error)
	RecvCompress() string
}

// intake bounds what messages hold. Safe for concurrent use.
type intake struct {
	max     int           // bytes of one message
	limit   int64         // bytes of all; messages of more than smallMessage get half, so that the others find room
	timeout time.Duration // see receiveTimeout
	held    atomic.Int64
}

func newIntake(maxMessage int) *intake {
	return &intake{max: maxMessage, limit: max(leastHeld, 8*int64(maxMessage)), timeout: receiveTimeout}
}

// holding is what one message holds of an intake's bound.
type holding struct {
	intake *intake
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

// receive reads the message of one check into c. With bodies it keeps them, for who decodes the whole message. The
// denial says why there is none to judge.
func (a *Authorizer) receive(ctx context.Context, stream messageStream, c *call, bodies bool) *Denial {
	if err := stream.ReadMessageHeader(c.prefix[:]); err != nil {
		return cutOff(ctx, err)
	}
	i, length, compressed := a.intake, int64(binary.BigEndian.Uint32(c.prefix[1:])), c.prefix[0] != 0
	c.holding = holding{intake: i, limit: i.limit}
	switch {
	case length > int64(i.max):
		return i.oversized(length)
	case length > smallMessage || compressed:
		c.holding.limit /= 2
		if denial := a.receiveLarge(ctx, stream, c, int(length), compressed, bodies); denial != nil {
			return denial
		}
	default:
		if denial := c.receiveSmall(ctx, stream, int(length)); denial != nil {
			return denial
		}
	}
	switch err := stream.ReadMessageHeader(c.prefix[:]); err {
	case io.EOF:
		return nil
	case nil:
		return undecodable(errors.New("more than one message in a call"))
	default:
		return cutOff(ctx, err)
	}
}

func (c *call) receiveSmall(ctx context.Context, stream messageStream, length int) *Denial {
	if !c.holding.grow(length) {
		return overfull()
	}
	data, err := stream.Read(length)
	if err != nil {
		return cutOff(ctx, err)
	}
	defer data.Free()
	if cap(c.message) < length {
		c.message = make([]byte, length, length+length/4)
	} else {
		c.message = c.message[:length]
	}
	data.CopyTo(c.message)
	return nil
}

// largeMessage is a message that is being read aside, so that a peer that sends it slowly, or never whole, can be left.
type largeMessage struct {
	holding holding
	kept    []byte
	denial  *Denial
	settled atomic.Bool // by who comes first: the reader that is done, or the check that waits no more
	done    chan struct{}
}

func (a *Authorizer) receiveLarge(ctx context.Context, stream messageStream, c *call, length int, compressed, bodies bool) *Denial {
	m := &largeMessage{holding: c.holding, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		if a.panics.Recovered(guard.InCheck, func() {
			if compressed {
				m.denial = m.readCompressed(ctx, stream, length, bodies)
			} else {
				m.denial = m.read(ctx, stream, length, bodies)
			}
		}) {
			m.denial = reason.Unavailable(ReasonInternalError, errors.New("panic"))
		}
		if m.settled.Swap(true) {
			m.holding.release()
		}
	}()
	late := time.NewTimer(a.intake.timeout)
	defer late.Stop()
	select {
	case <-m.done:
	case <-late.C:
		if !m.settled.Swap(true) { // the reader ends with its stream, which the answer closes
			return undecodable(fmt.Errorf("it did not come in whole within %v", a.intake.timeout))
		}
		<-m.done
	}
	c.holding, c.message = m.holding, m.kept
	return m.denial
}

// read takes the message in piece by piece.
func (m *largeMessage) read(ctx context.Context, stream messageStream, length int, bodies bool) *Denial {
	if !m.holding.grow(smallMessage + messageChunk) { // what a peer may have sent unasked, and what it is asked for
		return overfull()
	}
	stripper := checkwire.NewStripper(length, bodies)
	for left := length; left > 0; {
		n := min(left, messageChunk)
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
func (m *largeMessage) readCompressed(ctx context.Context, stream messageStream, length int, bodies bool) *Denial {
	compressor := encoding.GetCompressor(stream.RecvCompress())
	if compressor == nil {
		return undecodable(errors.New("it says that it is compressed, and not how"))
	}
	if !m.holding.grow(length + messageChunk) {
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
	buffer, total := make([]byte, messageChunk), int64(0)
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

func (m *largeMessage) feed(stripper *checkwire.Stripper, piece []byte) *Denial {
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

func (m *largeMessage) end(stripper *checkwire.Stripper) *Denial {
	if !stripper.End() {
		return undecodable(errBadWire)
	}
	m.kept = stripper.Kept
	return nil
}

var errBadWire = errors.New("its bytes are no protobuf message")

func (i *intake) oversized(length int64) *Denial {
	return reason.Unavailable(ReasonOversizedMessage,
		fmt.Errorf("a message of %d bytes or more, where %d are allowed: raise EXTAUTHZ_MAX_MESSAGE_MIB "+
			"(MaxMessageBytes), or lower max_request_bytes of with_request_body", length, i.max))
}

func undecodable(cause error) *Denial { return reason.Unavailable(ReasonUndecodableMessage, cause) }

func overfull() *Denial {
	return reason.Unavailable(ReasonOverloaded,
		errors.New("the messages of other checks take all the memory that messages may take")).At(StepCredential)
}

// cutOff is the denial of a check whose stream ended before its message was there.
func cutOff(ctx context.Context, err error) *Denial {
	if ctx.Err() != nil {
		return reason.GivenUp(ctx, "its message").At(StepCredential)
	}
	return undecodable(fmt.Errorf("it was cut off: %w", err))
}
