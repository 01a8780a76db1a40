package extauthz

import (
	"context"
	"net"
	"slices"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/google/go-cmp/cmp"

	"extauthz/extauthz/internal/checkwire"
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
		if answer := a.answerTo(&c.request, &d); d.Denial != nil || len(answer.Encoded) == 0 {
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
