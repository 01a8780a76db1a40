package checkwire_test

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/google/go-cmp/cmp"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/request"
)

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
		identity := identity.Identity{Subject: subject, Email: email, Name: name, Method: identity.MethodSession, ExpiresAt: time.Unix(expiresAt, 0)}
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
	identity := identity.Identity{Subject: "user-1", Email: "zoe@example.com", Name: "Zoë Day", Method: identity.MethodSession, ExpiresAt: time.Unix(1772366400, 0)}
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

func BenchmarkScanRequest(b *testing.B) {
	message, err := proto.Marshal(wire["headers"]("GET", browserRequest))
	if err != nil {
		b.Fatal(err)
	}
	var r request.Request
	b.ReportAllocs()
	b.SetBytes(int64(len(message)))
	for b.Loop() {
		if !checkwire.ScanRequest(message, &r) {
			b.Fatal("left to the ordinary codec")
		}
		r = request.Request{Authorization: r.Authorization[:0], SecFetchSite: r.SecFetchSite[:0]} // as a call is used again
	}
}
