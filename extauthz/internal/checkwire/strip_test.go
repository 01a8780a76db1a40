package checkwire_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/google/go-cmp/cmp"

	"extauthz/extauthz/internal/checkwire"
)

// strip feeds a message in pieces of random sizes.
func strip(random *rand.Rand, message []byte, whole bool) (kept []byte, ok bool) {
	s := checkwire.NewStripper(len(message), whole)
	for left := message; len(left) > 0; {
		n := min(len(left), 1+random.IntN(40))
		if !s.Feed(left[:n]) {
			return nil, false
		}
		left = left[n:]
	}
	return s.Kept, s.End()
}

func withoutBody(in *authv3.CheckRequest) *authv3.CheckRequest {
	in = proto.CloneOf(in)
	if http := in.GetAttributes().GetRequest().GetHttp(); http != nil {
		http.Body, http.RawBody = "", nil
	}
	return in
}

// bodies are a request's body as Envoy sends it: as text, as bytes, none.
func bodies(size int) map[string]func(*authv3.CheckRequest) {
	return map[string]func(*authv3.CheckRequest){
		"body": func(in *authv3.CheckRequest) {
			in.Attributes.Request.Http.Body = string(bytes.Repeat([]byte("a"), size))
		},
		"raw_body": func(in *authv3.CheckRequest) {
			in.Attributes.Request.Http.RawBody = bytes.Repeat([]byte{0xff, 0x0a}, size/2)
		},
		"both": func(in *authv3.CheckRequest) {
			in.Attributes.Request.Http.Body = string(bytes.Repeat([]byte("b"), size/2))
			in.Attributes.Request.Http.RawBody = bytes.Repeat([]byte{0}, size/2)
		},
	}
}

// What is kept of a message is the message without its bodies, wherever its pieces end.
func TestStripKeepsAllButBodies(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for wireName, build := range wire {
		for size := range 300 {
			for name, put := range bodies(size) {
				in := build("POST", []header{{"authorization", "Bearer a"}, {"x-user-id", "b"}, {"x-empty", ""}})
				in.Attributes.ContextExtensions = map[string]string{"optional": "true"}
				in.Attributes.Destination = in.Attributes.Source
				in.Attributes.Request.Http.Protocol = "HTTP/2"
				in.Attributes.Request.Http.Size = -1
				put(in)
				message, err := proto.Marshal(in)
				if err != nil {
					t.Fatal(err)
				}
				message = append(message, message...) // fields that stand twice are merged
				kept, ok := strip(random, message, false)
				var got authv3.CheckRequest
				if !ok || proto.Unmarshal(kept, &got) != nil {
					t.Fatalf("%s, %s of %d bytes: cannot be decoded", wireName, name, size)
				}
				var whole authv3.CheckRequest
				if err := proto.Unmarshal(message, &whole); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(withoutBody(&whole), &got, protocmp.Transform()); diff != "" {
					t.Fatalf("%s, %s of %d bytes:\n%s", wireName, name, size, diff)
				}
			}
		}
	}
}

// FuzzStrip: what the ordinary codec decodes means the same without its bodies, and what is cut short is no message.
func FuzzStrip(f *testing.F) {
	for _, build := range wire {
		for _, put := range bodies(20) {
			in := build("POST", []header{{"authorization", "Bearer a"}})
			put(in)
			message, err := proto.Marshal(in)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(message)
			f.Add(message[:len(message)-1])
		}
	}
	f.Add(protowire.AppendVarint([]byte{1<<3 | 2}, 1<<63))
	f.Add([]byte{1<<3 | 2, 0x82, 0x80, 0x00, 4<<3 | 2, 0x00})
	f.Add([]byte{1<<3 | 2, 2, 4<<3 | 2, 2, 2<<3 | 2, 0})
	f.Fuzz(func(t *testing.T, message []byte) {
		random := rand.New(rand.NewPCG(1, uint64(len(message))))
		kept, ok := strip(random, message, false)
		again, okAgain := strip(random, message, false)
		if ok != okAgain || ok && !bytes.Equal(kept, again) {
			t.Fatalf("it depends on where the pieces end: %x %t, %x %t", kept, ok, again, okAgain)
		}
		if whole, ok := strip(random, message, true); !ok || !bytes.Equal(whole, message) {
			t.Fatalf("kept whole: %x", whole)
		}
		var in, got authv3.CheckRequest
		if !ok || proto.Unmarshal(message, &in) != nil {
			return // also messages that hold groups, which are refused
		}
		if err := proto.Unmarshal(kept, &got); err != nil {
			t.Fatalf("%x is no message any more: %v", kept, err)
		}
		if diff := cmp.Diff(withoutBody(&in), &got, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	})
}
