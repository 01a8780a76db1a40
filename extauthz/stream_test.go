package extauthz

import (
	"context"
	"encoding/binary"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
)

// messageInMemory is the stream of a call whose one message is there, as gRPC's own server has it from the network.
type messageInMemory struct {
	message []byte
	read    int // how often its prefix was asked for
}

// withMessage is the context of a call with this message.
func withMessage(ctx context.Context, message []byte) context.Context {
	return grpc.NewContextWithServerTransportStream(ctx, &messageInMemory{message: message})
}

func (s *messageInMemory) ReadMessageHeader(header []byte) error {
	if s.read++; s.read > 1 {
		return io.EOF
	}
	header[0] = 0
	binary.BigEndian.PutUint32(header[1:], uint32(len(s.message)))
	return nil
}

func (s *messageInMemory) Read(int) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(s.message)}, nil
}

func (s *messageInMemory) RecvCompress() string         { return "" }
func (s *messageInMemory) Method() string               { return "" }
func (s *messageInMemory) SetHeader(metadata.MD) error  { return nil }
func (s *messageInMemory) SendHeader(metadata.MD) error { return nil }
func (s *messageInMemory) SetTrailer(metadata.MD) error { return nil }
