package extauthz

import (
	"errors"
	"slices"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
)

// gRPC-Web's x-user-agent passes, and what is listed, each in this spelling only; everything else of the client's that
// begins as ours do is removed. It holds on both ways of a check, for allows of either kind and in shadow mode.
func TestKeptHeadersPass(t *testing.T) {
	good := signers()["ed"].issue(goodClaims(nil))
	own := []header{
		{"x-user-agent", "grpc-web-javascript/0.1"}, {"x_user_agent", "a"}, {"x-user_agent", "b"}, {"x-user-agents", "c"},
		{"x-auth-tenant", "acme"}, {"x_auth_tenant", "evil"}, {"x-auth-other", "d"}, {"x-user-id", "admin"}, {"x_user_id", "admin"}, {"accept", "*/*"},
	}
	removedAlways := []string{"x_user_agent", "x-user_agent", "x-user-agents", "x_auth_tenant", "x-auth-other", "x_user_id"}
	for _, row := range []struct {
		title  string
		config Config
		passes []string
	}{
		{"by default", Config{}, []string{"x-user-agent"}},
		{"listed", Config{KeepHeaders: []string{" X-Auth-Tenant "}}, []string{"x-user-agent", "x-auth-tenant"}},
		{"listed twice", Config{KeepHeaders: []string{"x-auth-tenant", "X-USER-AGENT"}}, []string{"x-user-agent", "x-auth-tenant"}},
		{"in shadow mode", Config{KeepHeaders: []string{"x-auth-tenant"}, Shadow: ShadowHeaders}, []string{"x-user-agent", "x-auth-tenant"}},
	} {
		t.Run(row.title, func(t *testing.T) {
			row.config.JWKSURL = serveKeys(t, testKeys()).URL
			a := startAuthorizer(t, row.config)
			client := dialAuthorizer(t, a)
			for wireName, build := range wire {
				request := build("GET", append([]header{{"authorization", "Bearer " + good}}, own...))
				for _, times := range []string{"new", "remembered"} {
					byMessage, err := a.Check(t.Context(), request)
					if err != nil {
						t.Fatal(err)
					}
					byBytes, err := client.Check(t.Context(), request)
					if err != nil {
						t.Fatal(err)
					}
					for way, response := range map[string]*authv3.CheckResponse{"message": byMessage, "bytes": byBytes} {
						removed := response.GetOkResponse().GetHeadersToRemove()
						for _, name := range row.passes {
							if slices.Contains(removed, name) {
								t.Errorf("%s, %s, %s: %s is removed", wireName, way, times, name)
							}
						}
						want := removedAlways
						if !slices.Contains(row.passes, "x-auth-tenant") {
							want = append(slices.Clone(want), "x-auth-tenant")
						}
						for _, name := range want {
							if !slices.Contains(removed, name) {
								t.Errorf("%s, %s, %s: %s is not removed", wireName, way, times, name)
							}
						}
					}
				}
			}
		})
	}
}

// A name that says who the user is cannot be kept, in whatever spelling, and a list that would keep nothing is a fault.
func TestKeepHeadersFaults(t *testing.T) {
	for _, row := range []struct{ name, fault string }{
		{"x-user-id", "says who the user is"},
		{"X-User-ID", "says who the user is"},
		{"x_user_id", "says who the user is"},
		{"x-user_email", "says who the user is"},
		{"x-user.name", "says who the user is"},
		{"x-auth-method", "says who the user is"},
		{"x-auth-issued-at", "says who the user is"},
		{"x_auth_expires_at", "says who the user is"},
		{"x-user-role", "says who the user is"},
		{"x-user-organization", "says who the user is"},
		{"x-user-organization-role", "says who the user is"},
		{"x-user-email-verified", "says who the user is"},
		{"x-auth-impersonator", "says who the user is"},
		{"x-auth-session-id", "says who the user is"},
		{"x-auth-client-id", "says who the user is"},
		{"x-auth-scope", "says who the user is"},
		{"x-auth-api-key-id", "says who the user is"},
		{"X_AUTH_ISSUER", "says who the user is"},
		{"x-tenant", "passes anyway"},
		{"authorization", "passes anyway"},
		{"", "passes anyway"},
		{"*", "passes anyway"},
		{"x-user", "passes anyway"},
		{"x-auth-*", "without wildcards"},
		{"x-user-*", "without wildcards"},
		{"x-auth-", "without wildcards"},
		{"x_auth_tenant", "letters, digits and hyphens"},
		{"x-auth-tenant:", "letters, digits and hyphens"},
		{"x-auth-ten ant", "letters, digits and hyphens"},
		{"x-auth-tenant,x-auth-b", "letters, digits and hyphens"},
		{"x-auth-tenänt", "letters, digits and hyphens"},
		{"x-u\u017fer-id", "passes anyway"}, // a long s, which folds to s
		{"x-auth-tenant\r\nx-user-id", "letters, digits and hyphens"},
	} {
		_, err := New(Config{Issuer: testIssuer, Audiences: []string{testAudience}, KeepHeaders: []string{row.name}})
		fault, ok := errors.AsType[*ConfigError](err)
		if !ok || fault.Field != "KeepHeaders" || !strings.Contains(fault.Fault, row.fault) {
			t.Errorf("%q: %v, want a fault of KeepHeaders with %q", row.name, err, row.fault)
		}
	}
	many := make([]string, maxKeptHeaders)
	for i := range many {
		many[i] = "x-auth-a" + strings.Repeat("b", i)
	}
	if _, err := newKeptHeaders(many); err == nil {
		t.Error("a list without a bound is accepted")
	}
	if _, err := newKeptHeaders(many[1:]); err != nil {
		t.Error(err)
	}
}

// A remembered token's check allocates nothing with a kept header in the request either.
func TestKeptHeaderAllocatesNothing(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, KeepHeaders: []string{"x-auth-tenant"}})
	in := wire["headers"]("GET", []header{{"authorization", "Bearer " + signers()["ed"].issue(goodClaims(nil))}, {"x-user-agent", "grpc-web-javascript/0.1"}, {"x-auth-tenant", "acme"}})
	message, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	allocatesNothing(t, a, message)
}

// A client's own identity headers never reach the backend, whatever stands between the words: some servers read
// everything that is no letter or digit as one and the same.
func TestOwnHeadersGoInEverySpelling(t *testing.T) {
	good := signers()["ed"].issue(goodClaims(nil))
	for _, shadow := range []Shadow{ShadowOff, ShadowReport, ShadowHeaders} {
		a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Shadow: shadow})
		client := dialAuthorizer(t, a)
		// The separators that RFC 9110 allows in a name; Envoy shows names in lower case.
		for _, separator := range "-_.!#$%&'*+^`|~ " {
			for _, form := range []string{"x@user-id", "x-user@id", "x@user@id", "x@auth@method", "X@USER@ID"} {
				name := strings.ReplaceAll(form, "@", string(separator))
				if strings.EqualFold(name, "x-user-id") || name == "x-auth-method" {
					continue // those are overwritten
				}
				for wireName, build := range wire {
					request := build("GET", []header{{"authorization", "Bearer " + good}, {name, "admin"}})
					for _, times := range []string{"new", "remembered"} {
						response, err := client.Check(t.Context(), request)
						if err != nil {
							t.Fatal(err)
						}
						if response.GetOkResponse() == nil ||
							!slices.Contains(response.GetOkResponse().GetHeadersToRemove(), strings.ToLower(name)) {
							t.Errorf("%s, %s, shadow %d: %q reaches the backend", wireName, times, shadow, name)
						}
					}
				}
			}
		}
	}
}
