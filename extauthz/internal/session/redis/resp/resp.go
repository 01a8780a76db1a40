// Package resp speaks the Redis serialization protocol, version 2, over one connection: commands go out together,
// replies are read within bounds. It imports show. It does not know what is asked, nor how a connection is made.
package resp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"unicode"

	"extauthz/extauthz/internal/show"
)

const (
	// bufferSize is of what is read ahead, and of what is written at once.
	bufferSize = 32 << 10
	// maxLine bounds a line of the protocol: a length, a status or an error.
	maxLine = 1 << 10
	// maxElements bounds what is read of one reply, arrays within arrays included.
	maxElements = 1 << 16
	maxDepth    = 8
)

// Error is an error reply, as in "WRONGTYPE Operation against a key…".
type Error string

// Error leaves out the arguments that a server repeats which does not know a command: a password, or a token in a key.
func (e Error) Error() string {
	text, _, _ := strings.Cut(string(e), ", with args")
	return show.Clip(strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return -1
	}, text))
}

// Code is its first word.
func (e Error) Code() string {
	code, _, _ := strings.Cut(string(e), " ")
	return code
}

// Kind is what sort of reply a Value is.
type Kind uint8

const (
	Nil     Kind = iota
	Text         // a bulk string or a status
	Integer      // in Text, as it came
	Failure      // an error reply; see Value.Err
	Array
	TooLong // a bulk string past the bound that the reader gave; its text was passed over
)

// Value is one reply.
type Value struct {
	Kind  Kind
	Text  string
	Array []Value
}

// Err is the error reply that a value is, or nil.
func (v Value) Err() error {
	if v.Kind == Failure {
		return Error(v.Text)
	}
	return nil
}

// Conn is a connection. Writes go into a buffer until Flush. It is used by one goroutine at a time, but for SetDeadline
// and Close of the network's connection.
type Conn struct {
	net.Conn
	in    *bufio.Reader
	out   *bufio.Writer
	count []byte // for lengths
}

// New makes a connection of a network's one.
func New(network net.Conn) *Conn {
	return &Conn{Conn: network, in: bufio.NewReaderSize(network, bufferSize),
		out: bufio.NewWriterSize(network, bufferSize)}
}

// Send adds a command to what goes out. An error stays until Flush, which returns it.
func (c *Conn) Send(words ...string) {
	c.header('*', len(words))
	for _, word := range words {
		c.header('$', len(word))
		c.out.WriteString(word)
		c.out.WriteString("\r\n")
	}
}

func (c *Conn) header(kind byte, n int) {
	c.count = append(c.count[:0], kind)
	c.count = strconv.AppendInt(c.count, int64(n), 10)
	c.count = append(c.count, '\r', '\n')
	c.out.Write(c.count)
}

// Flush sends what was added.
func (c *Conn) Flush() error { return c.out.Flush() }

// Do sends one command and reads its reply. An error reply is the error.
func (c *Conn) Do(words ...string) (Value, error) {
	c.Send(words...)
	if err := c.Flush(); err != nil {
		return Value{}, err
	}
	v, err := c.Receive(bufferSize)
	if err == nil {
		err = v.Err()
	}
	return v, err
}

// Receive reads one reply, whose texts are at most so many bytes long. A longer one is passed over. An error says that
// the connection is of no more use.
func (c *Conn) Receive(most int) (Value, error) {
	elements := 0
	return c.receive(most, 0, &elements)
}

func (c *Conn) receive(most, depth int, elements *int) (Value, error) {
	line, err := c.line()
	if err != nil {
		return Value{}, err
	}
	if *elements++; *elements > maxElements || depth > maxDepth {
		return Value{}, errTooMuch
	}
	rest := line[1:]
	switch line[0] {
	case '+':
		return Value{Kind: Text, Text: string(rest)}, nil
	case '-':
		return Value{Kind: Failure, Text: string(rest)}, nil
	case ':':
		return Value{Kind: Integer, Text: string(rest)}, nil
	case '$':
		return c.bulk(rest, most)
	case '*':
		n, err := readLength(rest)
		if err != nil || n < 0 {
			return Value{}, err
		}
		v := Value{Kind: Array}
		for range n {
			element, err := c.receive(most, depth+1, elements)
			if err != nil {
				return Value{}, err
			}
			v.Array = append(v.Array, element)
		}
		return v, nil
	}
	return Value{}, errProtocol
}

var (
	errProtocol = errors.New("it does not speak the Redis protocol, version 2")
	errTooMuch  = errors.New("a reply has too many elements")
)

// line reads up to CR LF, without them. It is never empty, and valid until the next read.
func (c *Conn) line() ([]byte, error) {
	line, err := c.in.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull, err == nil && len(line) > maxLine:
		return nil, errProtocol
	case err != nil:
		return nil, err
	case len(line) < 3 || line[len(line)-2] != '\r':
		return nil, errProtocol
	}
	return line[:len(line)-2], nil
}

// bulk reads a bulk string, of which its length is read.
func (c *Conn) bulk(length []byte, most int) (Value, error) {
	n, err := readLength(length)
	switch {
	case err != nil:
		return Value{}, err
	case n < 0:
		return Value{}, nil
	case n > most:
		_, err := io.CopyN(io.Discard, c.in, int64(n)+2)
		return Value{Kind: TooLong}, err
	}
	var text strings.Builder
	text.Grow(n)
	for rest := n; rest > 0; {
		piece, err := c.in.Peek(min(rest, max(1, c.in.Buffered())))
		if err != nil {
			return Value{}, err
		}
		text.Write(piece)
		c.in.Discard(len(piece))
		rest -= len(piece)
	}
	end, err := c.in.Peek(2)
	switch {
	case err != nil:
		return Value{}, err
	case string(end) != "\r\n":
		return Value{}, errProtocol
	}
	c.in.Discard(2)
	return Value{Kind: Text, Text: text.String()}, nil
}

// readLength reads a length; -1 stands for nil.
func readLength(digits []byte) (int, error) {
	n, err := strconv.Atoi(string(digits))
	if err != nil || n < -1 || n > 1<<30 {
		return 0, fmt.Errorf("%w: a length is %q", errProtocol, show.Clip(string(digits)))
	}
	return n, nil
}
