package extauthz

import (
	"errors"
	"fmt"
	"net/url"
	"testing"
)

// With RequireSignature a session token passes in the spellings in which Better Auth's bearer({ requireSignature:
// true }) takes it, and without it in those of bearer().
func TestRequireSignatureAsBetterAuth(t *testing.T) {
	var answers []struct {
		RequireSignature   bool
		Title, Token, Text string
		Allowed            bool
	}
	runBetterAuth(t, "signature.mjs", nil, &answers)
	dsn := sessionsDatabase(t)
	known := map[string]bool{}
	for _, answer := range answers {
		if !known[answer.Token] {
			known[answer.Token] = true
			execute(t, dsn, fmt.Sprintf(`insert into "session" ("id", "expiresAt", "token", "updatedAt", "userId") values ('%s', to_timestamp(%d), '%[1]s', now(), 'user-2')`, answer.Token, in(3600)))
		}
	}
	keys := serveKeys(t, testKeys()).URL
	servers := map[bool]*Authorizer{}
	for _, required := range []bool{true, false} {
		servers[required] = startAuthorizer(t, Config{JWKSURL: keys, Secret: []byte(testSecret), DatabaseURL: dsn, RequireSignature: required})
	}
	passed := 0
	for _, answer := range answers {
		d := judgeOne(t, servers[answer.RequireSignature], answer.Text, false)
		if isAllowed := d.Denial == nil; isAllowed != answer.Allowed {
			t.Errorf("%s, required %t: %v, Better Auth allows: %t", answer.Title, answer.RequireSignature, d.Denial, answer.Allowed)
		}
		if answer.Allowed {
			passed++
		}
		if answer.RequireSignature && answer.Title == "raw" && (d.Denial == nil || d.Denial.Reason() != ReasonUnsignedToken) {
			t.Errorf("raw: %v, want %s", d.Denial, ReasonUnsignedToken)
		}
	}
	if passed != 5 {
		t.Errorf("Better Auth allows %d, want 5: signed and encoded twice, and raw once", passed)
	}
}

// A raw token is refused before the database is asked, which here is down; a secret that goes away later refuses what
// it would have checked.
func TestRequireSignatureAsksNobody(t *testing.T) {
	config := Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: "postgresql://x@127.0.0.1:1/none", RequireSignature: true}
	a := runAuthorizer(t, config)
	want := func(token string, isCookie bool, reason Reason) {
		t.Helper()
		if d := judgeOne(t, a, token, isCookie); d.Denial == nil || d.Denial.Reason() != reason {
			t.Errorf("%v, want %s", d.Denial, reason)
		}
	}
	want(liveToken, false, ReasonUnsignedToken)
	want(unknownToken, false, ReasonUnsignedToken)
	want(url.QueryEscape("a/b+c"), false, ReasonUnsignedToken)
	want(signedSession(liveToken, "another"), false, ReasonBadSignature)
	want(liveToken, true, ReasonUnsignedCookie)
	if d := judgeOne(t, a, hs256(goodClaims(nil)), false); d.Denial != nil {
		t.Errorf("a JWT: %v", d.Denial)
	}
	explanation := a.Explain(t.Context(), Bearer(liveToken))
	if explanation.Denial == nil || explanation.Denial.Reason() != ReasonUnsignedToken {
		t.Errorf("explained as %v", explanation.Denial)
	}
	a.SetSecrets(nil, nil)
	want(liveToken, false, ReasonUnsignedToken)
	want(signedSession(liveToken, testSecret), false, ReasonSecretNotConfigured)
	want(signedSession(liveToken, testSecret), true, ReasonSecretNotConfigured)

	config.Issuer, config.Audiences, config.Secret = testIssuer, []string{testAudience}, nil
	_, err := New(config)
	if fault, ok := errors.AsType[*ConfigError](err); !ok || fault.Field != "RequireSignature" {
		t.Errorf("without a secret: %v", err)
	}
}
