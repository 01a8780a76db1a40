package extauthz

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/google/go-cmp/cmp"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/request"
)

// dialAuthorizer serves an Authorizer by its own codec on loopback and returns a client.
func dialAuthorizer(t testing.TB, a *Authorizer, options ...grpc.ServerOption) authv3.AuthorizationClient {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(ServerOptions(), options...)...)
	if err := a.Register(server); err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	connection, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	return authv3.NewAuthorizationClient(connection)
}

// passes is an interceptor that does nothing.
func passes(ctx context.Context, in any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	return handler(ctx, in)
}

// differing tells in what two answers differ, but for the order of the headers that they remove.
func differing(want, got *authv3.CheckResponse) string {
	sorted := func(response *authv3.CheckResponse) *authv3.CheckResponse {
		response = proto.CloneOf(response)
		slices.Sort(response.GetOkResponse().GetHeadersToRemove())
		return response
	}
	if proto.Equal(sorted(want), sorted(got)) {
		return "" // cmp takes a hundred times as long to say so
	}
	return cmp.Diff(want, got, protocmp.Transform(), protocmp.SortRepeated(func(a, b string) bool { return a < b }))
}

// The verdict table over the wire, by the codec and the memory: cold, and again when what can be
// remembered is. Every answer is the one that the ordinary way gives without a memory.
func TestVerdictsOverTheWire(t *testing.T) {
	config := Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t)}
	lean := startAuthorizer(t, config)
	config.RememberedTokens = -1
	ordinary := startAuthorizer(t, config)
	client := dialAuthorizer(t, lean)
	intercepted := dialAuthorizer(t, lean, passing)
	spoofed := []header{{"x-user-id", "admin"}, {"x_user_role", "admin"}, {"x-auth-request-user", "admin"}}
	for _, row := range verdictTable() {
		for wireName, request := range wire {
			for _, extra := range [][]header{nil, spoofed} {
				in := request(row.method, slices.Concat(row.headers, extra))
				want := decidedByCheck(t, ordinary, in)
				for _, state := range []string{"cold", "hot", "hot, with an interceptor"} {
					by := client
					if state == "hot, with an interceptor" {
						by = intercepted
					}
					got := decided(t, func() (*authv3.CheckResponse, error) { return by.Check(t.Context(), in) })
					if diff := differing(want, got); diff != "" {
						t.Errorf("%s/%s/%s/%s:\n%s", row.reason, row.title, wireName, state, diff)
					}
				}
			}
		}
	}
	if lean.memory.Stats().Tokens == 0 {
		t.Error("nothing was remembered, so that nothing was hot")
	}
}

// meaning is what a request means, whatever the order of its headers' names.
func meaning(r request.Request) request.Request {
	slices.Sort(r.IdentityNames)
	slices.SortFunc(r.Route, func(a, b request.Setting) int { return strings.Compare(a.Name, b.Name) })
	if len(r.Route) == 0 {
		r.Route = nil
	}
	r.IdentityNames = slices.Compact(r.IdentityNames)
	for _, list := range []*[]string{&r.Authorization, &r.Cookies, &r.SecFetchSite, &r.Origin, &r.IdentityNames} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	r.HostHeader = ""
	return r
}

// FuzzScanRequest: whatever the ordinary codec accepts means the same to the scan, or the scan leaves it alone.
func FuzzScanRequest(f *testing.F) {
	encode := func(in *authv3.CheckRequest) []byte {
		message, err := proto.Marshal(in)
		if err != nil {
			f.Fatal(err)
		}
		return message
	}
	for _, request := range wire {
		f.Add(encode(request("POST", []header{{"authorization", "Bearer a"}, {"cookie", "a=b"}, {"origin", "null"}, {"x-user-id", "x"}, {"x-api-key", "k"}, {"sec-fetch-site", "none"}})))
	}
	both := checkRequest(&authv3.AttributeContext_HttpRequest{
		Headers:   map[string]string{"authorization": "Bearer a", "Authorization": "Bearer b", "host": "c"},
		HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "cookie", Value: "a", RawValue: []byte("b")}}},
	})
	f.Add(encode(both))
	f.Add(append(encode(both), encode(both)...)) // fields that stand twice are merged
	f.Add(protowire.AppendTag(nil, 1, protowire.StartGroupType))
	f.Fuzz(func(t *testing.T, message []byte) {
		var in authv3.CheckRequest
		if proto.Unmarshal(message, &in) != nil {
			var r request.Request
			checkwire.ScanRequest(message, &r) // must not panic
			return
		}
		var got request.Request
		if !checkwire.ScanRequest(message, &got) {
			return
		}
		want := checkwire.ReadRequest(&in)
		if diff := cmp.Diff(meaning(want), meaning(got), cmp.AllowUnexported(request.Request{}, request.Setting{})); diff != "" {
			t.Errorf("ordinary codec and scan differ:\n%s", diff)
		}
	})
}

// FuzzEncodeAllow: the answer that is written as bytes says what the ordinary message says.
func FuzzEncodeAllow(f *testing.F) {
	f.Add("user-1", "zoe@example.com", "Zoë Day", int64(1700000000), int64(1700000900), "x-user-role")
	f.Add("a", "", "", int64(0), int64(-1), "")
	f.Add("\xff", strings.Repeat("é", 300), "%", int64(1), int64(1<<40), "x_auth_method")
	f.Fuzz(func(t *testing.T, subject, email, name string, issuedAt, expiresAt int64, own string) {
		r := request.Request{}
		if utf8.ValidString(own) { // names come from messages whose text is UTF-8
			r.ReadHeader(own, "spoofed")
		}
		identity := Identity{Subject: subject, Email: email, Name: name, Method: identity.MethodSession, ExpiresAt: time.Unix(expiresAt, 0)}
		if issuedAt != 0 {
			identity.IssuedAt = time.Unix(issuedAt, 0)
		}
		var (
			got  authv3.CheckResponse
			made checkwire.Answer
		)
		made.Set(checkwire.EncodeAllow(&r, identity))
		if err := proto.Unmarshal(made.Encoded, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(checkwire.AllowResponse(&r, identity), &got, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
		const exact = 1 << 53 // what the metadata's numbers hold
		isText := utf8.ValidString(subject) && utf8.ValidString(email) && utf8.ValidString(name)
		if isText && max(issuedAt, expiresAt) < exact && min(issuedAt, expiresAt) > -exact {
			if diff := cmp.Diff(identity, made.Identity()); diff != "" {
				t.Errorf("read back: %s", diff)
			}
		}
	})
}

func BenchmarkEncodeAllow(b *testing.B) {
	identity := Identity{Subject: "user-1", Email: "zoe@example.com", Name: "Zoë Day", Method: identity.MethodSession, ExpiresAt: testNow}
	b.ReportAllocs()
	for b.Loop() {
		checkwire.EncodeAllow(&request.Request{}, identity)
	}
}

// The scan takes what Envoy sends; else every check would go the long way unseen.
func TestScanTakesWhatEnvoySends(t *testing.T) {
	for name, build := range wire {
		in := build("GET", []header{{"authorization", "Bearer a"}, {"cookie", "a=b"}, {"x-request-id", "7"}})
		in.Attributes.ContextExtensions = map[string]string{"optional": "true", "claim.role": "admin"}
		in.Attributes.Destination = in.Attributes.Source
		message, err := proto.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var r request.Request
		if !checkwire.ScanRequest(message, &r) {
			t.Errorf("%s: left to the ordinary codec", name)
		}
	}
}

// hotRequest is a request as Envoy sends it for a browser's call, some 30 headers and 2 KiB.
func hotRequest(t testing.TB, token string) []byte {
	headers := []header{
		{"authorization", "Bearer " + token}, {"accept", "application/json"}, {"accept-language", "de-CH,de;q=0.9,en;q=0.8"},
		{"accept-encoding", "gzip, deflate, br, zstd"}, {"user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36"},
		{"sec-fetch-site", "same-origin"}, {"sec-fetch-mode", "cors"}, {"sec-fetch-dest", "empty"}, {"referer", "https://app.example.com/notes"},
		{"x-forwarded-for", "192.0.2.7"}, {"x-forwarded-proto", "https"}, {"x-request-id", "0b8f4dd5-6a3e-4c0e-8a2b-0d6f4a5b6c7d"},
		{":method", "GET"}, {":path", "/api/me"}, {":authority", "api.example.com"}, {":scheme", "https"},
	}
	message, err := proto.Marshal(wire["headers"]("GET", headers))
	if err != nil {
		t.Fatal(err)
	}
	return message
}

// allocatesNothing holds the check of a token that is remembered to no allocation at all.
func allocatesNothing(t *testing.T, a *Authorizer, message []byte) {
	t.Helper()
	c := new(call)
	check := func() {
		c.message.Bytes = append(c.message.Bytes[:0], message...)
		if !checkwire.ScanRequest(c.message.Bytes, &c.request) {
			t.Fatal("left to the ordinary codec")
		}
		d := a.decide(context.Background(), &c.request)
		if answer := answerTo(&c.request, &d); d.Denial != nil || len(answer.Encoded) == 0 {
			t.Fatal(d.Denial)
		}
		c.release()
	}
	check() // it is remembered from here
	if allocations := testing.AllocsPerRun(100, check); allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}

// A remembered token costs no allocation, from the message's bytes to the answer's.
func TestHotPathAllocatesNothing(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret)})
	for name, token := range map[string]string{"JWKS": signers()["ed"].issue(goodClaims(nil)), "HS256": hs256(goodClaims(nil))} {
		t.Run(name, func(t *testing.T) { allocatesNothing(t, a, hotRequest(t, token)) })
	}
}

func BenchmarkScanRequest(b *testing.B) {
	message := hotRequest(b, signers()["ed"].issue(goodClaims(nil)))
	c := new(call)
	b.ReportAllocs()
	b.SetBytes(int64(len(message)))
	for b.Loop() {
		if !checkwire.ScanRequest(message, &c.request) {
			b.Fatal("left to the ordinary codec")
		}
		c.release()
	}
}

func BenchmarkRememberedToken(b *testing.B) {
	a := startAuthorizer(b, Config{JWKSURL: serveKeys(b, testKeys()).URL})
	var r request.Request
	if !checkwire.ScanRequest(hotRequest(b, signers()["ed"].issue(goodClaims(nil))), &r) {
		b.Fatal("left to the ordinary codec")
	}
	b.ReportAllocs()
	for b.Loop() {
		if d := a.decide(context.Background(), &r); d.Denial != nil {
			b.Fatal(d.Denial)
		}
	}
}
