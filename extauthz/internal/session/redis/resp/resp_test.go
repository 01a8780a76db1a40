package resp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
)

// script is a connection on which the server's part is written already.
type script struct {
	net.Conn
	io.Reader
	sent bytes.Buffer
}

func (s *script) Read(into []byte) (int, error)  { return s.Reader.Read(into) }
func (s *script) Write(text []byte) (int, error) { return s.sent.Write(text) }

func TestReceive(t *testing.T) {
	for text, expected := range map[string]Value{
		"+OK\r\n":                       {Kind: Text, Text: "OK"},
		"-WRONGTYPE of a key\r\n":       {Kind: Failure, Text: "WRONGTYPE of a key"},
		":12\r\n":                       {Kind: Integer, Text: "12"},
		"$-1\r\n":                       {},
		"*-1\r\n":                       {},
		"$0\r\n\r\n":                    {Kind: Text},
		"$5\r\na\r\nbc\r\n":             {Kind: Text, Text: "a\r\nbc"},
		"$9\r\n123456789\r\n":           {Kind: TooLong},
		"*2\r\n$1\r\na\r\n*1\r\n:1\r\n": {Kind: Array, Array: []Value{{Kind: Text, Text: "a"}, {Kind: Array, Array: []Value{{Kind: Integer, Text: "1"}}}}},
	} {
		c := New(&script{Reader: strings.NewReader(text + "+next\r\n")})
		got, err := c.Receive(8)
		if err != nil || !reflect.DeepEqual(got, expected) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		if next, err := c.Receive(8); err != nil || next.Text != "next" {
			t.Errorf("%q: what follows is %+v, %v", text, next, err)
		}
	}
}

func TestReceiveRefuses(t *testing.T) {
	for _, text := range []string{
		"", "+", "+OK", "+OK\n", "\r\n", "x\r\n", "HTTP/1.1 400 Bad Request\r\n", "$a\r\n", "$-2\r\n", "$99999999999999999999\r\n", "$3\r\nabcd\r\n",
		"$3\r\nab", "*2\r\n+a\r\n", "*99999999\r\n" + strings.Repeat(":1\r\n", maxElements+1), strings.Repeat("*1\r\n", maxDepth+2) + ":1\r\n",
		"+" + strings.Repeat("x", 2*bufferSize) + "\r\n", "%1\r\n+a\r\n+b\r\n",
	} {
		if v, err := New(&script{Reader: strings.NewReader(text)}).Receive(8); err == nil {
			t.Errorf("%.40q: %+v, expected an error", text, v)
		}
	}
}

func TestSend(t *testing.T) {
	s := &script{Reader: strings.NewReader("-NOAUTH first\x1b[31m\r\n")}
	c := New(s)
	_, err := c.Do("GET", "a\r\nb", "")
	if reply, is := errors.AsType[Error](err); !is || reply.Code() != "NOAUTH" || strings.Contains(err.Error(), "\x1b") {
		t.Error(err)
	}
	if s.sent.String() != "*3\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n$0\r\n\r\n" {
		t.Errorf("%q", s.sent.String())
	}
}

// Whatever a server sends, what is read of it is bounded, and nothing panics.
func FuzzReceive(f *testing.F) {
	for _, text := range []string{"+OK\r\n", "$3\r\nabc\r\n", "*2\r\n:1\r\n$-1\r\n", "-ERR x\r\n", "$9\r\n123456789\r\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := New(&script{Reader: strings.NewReader(text)})
		for {
			v, err := c.Receive(8)
			if err != nil {
				return
			}
			if v.Kind == Text && len(v.Text) > 8 && text[0] == '$' {
				t.Errorf("%q: %+v", text, v)
			}
		}
	})
}
