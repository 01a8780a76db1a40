package extauthz

import (
	"encoding/json"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/identity"
)

// Credentials that are not supported are refused as before, with a reason that says what came; beside one that is
// supported they change nothing.
func TestUnsupportedCredentials(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t)})
	good := signers()["ed"].issue(goodClaims(nil))
	session := url.QueryEscape(signedSession(liveToken, testSecret))
	jwe := encodeSegment(`{"alg":"dir","enc":"A256CBC-HS512","kid":"k"}`) + "..aXY.Y2lwaGVy.dGFn"
	key, cache := header{"x-api-key", "sk_zhwmWQrhxHyCzUhUIiUOATFI"}, header{"cookie", "better-auth.session_data=" + jwe}
	authorization := func(value string) []header { return []header{{"authorization", value}} }
	cookies := func(value string) []header { return []header{{"cookie", value}} }
	var rows []verdict
	refused := func(reason Reason, title string, headers []header) {
		rows = append(rows, verdict{reason: reason, title: title, headers: headers})
	}
	refused(ReasonAPIKeysNotConfigured, "alone", []header{key})
	refused(ReasonAPIKeysNotConfigured, "in another case", []header{{"X-API-Key", "k"}})
	refused(ReasonAPIKeysNotConfigured, "with an empty Bearer", append(authorization("Bearer "), key))
	refused(ReasonAPIKeysNotConfigured, "with Basic", append(authorization("Basic eA=="), key))
	refused(ReasonAPIKeysNotConfigured, "with the cookie cache", []header{key, cache})
	refused(ReasonAPIKeysNotConfigured, "with an unrelated cookie", append(cookies("theme=dark"), key))
	refused(ReasonMissingCredential, "an empty key", []header{{"x-api-key", ""}})
	refused(ReasonBadSignature, "a key, and a forged JWT", append(bearer(signers()["stranger"].issue(goodClaims(nil))), key))
	refused(ReasonUnknownSession, "a key, and an unknown session", append(cookie(url.QueryEscape(signedSession(unknownToken, testSecret))), key))
	refused(ReasonUnknownSession, "a key as Bearer", bearer(key.value))
	refused(ReasonRepeatedAuthorization, "a key, and two Authorization headers", append(append(bearer(good), bearer(good)...), key))
	for _, value := range []string{"Basic dXNlcjpwYXNz", "basic dXNlcjpwYXNz", "DPoP " + good, "dpop " + good, "Digest username=x", "Token " + good, "ApiKey k", "JWT " + good, "Negotiate TlRMTVNTUAAB",
		good, liveToken, "Bearers " + good, "Bearer-Token " + good, "Unheard-of x", "Basic", ":", "Be arer " + good} {
		refused(ReasonUnsupportedScheme, value[:min(len(value), 20)], authorization(value))
	}
	for _, value := range []string{"", " ", "Bearer", "bearer ", " Bearer\t"} {
		refused(ReasonMissingCredential, "Authorization "+value, authorization(value))
	}
	refused(ReasonCookieCacheAlone, "plain", []header{cache})
	refused(ReasonCookieCacheAlone, "__Secure-", cookies("__Secure-better-auth.session_data="+jwe))
	refused(ReasonCookieCacheAlone, "with a prefix of its own", cookies("theme=dark; myapp.session_data="+jwe))
	refused(ReasonCookieCacheAlone, "in chunks", cookies("__Secure-myapp.session_data.0=abc; __Secure-myapp.session_data.1=def"))
	refused(ReasonCookieCacheAlone, "beside another Authorization", append(authorization("Basic eA=="), cache))
	refused(ReasonCookieCacheAlone, "beside an empty session cookie", cookies(credential.DefaultCookie+"=; better-auth.session_data="+jwe))
	refused(ReasonMissingCredential, "an empty cache", cookies("better-auth.session_data="))
	refused(ReasonMissingCredential, "an application's own session_data", cookies("session_data=abc"))
	refused(ReasonMissingCredential, "a longer name", cookies("better-auth.session_data_x=abc"))
	refused(ReasonStatelessSession, "an unknown session and a JWE", cookies(credential.DefaultCookie+"="+url.QueryEscape(signedSession(unknownToken, testSecret))+"; better-auth.session_data="+jwe))
	refused(ReasonStatelessSession, "in chunks", cookies("__Secure-myapp.session_data.0="+jwe+"; "+credential.DefaultCookie+"="+url.QueryEscape(signedSession(unknownToken, testSecret))))
	refused(ReasonUnknownSession, "an unknown session and a cache that is not encrypted", cookies(credential.DefaultCookie+"="+url.QueryEscape(signedSession(unknownToken, testSecret))+"; better-auth.session_data="+credential.CompactCache))
	refused(ReasonUnknownSession, "an unknown Bearer token and a JWE", append(bearer(unknownToken), cache))
	refused(ReasonExpired, "an expired session and a JWE", cookies(credential.DefaultCookie+"="+url.QueryEscape(signedSession(expiredToken, testSecret))+"; better-auth.session_data="+jwe))
	refused(ReasonBadSignature, "a forged cookie and a JWE", cookies(credential.DefaultCookie+"="+url.QueryEscape(signedSession(liveToken, "x"))+"; better-auth.session_data="+jwe))
	refused(ReasonEncryptedToken, "a JWE", bearer(jwe))
	refused(ReasonEncryptedToken, "a JWE with a key of its own", bearer(encodeSegment(`{"alg":"RSA-OAEP","enc":"A256GCM"}`)+".a2V5.aXY.Y2lwaGVy.dGFn"))
	refused(ReasonMalformedCredential, "five parts, and no enc", bearer(encodeSegment(`{"alg":"dir"}`)+"..aXY.Y2lwaGVy.dGFn"))
	refused(ReasonMalformedCredential, "six parts", bearer(jwe+".x"))
	refused(ReasonUnsupportedType, "the compact cache", bearer(encodeSegment(`{"session":{"session":{},"user":{}},"expiresAt":1}`)))
	rows = append(rows,
		verdict{title: "a key, and a good JWT", headers: append(bearer(good), key), want: Identity{Subject: "user-1", Method: identity.MethodJWKS}},
		verdict{title: "a key, and a good cookie", headers: append(cookie(session), key), want: Identity{Subject: "user-2", Method: identity.MethodSession}},
		verdict{title: "a good cookie and its cache", headers: cookies(credential.DefaultCookie + "=" + session + "; better-auth.session_data=" + jwe), want: Identity{Subject: "user-2", Method: identity.MethodSession}},
		verdict{title: "DPoP, and a good cookie", headers: append(authorization("DPoP x"), cookie(session)...), want: Identity{Subject: "user-2", Method: identity.MethodSession}},
	)
	for _, row := range rows {
		for wireName, request := range wire {
			t.Run(string(row.reason)+"/"+row.title+"/"+wireName, func(t *testing.T) {
				in := request("GET", row.headers)
				response, err := a.Check(t.Context(), in)
				if err != nil {
					t.Fatal(err)
				}
				if row.reason == "" {
					expectAllowed(t, response, row.want)
					return
				}
				expectDenial(t, response, row.reason)
				// Nothing of it is shown where it could be a secret.
				r := checkwire.ReadRequest(in)
				d := a.decide(t.Context(), &r)
				for _, secret := range []string{good, liveToken, unknownToken, jwe, key.value, "dXNlcjpwYXNz"} {
					if strings.Contains(d.Denial.Error(), secret) {
						t.Errorf("the denial shows a credential: %v", d.Denial)
					}
				}
			})
		}
	}
}

// The cookies of real browsers, signed in at a real Better Auth whose sessions are not in this database.
func TestBetterAuthsCookieCaches(t *testing.T) {
	var cookies map[string]string
	content, err := os.ReadFile("testdata/better-auth/cookies.json")
	if err == nil {
		err = json.Unmarshal(content, &cookies)
	}
	if err != nil {
		t.Fatal(err)
	}
	config := Config{JWKSURL: serveKeys(t, readBetterAuthTokens(t).JWKS.Keys).URL, Secret: []byte(cookies["secret"]),
		Now: func() time.Time { return time.Unix(1795569110, 0) }} // some seconds after they were set
	without := startAuthorizer(t, config)
	config.DatabaseURL = sessionsDatabase(t)
	with := startAuthorizer(t, config)
	for _, row := range []struct {
		strategy                string
		with, without, asBearer Reason
	}{
		{strategy: "compact", with: ReasonUnknownSession, without: ReasonSessionsNotConfigured, asBearer: ReasonUnsupportedType},
		{strategy: "jwt", with: ReasonUnknownSession, without: ReasonSessionsNotConfigured, asBearer: ReasonWrongIssuer},
		{strategy: "jwt_by_jwks", with: ReasonUnknownSession, without: ReasonSessionsNotConfigured, asBearer: ReasonUnsupportedType},
		{strategy: "jwe", with: ReasonStatelessSession, without: ReasonStatelessSession, asBearer: ReasonEncryptedToken},
		{strategy: "stateless", with: ReasonStatelessSession, without: ReasonStatelessSession, asBearer: ReasonEncryptedToken},
	} {
		t.Run(row.strategy, func(t *testing.T) {
			pairs := strings.Split(cookies[row.strategy], "; ")
			i := slices.IndexFunc(pairs, func(pair string) bool { return strings.Contains(pair, "session_data=") })
			_, value, _ := strings.Cut(pairs[i], "=")
			for _, check := range []struct {
				a       *Authorizer
				headers []header
				want    Reason
			}{
				{with, []header{{"cookie", cookies[row.strategy]}}, row.with},
				{without, []header{{"cookie", cookies[row.strategy]}}, row.without},
				{with, []header{{"cookie", pairs[i]}}, ReasonCookieCacheAlone},
				{with, bearer(value), row.asBearer},
			} {
				for _, request := range wire {
					response, err := check.a.Check(t.Context(), request("GET", check.headers))
					if err != nil {
						t.Fatal(err)
					}
					expectDenial(t, response, check.want)
				}
			}
		})
	}
}
