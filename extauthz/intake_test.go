package extauthz

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/protobuf/proto"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/intake"
)

// serveAuthorizer serves an Authorizer on loopback and returns its address.
func serveAuthorizer(t testing.TB, a *Authorizer, options ...grpc.ServerOption) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	if err := a.Register(server); err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func dial(t testing.TB, address string) authv3.AuthorizationClient {
	t.Helper()
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	return authv3.NewAuthorizationClient(connection)
}

// rawPeer speaks HTTP/2 by hand, to send what a gRPC client would not.
type rawPeer struct {
	t      testing.TB
	conn   net.Conn
	framer *http2.Framer
	next   uint32 // the stream to open next
	window map[uint32]int
	wide   int // window of the connection
	answer map[uint32][]byte
	ended  map[uint32]bool
}

func newRawPeer(t testing.TB, address string) *rawPeer {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := &rawPeer{t: t, conn: conn, framer: http2.NewFramer(conn, conn), next: 1, window: map[uint32]int{}, wide: 65535,
		answer: map[uint32][]byte{}, ended: map[uint32]bool{}}
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	if err := p.framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return p
}

// open begins a check.
func (p *rawPeer) open() (stream uint32) {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", authv3.Authorization_Check_FullMethodName},
		{":authority", "extauthz"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			p.t.Fatal(err)
		}
	}
	stream = p.next
	p.next += 2
	p.window[stream] = 65535
	if err := p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true}); err != nil {
		p.t.Fatal(err)
	}
	return stream
}

// send sends data as the windows allow.
func (p *rawPeer) send(stream uint32, data []byte, end bool) {
	for {
		for !p.ended[stream] && len(data) > 0 && min(p.window[stream], p.wide) <= 0 {
			p.read()
		}
		if p.ended[stream] {
			return
		}
		n := min(len(data), p.window[stream], p.wide, 16<<10)
		last := n == len(data)
		if err := p.framer.WriteData(stream, last && end, data[:n]); err != nil {
			p.t.Fatal(err)
		}
		p.window[stream] -= n
		p.wide -= n
		if data = data[n:]; last {
			return
		}
	}
}

// read takes in a frame.
func (p *rawPeer) read() {
	frame, err := p.framer.ReadFrame()
	if err != nil {
		p.t.Fatal(err)
	}
	stream := frame.Header().StreamID
	switch frame := frame.(type) {
	case *http2.WindowUpdateFrame:
		if stream == 0 {
			p.wide += int(frame.Increment)
		} else {
			p.window[stream] += int(frame.Increment)
		}
	case *http2.DataFrame:
		p.answer[stream] = append(p.answer[stream], frame.Data()...)
	case *http2.HeadersFrame:
		p.ended[stream] = p.ended[stream] || frame.StreamEnded()
	case *http2.RSTStreamFrame:
		p.ended[stream] = true
	case *http2.PingFrame:
		if !frame.IsAck() {
			if err := p.framer.WritePing(true, frame.Data); err != nil {
				p.t.Fatal(err)
			}
		}
	case *http2.SettingsFrame:
		if !frame.IsAck() {
			if size, ok := frame.Value(http2.SettingInitialWindowSize); ok {
				for stream := range p.window {
					p.window[stream] += int(size) - 65535
				}
			}
			if err := p.framer.WriteSettingsAck(); err != nil {
				p.t.Fatal(err)
			}
		}
	}
}

// response waits for the answer to a check; nil when its stream ended without one.
func (p *rawPeer) response(stream uint32) *authv3.CheckResponse {
	for !p.ended[stream] {
		p.read()
	}
	answer := p.answer[stream]
	if len(answer) < 5 {
		return nil
	}
	var response authv3.CheckResponse
	if err := proto.Unmarshal(answer[5:], &response); err != nil {
		p.t.Fatal(err)
	}
	return &response
}

// prefixed is a message as gRPC frames it.
func prefixed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

func marshal(t testing.TB, in *authv3.CheckRequest) []byte {
	t.Helper()
	message, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return message
}

func expectNothingHeld(t testing.TB, a *Authorizer) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); a.intake.HeldBytes() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are held by no message", a.intake.HeldBytes())
		}
	}
}

var passing = grpc.UnaryInterceptor(passes)

// With a body beside them, credentials get the verdict that they have without one, on every kind of server.
func TestBodiesArePassedOver(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret)})
	a.intake.Timeout = 10 * time.Minute
	// One that comes in three pieces is large enough to be read as all large ones are, and one past gRPC's own 4 MiB
	// comes once to each kind of server.
	sizes, isRare := sized([]int{0, 100, 60 << 10, 2 << 20, 7 << 20}, []int{0, 100, 60 << 10, 300 << 10, 7 << 20}), sized(false, true)
	good, bad := signers()["ed"].issue(goodClaims(nil)), signers()["stranger"].issue(goodClaims(nil))
	for title, options := range map[string][]grpc.ServerOption{
		"our options": ServerOptions(), "no options": nil, "an interceptor": {passing}, "our options and an interceptor": append(ServerOptions(), passing),
	} {
		client := dial(t, serveAuthorizer(t, a, options...))
		for wireName, build := range wire {
			for _, size := range sizes {
				for name, put := range bodies(size) {
					for _, call := range [][]grpc.CallOption{nil, {grpc.UseCompressor(gzip.Name)}} {
						if isRare && size > 4<<20 && (wireName != "headers" || name != "both" || call != nil) {
							continue
						}
						in := build("POST", bearer(good))
						put(in)
						response, err := client.Check(t.Context(), in, call...)
						if err != nil || response.GetOkResponse() == nil {
							t.Fatalf("%s, %s, %s of %d bytes: %v %v", title, wireName, name, size, response, err)
						}
						in = build("POST", bearer(bad))
						put(in)
						if response, err = client.Check(t.Context(), in, call...); err != nil {
							t.Fatalf("%s, %s, %s of %d bytes: %v", title, wireName, name, size, err)
						}
						expectDenial(t, response, ReasonBadSignature)
					}
				}
			}
		}
	}
	expectNothingHeld(t, a)
}

// Huge credentials are the client's fault, and many fields too; messages that cannot be read are an outage. Each is
// answered, counted and logged.
func TestMessagesThatAreNoGoodAreAnswered(t *testing.T) {
	var log lockedBuffer
	registry := prometheus.NewRegistry()
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), MaxMessageBytes: 3 << 20, Metrics: registry,
		Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	address := serveAuthorizer(t, a, ServerOptions()...)
	good := signers()["ed"].issue(goodClaims(nil))
	huge := strings.Repeat("a", 1<<20)
	fields := func(n int, format string) []header {
		list := bearer(good)
		for i := range n {
			list = append(list, header{fmt.Sprintf(format, i), "v"})
		}
		return list
	}
	message := marshal(t, bearerRequest(good))
	body := bearerRequest(good)
	bodies(2 << 20)["body"](body)
	large := marshal(t, body)
	tooLarge := marshal(t, wire["headers"]("GET", append(bearer(good), header{"x", strings.Repeat("b", 3<<20)})))
	notText := bytes.Replace(message, []byte("/api/me"), []byte("/\xff\xfe/me"), 1)
	for _, row := range []struct {
		title  string
		bytes  []byte // of the stream; else in is sent
		in     func(build func(string, []header) *authv3.CheckRequest) *authv3.CheckRequest
		reason Reason
	}{
		{"a credential of 1 MiB", nil, func(build func(string, []header) *authv3.CheckRequest) *authv3.CheckRequest {
			return build("GET", bearer(huge))
		}, ReasonOversizedCredential},
		{"a JWT of 1 MiB", nil, func(build func(string, []header) *authv3.CheckRequest) *authv3.CheckRequest {
			return build("GET", bearer(good+huge))
		}, ReasonOversizedCredential},
		{"a session cookie of 1 MiB", nil, func(build func(string, []header) *authv3.CheckRequest) *authv3.CheckRequest {
			return build("GET", []header{{"cookie", credential.DefaultCookie + "=" + huge}})
		}, ReasonOversizedCredential},
		{"another cookie of 1 MiB", nil, func(build func(string, []header) *authv3.CheckRequest) *authv3.CheckRequest {
			return build("GET", []header{{"cookie", "other=" + huge}})
		}, ReasonMissingCredential},
		{"1,001 fields", nil, func(build func(string, []header) *authv3.CheckRequest) *authv3.CheckRequest {
			return build("GET", fields(1000, "h-%d"))
		}, ReasonTooManyHeaders},
		{"100,000 fields", nil, func(build func(string, []header) *authv3.CheckRequest) *authv3.CheckRequest {
			return build("GET", fields(100_000, "h-%d"))
		}, ReasonTooManyHeaders},
		{"40,000 identity headers and a body", nil, func(build func(string, []header) *authv3.CheckRequest) *authv3.CheckRequest {
			in := build("GET", fields(40_000, "x-user-%d"))
			bodies(1 << 20)["raw_body"](in)
			return in
		}, ReasonTooManyHeaders},
		{"more than the bound", prefixed(tooLarge), nil, ReasonOversizedMessage},
		{"4 GiB announced", []byte{0, 0xff, 0xff, 0xff, 0xff}, nil, ReasonOversizedMessage},
		{"no message", []byte{}, nil, ReasonUndecodableMessage},
		{"half a prefix", []byte{0, 0}, nil, ReasonUndecodableMessage},
		{"a message that is cut off", prefixed(message)[:len(message)], nil, ReasonUndecodableMessage},
		{"a large message that is cut off", prefixed(large)[:len(large)/2], nil, ReasonUndecodableMessage},
		{"fields that are cut off", prefixed(message[:len(message)-1]), nil, ReasonUndecodableMessage},
		{"fields of a large one that are cut off", prefixed(large[:len(large)-1]), nil, ReasonUndecodableMessage},
		{"noise", prefixed(bytes.Repeat([]byte{0xff}, 1000)), nil, ReasonUndecodableMessage},
		{"much noise", prefixed(bytes.Repeat([]byte{0xff}, 1<<20)), nil, ReasonUndecodableMessage},
		{"text", prefixed([]byte("GET / HTTP/1.1\r\n\r\n")), nil, ReasonUndecodableMessage},
		{"text that is not UTF-8", prefixed(notText), nil, ReasonUndecodableMessage},
		{"two messages", append(prefixed(message), prefixed(message)...), nil, ReasonUndecodableMessage},
		{"a message that says it is compressed", append([]byte{1}, prefixed(message)[1:]...), nil, ReasonUndecodableMessage},
		{"an empty message", prefixed(nil), nil, ReasonMissingCredential},
	} {
		for wireName, build := range wire {
			var response *authv3.CheckResponse
			if row.bytes != nil {
				peer := newRawPeer(t, address)
				stream := peer.open()
				peer.send(stream, row.bytes, true)
				response = peer.response(stream)
			} else {
				var err error
				if response, err = dial(t, address).Check(t.Context(), row.in(build)); err != nil {
					t.Fatalf("%s, %s: %v", row.title, wireName, err)
				}
			}
			if response == nil {
				t.Errorf("%s: no answer", row.title)
				continue
			}
			t.Run(row.title+"/"+wireName, func(t *testing.T) { expectDenial(t, response, row.reason) })
		}
	}
	expectNothingHeld(t, a)
	for _, reason := range []Reason{ReasonOversizedMessage, ReasonUndecodableMessage} {
		if counted := valueOfMetric(gather(t, registry), "extauthz_checks_total", string(reason)); counted == 0 {
			t.Errorf("%s: not counted", reason)
		}
		if !strings.Contains(log.String(), `"reason":"`+string(reason)+`"`) {
			t.Errorf("%s: not logged: %s", reason, log.String())
		}
	}
	if !strings.Contains(log.String(), "raise Config.MaxMessageBytes") {
		t.Error("the log does not say what to do")
	}
}

// A compressed message is inflated up to the bound, which is 8 MiB, and no further: one that is small when it comes in,
// and one that is large then, too, since it begins with what cannot be compressed.
func TestCompressedBomb(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL})
	a.intake.Timeout = 10 * time.Minute
	client := dial(t, serveAuthorizer(t, a, ServerOptions()...))
	in := bearerRequest(signers()["ed"].issue(goodClaims(nil)))
	noise := make([]byte, 2*intake.SmallMessage)
	rand.Read(noise)
	for _, head := range [][]byte{nil, noise} {
		body := make([]byte, sized(256<<20, 16<<20))
		copy(body, head)
		in.Attributes.Request.Http.RawBody = body
		response, err := client.Check(t.Context(), in, grpc.UseCompressor(gzip.Name))
		if err != nil {
			t.Fatal(err)
		}
		expectDenial(t, response, ReasonOversizedMessage)
		expectNothingHeld(t, a)
	}
}

// Three hundred checks whose bodies of 8 MiB trickle in hold little memory and keep nobody waiting.
func TestTricklingBodies(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL})
	a.intake.Timeout = 10 * time.Minute
	address := serveAuthorizer(t, a, ServerOptions()...)
	client, good := dial(t, address), signers()["ed"].issue(goodClaims(nil))
	in := bearerRequest(good)
	in.Attributes.Request.Http.RawBody = make([]byte, 8<<20-4<<10)
	framed := prefixed(marshal(t, in))
	before := heapInUse()
	const peers, each, sent = 3, 100, 1 << 20
	var all []*rawPeer
	for range peers {
		peer := newRawPeer(t, address)
		all = append(all, peer)
		for range each {
			peer.open()
		}
		for at := 0; at < sent; at += 16 << 10 {
			for i := range each {
				peer.send(uint32(2*i+1), framed[at:at+16<<10], false)
			}
		}
	}
	if held := heapInUse() - before; held > 96<<20 {
		t.Errorf("%d MiB are held for %d checks that sent %d MiB", held>>20, peers*each, peers*each*sent>>20)
	}
	for range 100 {
		response, err := client.Check(t.Context(), bearerRequest(good))
		if err != nil || response.GetOkResponse() == nil {
			t.Fatalf("a small check meanwhile: %v %v", response, err)
		}
	}
	for _, stream := range []uint32{1, 3, 5} {
		all[0].send(stream, framed[sent:], true)
		if response := all[0].response(stream); response.GetOkResponse() == nil {
			t.Errorf("a body that came in whole: %v", response)
		}
	}
	for _, peer := range all {
		peer.conn.Close()
	}
	expectNothingHeld(t, a)
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return int64(memory.HeapAlloc)
}

// Where large messages take all that messages may take, another large one is refused and a small one is answered.
func TestMessagesAreBoundedTogether(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL})
	a.intake.Timeout, a.intake.Limit = 10*time.Minute, 2*(4*(intake.SmallMessage+intake.MessageChunk)+intake.MessageChunk) // half of it for large ones
	address := serveAuthorizer(t, a, ServerOptions()...)
	client, good := dial(t, address), signers()["ed"].issue(goodClaims(nil))
	in := bearerRequest(good)
	in.Attributes.Request.Http.RawBody = make([]byte, 1<<20)
	framed := prefixed(marshal(t, in))
	slow := newRawPeer(t, address)
	for range 4 {
		slow.send(slow.open(), framed[:100], false)
	}
	for deadline := time.Now().Add(20 * time.Second); a.intake.HeldBytes() < 4*(intake.SmallMessage+intake.MessageChunk); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("held: %d", a.intake.HeldBytes())
		}
	}
	response, err := client.Check(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	expectDenial(t, response, ReasonOverloaded)
	if response, err = client.Check(t.Context(), bearerRequest(good)); err != nil || response.GetOkResponse() == nil {
		t.Fatalf("a small one: %v %v", response, err)
	}
	slow.send(1, framed[100:], true)
	if response := slow.response(1); response.GetOkResponse() == nil {
		t.Errorf("one that had found room: %v", response)
	}
	if response, err = client.Check(t.Context(), in); err != nil || response.GetOkResponse() == nil {
		t.Fatalf("where there is room again: %v %v", response, err)
	}
	slow.conn.Close()
	expectNothingHeld(t, a)
}

// A large message that does not come in is left after its time.
func TestMessageThatNeverComes(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL})
	a.intake.Timeout = 50 * time.Millisecond
	peer := newRawPeer(t, serveAuthorizer(t, a, ServerOptions()...))
	stream := peer.open()
	peer.send(stream, []byte{0, 0, 0x40, 0, 0, 1<<3 | 2}, false)
	expectDenial(t, peer.response(stream), ReasonUndecodableMessage)
	expectNothingHeld(t, a)
}

// In shadow mode a message that cannot be read passes, unless the client's own headers would have to go with it.
func TestShadowOfUnreadMessages(t *testing.T) {
	for shadow, passes := range map[Shadow]bool{
		ShadowReport: false, ShadowHeaders: false, ShadowReportAndTrustClientHeaders: true,
	} {
		a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Shadow: shadow})
		peer := newRawPeer(t, serveAuthorizer(t, a, ServerOptions()...))
		stream := peer.open()
		peer.send(stream, prefixed([]byte{0xff}), true)
		response := peer.response(stream)
		if passed := response.GetOkResponse() != nil; passed != passes {
			t.Errorf("shadow %d: %v", shadow, response)
		}
		if reason := response.GetDynamicMetadata().GetFields()[checkwire.MetadataReason].GetStringValue(); reason != string(ReasonUndecodableMessage) {
			t.Errorf("shadow %d: reason %q", shadow, reason)
		}
	}
}

// Every identity header of a request with 40,000 of them goes in shadow mode, in time that grows with their number.
func TestManyFieldsTakeLinearTime(t *testing.T) {
	least := sized(2_500, 1_250)
	names := func(n int) []*corev3.HeaderValue {
		list := make([]*corev3.HeaderValue, n)
		for i := range list {
			list[i] = &corev3.HeaderValue{Key: fmt.Sprintf("x-user-%d", i), RawValue: []byte("v")}
		}
		return list
	}
	settings := func(n int) map[string]string {
		all := make(map[string]string, n)
		for i := range n {
			all[fmt.Sprintf("setting-%d", i)] = "v"
		}
		return all
	}
	repeated := func(n int, format string) []*corev3.HeaderValue {
		list := names(n)
		for i := range list {
			list[i].Key = strings.ReplaceAll(format, "#", fmt.Sprint(i%7))
		}
		return list
	}
	for title, build := range map[string]func(n int) *authv3.AttributeContext_HttpRequest{
		"identity headers": func(n int) *authv3.AttributeContext_HttpRequest {
			return &authv3.AttributeContext_HttpRequest{HeaderMap: &corev3.HeaderMap{Headers: names(n)}}
		},
		"identity headers in the map": func(n int) *authv3.AttributeContext_HttpRequest {
			headers := map[string]string{}
			for _, header := range names(n) {
				headers[header.Key] = "v"
			}
			return &authv3.AttributeContext_HttpRequest{Headers: headers}
		},
		"one identity header": func(n int) *authv3.AttributeContext_HttpRequest {
			return &authv3.AttributeContext_HttpRequest{HeaderMap: &corev3.HeaderMap{Headers: repeated(n, "X_User_Id")}}
		},
		"cookies": func(n int) *authv3.AttributeContext_HttpRequest {
			return &authv3.AttributeContext_HttpRequest{HeaderMap: &corev3.HeaderMap{Headers: repeated(n, "cookie")}}
		},
		"one cookie of many pairs": func(n int) *authv3.AttributeContext_HttpRequest {
			return &authv3.AttributeContext_HttpRequest{Headers: map[string]string{"cookie": strings.Repeat("a=b; ", n)}}
		},
		"authorizations": func(n int) *authv3.AttributeContext_HttpRequest {
			return &authv3.AttributeContext_HttpRequest{HeaderMap: &corev3.HeaderMap{Headers: repeated(n, "authorization")}}
		},
		"context extensions": nil,
	} {
		for _, shadow := range []Shadow{ShadowOff, ShadowReport, ShadowHeaders} {
			a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Shadow: shadow})
			quickest := func(n int) time.Duration {
				in := checkRequest(&authv3.AttributeContext_HttpRequest{})
				if build != nil {
					in = checkRequest(build(n))
				} else {
					in.Attributes.ContextExtensions = settings(n)
				}
				message, times := marshal(t, in), []time.Duration{}
				for range 4 {
					c := &call{message: intake.Hold(message)}
					started := time.Now()
					if denial := c.read(shadow != ShadowOff); denial != nil {
						t.Fatal(denial)
					}
					d := a.decide(t.Context(), &c.request)
					if shadow != ShadowOff {
						response := a.shadowResponse(&c.request, &d)
						if title == "identity headers" && len(response.GetOkResponse().GetHeadersToRemove()) != n+len(identity.Headers()) {
							t.Fatalf("%d of %d headers are removed", len(response.GetOkResponse().GetHeadersToRemove()), n)
						}
					}
					times = append(times, time.Since(started))
				}
				if _, err := a.Check(t.Context(), in); err != nil {
					t.Fatal(err)
				}
				return slices.Min(times)
			}
			few, many := quickest(least), quickest(16*least)
			// 16 times as many fields: a quadratic loop takes 256 times as long, which is seconds.
			if many > 100*few && many > 500*time.Millisecond {
				t.Errorf("%s, shadow %d: %v for %d fields and %v for 16 times as many", title, shadow, few, least, many)
			}
		}
	}
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
