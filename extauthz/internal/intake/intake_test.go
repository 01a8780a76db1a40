package intake_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/intake"
)

// stream is an HTTP/2 stream that has all its bytes already.
type stream struct{ *bytes.Reader }

func (s stream) ReadMessageHeader(header []byte) error {
	if s.Len() == 0 {
		return io.EOF
	}
	_, err := io.ReadFull(s.Reader, header)
	return err
}

func (s stream) Read(n int) (mem.BufferSlice, error) {
	if s.Len() < n {
		return nil, errors.New("the stream has ended")
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(s.Reader, data); err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(data)}, nil
}

func (stream) RecvCompress() string { return "" }

// framed is a message as gRPC sends it: a flag, a length, and its bytes.
func framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

func newIntake(most int) *intake.Intake {
	return intake.New(most, guard.New(slog.New(slog.DiscardHandler), func(string) { panic("a panic was recovered") }))
}

// FuzzReceive: whatever comes by a stream is a message within the bound, or refused; and nothing is held afterwards.
func FuzzReceive(f *testing.F) {
	large, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "POST", Body: string(make([]byte, 2*intake.SmallMessage))}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(framed(nil), 0)
	f.Add(framed([]byte{1<<3 | 2, 0}), 0)
	f.Add(framed(large), 0)
	f.Add(framed(large[:len(large)-1]), 0)
	f.Add(append(framed(nil), framed(nil)...), 0)
	f.Add([]byte{1, 0, 0, 0, 1, 0}, 0)
	f.Add([]byte{0, 255, 255, 255, 255}, 0)
	f.Add(framed(nil), 3*intake.SmallMessage)
	const most = 4 * intake.SmallMessage
	f.Fuzz(func(t *testing.T, sent []byte, more int) {
		if more > 0 {
			sent = framed(append(bytes.Clone(sent), make([]byte, more%(2*most))...))
		}
		in := newIntake(most)
		var m intake.Message
		denial := in.Receive(context.Background(), stream{bytes.NewReader(sent)}, &m, false)
		if denial == nil && (len(m.Bytes) > most || len(m.Bytes) > len(sent)) {
			t.Errorf("%d bytes of %d", len(m.Bytes), len(sent))
		}
		if m.Release(); in.HeldBytes() != 0 {
			t.Errorf("%d bytes are held", in.HeldBytes())
		}
	})
}

// BenchmarkReceive is a message without a body, and one whose body is passed over.
func BenchmarkReceive(b *testing.B) {
	for name, size := range map[string]int{"small": 2 << 10, "a body": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			message, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
				Http: &authv3.AttributeContext_HttpRequest{Method: "POST", RawBody: make([]byte, size)}}}})
			if err != nil {
				b.Fatal(err)
			}
			sent := framed(message)
			in := newIntake(intake.DefaultMax)
			var m intake.Message
			b.SetBytes(int64(len(sent)))
			b.ReportAllocs()
			for b.Loop() {
				if denial := in.Receive(b.Context(), stream{bytes.NewReader(sent)}, &m, false); denial != nil {
					b.Fatal(denial)
				}
				m.Release()
			}
		})
	}
}
