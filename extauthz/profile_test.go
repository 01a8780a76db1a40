package extauthz

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"
)

// A token is judged by what it is, whatever its algorithm: a user's is allowed, one that is bound to a key, one for
// an OAuth client and one of another profile is not. Each row is tried with a key of the JWKS and with the shared
// secret, twice, so that nothing of it was remembered.
func TestTokenProfiles(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret)})
	type row struct {
		reason Reason // empty: allowed
		title  string
		header []string // beside alg and kid
		claims map[string]any
	}
	none := map[string]any(nil)
	typ := func(value string) []string { return []string{member("typ", value)} }
	null := json.RawMessage("null")
	thumbprint := map[string]any{"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}
	rows := []row{
		// A token with cnf is good for whoever proves that the key is his, and a Bearer token proves nothing (RFC 7800 §3.1).
		{ReasonProofRequired, "DPoP", nil, map[string]any{"cnf": thumbprint}},
		{ReasonProofRequired, "a certificate", nil, map[string]any{"cnf": map[string]any{"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}},
		{ReasonProofRequired, "a key in the token", nil, map[string]any{"cnf": map[string]any{"jwk": map[string]any{"kty": "OKP"}}}},
		{ReasonProofRequired, "an empty cnf", nil, map[string]any{"cnf": map[string]any{}}},
		{ReasonProofRequired, "cnf null", nil, map[string]any{"cnf": null}},
		{ReasonProofRequired, "cnf a text", nil, map[string]any{"cnf": "key"}},
		{ReasonProofRequired, "cnf an array", nil, map[string]any{"cnf": []any{}}},
		{ReasonProofRequired, "cnf false", nil, map[string]any{"cnf": false}},
		{ReasonProofRequired, "cnf before OAuth", typ("at+jwt"), map[string]any{"cnf": thumbprint, "azp": "client", "client_id": "client", "scope": "openid"}},
		{ReasonProofRequired, "cnf, and for another audience", nil, map[string]any{"cnf": thumbprint, "aud": "https://other.example.net"}},
		{ReasonProofRequired, "cnf, and by another issuer", nil, map[string]any{"cnf": thumbprint, "iss": testIssuer + "/api/auth"}},
		{ReasonProofRequired, "cnf, and no subject", nil, map[string]any{"cnf": thumbprint, "sub": nil}},
		{ReasonExpired, "cnf, expired", nil, map[string]any{"cnf": thumbprint, "exp": in(-61)}},
		{ReasonNotYetValid, "cnf, not yet valid", nil, map[string]any{"cnf": thumbprint, "nbf": in(61)}},

		// OAuth access tokens (RFC 9068), whoever their subject is.
		{ReasonOAuthNotConfigured, "at+jwt", typ("at+jwt"), none},
		{ReasonOAuthNotConfigured, "AT+JWT", typ("AT+JWT"), none},
		{ReasonOAuthNotConfigured, "application/at+jwt", typ("application/at+jwt"), none},
		{ReasonOAuthNotConfigured, "Application/At+Jwt", typ("Application/At+Jwt"), none},
		{ReasonOAuthNotConfigured, "azp", nil, map[string]any{"azp": "client"}},
		{ReasonOAuthNotConfigured, "azp empty", nil, map[string]any{"azp": ""}},
		{ReasonOAuthNotConfigured, "azp null", nil, map[string]any{"azp": null}},
		{ReasonOAuthNotConfigured, "azp an array", nil, map[string]any{"azp": []string{"client"}}},
		{ReasonOAuthNotConfigured, "azp is the audience", nil, map[string]any{"azp": testAudience}},
		{ReasonOAuthNotConfigured, "azp is the subject", nil, map[string]any{"azp": "user-1"}},
		{ReasonOAuthNotConfigured, "client_id and scope", nil, map[string]any{"client_id": "client", "scope": "openid"}},
		{ReasonOAuthNotConfigured, "client_id and an empty scope", nil, map[string]any{"client_id": "client", "scope": ""}},
		{ReasonOAuthNotConfigured, "client_id and scopes in an array", nil, map[string]any{"client_id": "client", "scope": []string{"openid"}}},
		{ReasonOAuthNotConfigured, "client_id a number, and scope", nil, map[string]any{"client_id": 7, "scope": "read"}},
		{ReasonOAuthNotConfigured, "client_credentials: sub is the client", typ("at+jwt"), map[string]any{"sub": "client", "client_id": "client", "azp": "client", "scope": "read"}},
		{ReasonOAuthNotConfigured, "OAuth, by the OAuth provider's issuer", typ("at+jwt"), map[string]any{"iss": testIssuer + "/api/auth"}},
		{ReasonOAuthNotConfigured, "OAuth, for another resource", typ("at+jwt"), map[string]any{"aud": "https://other.example.net"}},
		{ReasonOAuthNotConfigured, "OAuth, no subject", typ("at+jwt"), map[string]any{"sub": nil}},
		{ReasonExpired, "OAuth, expired", typ("at+jwt"), map[string]any{"exp": in(-61), "azp": "client"}},
		{ReasonMalformedClaims, "OAuth, no exp", typ("at+jwt"), map[string]any{"exp": nil}},

		{ReasonOAuthNotConfigured, "client_credentials without scope: the subject is the client", nil, map[string]any{"sub": "client", "client_id": "client"}},
		{ReasonExpired, "the subject is the client, expired", nil, map[string]any{"sub": "client", "client_id": "client", "exp": in(-61)}},
		{ReasonMissingSubject, "an empty client and an empty subject", nil, map[string]any{"sub": "", "client_id": ""}},

		// Others that are no user's way in: ID tokens (OpenID Connect Core 1.0 §2), security events (RFC 8417), logout
		// tokens.
		{ReasonUnsupportedType, "an ID token", nil, map[string]any{"at_hash": "K4-9Og1P708uMW3UDOaP4A", "auth_time": in(-10)}},
		{ReasonUnsupportedType, "an ID token with a code's hash", nil, map[string]any{"c_hash": "K4-9Og1P708uMW3UDOaP4A"}},
		{ReasonUnsupportedType, "a logout token without typ", nil, map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}},
		{ReasonUnsupportedType, "a security event", nil, map[string]any{"events": map[string]any{"https://schemas.openid.net/secevent/caep/event-type/session-revoked": map[string]any{}}}},
		{ReasonUnsupportedType, "an event by URN", nil, map[string]any{"events": map[string]any{"urn:ietf:params:scim:event:create": map[string]any{}}}},
		{ReasonUnsupportedType, "logout+jwt", typ("logout+jwt"), none},
		{ReasonUnsupportedType, "secevent+jwt", typ("secevent+jwt"), none},
		{ReasonUnsupportedType, "dpop+jwt", typ("dpop+jwt"), none},
		{ReasonUnsupportedType, "session cache", typ("better-auth.session-cache+jwt"), none},
		{ReasonUnsupportedType, "at+jwt with something behind it", typ("at+jwt; v=1"), none},
		{ReasonExpired, "an ID token, expired", nil, map[string]any{"at_hash": "K4-9Og1P708uMW3UDOaP4A", "exp": in(-61)}},

		// A project's own claims and columns (definePayload) make none of these.
		{"", "client_id alone", nil, map[string]any{"client_id": "customer-7"}},
		{"", "client_id alone, longer than the subject", nil, map[string]any{"client_id": "user-1x"}},
		{"", "client_id a number", nil, map[string]any{"client_id": 1, "sub": "1"}},
		{"", "scope alone", nil, map[string]any{"scope": "admin"}},
		{"", "both columns empty", nil, map[string]any{"client_id": null, "scope": null}},
		{"", "client_id with scope null", nil, map[string]any{"client_id": "customer-7", "scope": null}},
		{"", "scope with client_id null", nil, map[string]any{"client_id": null, "scope": "admin"}},
		{"", "client_id with scopes, as another name", nil, map[string]any{"client_id": "customer-7", "scopes": "admin"}},
		{"", "names in another case", nil, map[string]any{"CNF": thumbprint, "Azp": "x", "Client_ID": "x", "Scope": "x"}},
		{"", "a nested cnf", nil, map[string]any{"device": map[string]any{"cnf": thumbprint, "azp": "x"}}},
		{"", "sid", nil, map[string]any{"sid": "VREeb6E02ESkOgKs1YzlTKhPkuFGNSXn"}},
		{"", "events of a calendar", nil, map[string]any{"events": []string{"party"}}},
		{"", "events counted", nil, map[string]any{"events": map[string]any{"party": 3}}},
		{"", "nonce", nil, map[string]any{"nonce": "n"}},
		{"", "typ application/jwt", typ("application/jwt"), none},
	}
	s := signers()
	for _, row := range rows {
		for name, issue := range map[string]func(header []string, claims string) string{
			"EdDSA": func(header []string, claims string) string {
				return jwtOf(object(append([]string{member("alg", "EdDSA"), member("kid", "ed")}, header...)...), claims, s["ed"].sign)
			},
			"HS256": func(header []string, claims string) string {
				return jwtOf(object(append([]string{member("alg", "HS256")}, header...)...), claims, hmacOf(testSecret))
			},
		} {
			t.Run(row.title+"/"+name, func(t *testing.T) {
				token := issue(row.header, goodClaims(row.claims))
				for range 2 {
					d := judgeOne(t, a, token, false)
					switch {
					case row.reason == "" && d.Denial != nil:
						t.Errorf("refused: %v", d.Denial)
					case row.reason != "" && d.Denial == nil:
						t.Errorf("allowed as %s, want %s", d.Who().Subject, row.reason)
					case row.reason != "" && d.Denial.Reason() != row.reason:
						t.Errorf("%v, want %s", d.Denial, row.reason)
					}
				}
			})
		}
	}

	// A bad signature goes first: what the claims say then is nobody's word.
	forged := jwtOf(object(member("alg", "EdDSA"), member("kid", "ed"), member("typ", "at+jwt")), goodClaims(map[string]any{"cnf": thumbprint}), s["stranger"].sign)
	if d := judgeOne(t, a, forged, false); d.Denial == nil || d.Denial.Reason() != ReasonBadSignature {
		t.Errorf("forged: %v, want %s", d.Denial, ReasonBadSignature)
	}
}

// betterAuthTokens are what a real Better Auth and its OAuth provider issued, with its key set.
type betterAuthTokens struct {
	BaseURL     string `json:"base_url"`
	Resource    string `json:"resource"`
	MCPResource string `json:"mcp_resource"`
	ClientID    string `json:"client_id"`
	IssuedAt    int64  `json:"issued_at"`
	JWKS        struct {
		Keys []map[string]any `json:"keys"`
	} `json:"jwks"`
	Plugin            string `json:"jwt_plugin"`
	AccessToken       string `json:"oauth_access_token"`
	ClientCredentials string `json:"oauth_client_credentials"`
	IDToken           string `json:"oauth_id_token"`
	Bound             string `json:"oauth_dpop_bound"`
	Proof             string `json:"dpop_proof"`
	CookieCache       string `json:"cookie_cache_jwks"`
}

func readBetterAuthTokens(t *testing.T) (tokens betterAuthTokens) {
	t.Helper()
	content, err := os.ReadFile("testdata/better-auth/tokens.json")
	if err == nil {
		err = json.Unmarshal(content, &tokens)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// Of what Better Auth itself signs, the jwt plugin's tokens alone are a user's, however wide the accepted issuers and
// audiences are.
func TestBetterAuthsOwnTokens(t *testing.T) {
	tokens := readBetterAuthTokens(t)
	oauth := tokens.BaseURL + "/api/auth"
	for _, audiences := range [][]string{{tokens.Resource}, {tokens.Resource, tokens.MCPResource, tokens.ClientID, oauth + "/oauth2/userinfo", "better-auth:session-cache"}} {
		a := startAuthorizer(t, Config{Issuer: tokens.BaseURL, Issuers: []string{tokens.BaseURL, oauth}, Audiences: audiences,
			JWKSURL: serveKeys(t, tokens.JWKS.Keys).URL, Now: func() time.Time { return time.Unix(tokens.IssuedAt, 0) }})
		for _, row := range []struct {
			title, token string
			reason       Reason
		}{
			{"the jwt plugin's", tokens.Plugin, ""},
			{"an OAuth access token", tokens.AccessToken, ReasonOAuthNotConfigured},
			{"a client's own token", tokens.ClientCredentials, ReasonOAuthNotConfigured},
			{"an ID token", tokens.IDToken, ReasonUnsupportedType},
			{"an access token that is bound to a key", tokens.Bound, ReasonProofRequired},
			{"a DPoP proof", tokens.Proof, ReasonUnsupportedType},
			{"the cookie cache", tokens.CookieCache, ReasonUnsupportedType},
		} {
			t.Run(fmt.Sprint(row.title, " for ", len(audiences)), func(t *testing.T) {
				d := judgeOne(t, a, row.token, false)
				switch {
				case row.reason == "" && d.Denial != nil:
					t.Errorf("refused: %v", d.Denial)
				case row.reason != "" && (d.Denial == nil || d.Denial.Reason() != row.reason):
					t.Errorf("%v, want %s", d.Denial, row.reason)
				}
			})
		}
	}
}
