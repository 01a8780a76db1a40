package extauthz

import (
	"net/url"
	"slices"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/credential"
)

// What a route asks for narrows what the server allows, for every kind of credential, cold and remembered, over both
// ways; and whatever it says, nothing that the server refuses passes.
func TestRouteSettings(t *testing.T) {
	config := Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t), Audiences: []string{testAudience, "http://admin.example.com"}}
	a := startAuthorizer(t, config)
	client := dialAuthorizer(t, a)
	ed := signers()["ed"]
	var (
		none    = []header{{"x-user-id", "spoofed"}}
		jwks    = bearer(ed.issue(goodClaims(map[string]any{"role": "admin", "roles": []any{"reader", "admin"}, "level": 3, "trusted": true})))
		other   = bearer(ed.issue(goodClaims(map[string]any{"role": "administrator", "roles": []any{[]any{"admin"}, "reader,admin"}, "level": "x"})))
		both    = bearer(ed.issue(goodClaims(map[string]any{"aud": []any{testAudience, "http://admin.example.com"}})))
		shared  = bearer(hs256(goodClaims(nil)))
		session = bearer(liveToken)
		byCooky = cookie(url.QueryEscape(signedSession(liveToken, testSecret)))
		forged  = bearer(signers()["stranger"].issue(goodClaims(nil)))
		expired = bearer(ed.issue(goodClaims(map[string]any{"exp": in(-3600)})))
	)
	type settings map[string]string
	for _, row := range []struct {
		title    string
		settings settings
		headers  []header
		reason   Reason
	}{
		{"no settings", settings{}, jwks, ""},
		{"the audience", settings{"audience": testAudience}, jwks, ""},
		{"another of the server's audiences", settings{"audience": "http://admin.example.com"}, jwks, ReasonWrongAudience},
		{"an audience of several", settings{"audience": "http://admin.example.com"}, both, ""},
		{"any of two audiences", settings{"audience": "http://admin.example.com, " + testAudience}, shared, ""},
		{"an audience, of a session", settings{"audience": "http://admin.example.com"}, session, ""},
		{"an audience that is wider", settings{"audience": "http://evil.example.com"}, jwks, ReasonBadRouteSettings},
		{"an empty audience", settings{"audience": ""}, jwks, ReasonBadRouteSettings},

		{"the method", settings{"methods": "jwks"}, jwks, ""},
		{"one of two methods", settings{"methods": "session,jwks"}, session, ""},
		{"HS256 where it is not listed", settings{"methods": "session,jwks"}, shared, ReasonMethodRefused},
		{"a session where it is not listed", settings{"methods": "jwks"}, session, ReasonMethodRefused},
		{"a cookie where sessions are not listed", settings{"methods": "jwks"}, byCooky, ReasonMethodRefused},
		{"a JWT where it is not listed", settings{"methods": "session"}, jwks, ReasonMethodRefused},
		{"a method that there is not", settings{"methods": "jwks,password"}, jwks, ReasonBadRouteSettings},

		{"a role", settings{"claim.role": "admin"}, jwks, ""},
		{"a role among several", settings{"claim.roles": "admin"}, jwks, ""},
		{"a number", settings{"claim.level": "3"}, jwks, ""},
		{"a truth value", settings{"claim.trusted": "true"}, jwks, ""},
		{"two claims", settings{"claim.role": "admin", "claim.level": "3"}, jwks, ""},
		{"two claims, one of them another", settings{"claim.role": "admin", "claim.level": "4"}, jwks, ReasonClaimRequired},
		{"a role that only begins so", settings{"claim.role": "admin"}, other, ReasonClaimRequired},
		{"a role one array too deep, or within a text", settings{"claim.roles": "admin"}, other, ReasonClaimRequired},
		{"a number that is a text", settings{"claim.level": "3"}, other, ReasonClaimRequired},
		{"a claim that is not there", settings{"claim.role": "admin"}, shared, ReasonClaimRequired},
		{"a claim, of a session", settings{"claim.role": "admin"}, session, ReasonClaimRequired},
		{"a claim without a name", settings{"claim.": "admin"}, jwks, ReasonBadRouteSettings},
		{"a claim without a value", settings{"claim.role": ""}, jwks, ReasonBadRouteSettings},

		{"optional, and no credential", settings{"optional": "true"}, none, ""},
		{"optional, and another scheme", settings{"optional": "true"}, []header{{"authorization", "Basic eA=="}}, ""},
		{"not optional, and no credential", settings{"optional": "false"}, none, ReasonMissingCredential},
		{"optional, and a good credential", settings{"optional": "true"}, jwks, ""},
		{"optional, and a forged one", settings{"optional": "true"}, forged, ReasonBadSignature},
		{"optional, and an expired one", settings{"optional": "true"}, expired, ReasonExpired},
		{"optional, and two Authorization headers", settings{"optional": "true"}, slices.Concat(jwks, jwks), ReasonRepeatedAuthorization},
		{"optional, and a method that is not listed", settings{"optional": "true", "methods": "session"}, jwks, ReasonMethodRefused},
		{"neither true nor false", settings{"optional": "yes"}, none, ReasonBadRouteSettings},

		{"a name that is not known", settings{"audiences": testAudience}, jwks, ReasonBadRouteSettings},
		{"a name in another case", settings{"Optional": "true"}, none, ReasonBadRouteSettings},
		{"an empty name", settings{"": ""}, jwks, ReasonBadRouteSettings},
	} {
		for wireName, request := range wire {
			t.Run(row.title+"/"+wireName, func(t *testing.T) {
				in := request("GET", row.headers)
				in.Attributes.ContextExtensions = row.settings
				var first *authv3.CheckResponse
				for _, state := range []string{"cold", "hot"} {
					got := decidedByCheck(t, a, in)
					overWire := decided(t, func() (*authv3.CheckResponse, error) { return client.Check(t.Context(), in) })
					if diff := cmp.Diff(got, overWire, protocmp.Transform(), protocmp.SortRepeated(func(a, b string) bool { return a < b })); diff != "" {
						t.Errorf("%s, over the wire:\n%s", state, diff)
					}
					if reason := Reason(got.GetDynamicMetadata().GetFields()[checkwire.MetadataReason].GetStringValue()); reason != row.reason {
						t.Errorf("%s: reason %q, want %q", state, reason, row.reason)
					}
					first = got
				}
				if ok := first.GetOkResponse(); row.reason == "" && row.settings["optional"] == "true" && !hasBearer(row.headers) {
					if len(ok.GetHeaders()) > 0 || len(first.GetDynamicMetadata().GetFields()) > 0 || !slices.Contains(ok.GetHeadersToRemove(), "x-user-id") {
						t.Errorf("without a credential there is an identity: %v", first)
					}
				} else if row.reason == "" && len(ok.GetHeaders()) == 0 {
					t.Errorf("no identity: %v", first)
				}
			})
		}
	}
}

func hasBearer(headers []header) bool {
	return slices.ContainsFunc(headers, func(h header) bool {
		_, isBearer := credential.BearerToken(h.value)
		return h.name == "authorization" && isBearer
	})
}
