package extauthz

import (
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/keyset"
)

// A secret is rotated under load: no credential that is in force fails at any moment, what only a former secret
// signed counts where that was asked for and nowhere else, each such use is counted, and none after the secret has gone.
func TestSecretsRotate(t *testing.T) {
	const oldSecret, newSecret = "the-old-secret-of-more-than-32-characters", "the-new-secret-of-more-than-32-characters"
	dsn := sessionsDatabase(t)
	tokenBy := func(secret string) string {
		return jwtOf(object(member("alg", "HS256")), goodClaims(nil), hmacOf(secret))
	}
	type verdicts struct{ oldToken, newToken, oldSession, newSession, oldCookie Reason }
	for _, row := range []struct {
		title           string
		hs256, sessions bool
		during          verdicts
	}{
		{"for nothing", false, false, verdicts{oldToken: ReasonBadSignature, oldSession: ReasonBadSignature, oldCookie: ReasonBadSignature}},
		{"for HS256", true, false, verdicts{oldSession: ReasonBadSignature, oldCookie: ReasonBadSignature}},
		{"for sessions", false, true, verdicts{oldToken: ReasonBadSignature}},
		{"for both", true, true, verdicts{}},
	} {
		t.Run(row.title, func(t *testing.T) {
			a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn,
				Secret: []byte(oldSecret), FormerForHS256: row.hs256, FormerForSessions: row.sessions})
			checkCookie := func(value string) Reason {
				return reasonIn(decidedByCheck(t, a, wire["headers"]("GET", cookie(url.QueryEscape(value)))))
			}
			checkToken := func(token string) Reason { return reasonIn(decidedByCheck(t, a, bearerRequest(token))) }
			expect := func(when string, want verdicts) {
				t.Helper()
				for range 2 { // new, and remembered
					got := verdicts{
						checkToken(tokenBy(oldSecret)), checkToken(tokenBy(newSecret)),
						checkToken(signedSession(liveToken, oldSecret)), checkToken(signedSession(liveToken, newSecret)),
						checkCookie(signedSession(liveToken, oldSecret)),
					}
					if got != want {
						t.Errorf("%s: %+v, want %+v", when, got, want)
					}
				}
			}
			uses := func() float64 {
				return testutil.ToFloat64(a.only().metrics.FormerSecrets[identity.MethodHS256]) + testutil.ToFloat64(a.only().metrics.FormerSecrets[identity.MethodSession])
			}
			expect("before", verdicts{newToken: ReasonBadSignature, newSession: ReasonBadSignature})
			if uses() != 0 {
				t.Errorf("%v uses of a former secret before there is one", uses())
			}
			a.SetSecrets([]byte(newSecret), [][]byte{[]byte(oldSecret)})
			expect("during", row.during)
			wantUses := 0.0
			for _, reason := range []Reason{row.during.oldToken, row.during.oldSession, row.during.oldCookie} {
				if reason == "" {
					wantUses += 2
				}
			}
			if uses() != wantUses {
				t.Errorf("%v uses of the former secret, want %v", uses(), wantUses)
			}
			a.SetSecrets([]byte(newSecret), nil)
			expect("after", verdicts{oldToken: ReasonBadSignature, oldSession: ReasonBadSignature, oldCookie: ReasonBadSignature})
			a.SetSecrets(nil, nil)
			if reason := checkToken(tokenBy(newSecret)); reason != ReasonSecretNotConfigured {
				t.Errorf("without any secret: %q", reason)
			}
		})
	}
	t.Run("under load", func(t *testing.T) {
		a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(oldSecret), FormerForHS256: true})
		var load sync.WaitGroup
		var stop atomic.Bool
		for range 4 {
			load.Go(func() {
				for !stop.Load() {
					if reason := checkToken(t, a, tokenBy(oldSecret)); reason != "" {
						t.Errorf("refused as %s while the secret is current or former", reason)
						return
					}
				}
			})
		}
		for range 100 {
			a.SetSecrets([]byte(newSecret), [][]byte{[]byte(oldSecret)})
			time.Sleep(time.Millisecond)
			a.SetSecrets([]byte(oldSecret), [][]byte{[]byte(newSecret)})
		}
		stop.Store(true)
		load.Wait()
	})
}

// The secrets and what former ones are good for are swapped as one: while they change back and forth, a token that
// one of the two states refuses and the other allows for another reason never meets half of each.
func TestSecretsAndTheirUsesAreOneSwap(t *testing.T) {
	const first, second = "the-first-secret-of-more-than-32-characters", "the-second-secret-of-more-than-32-characters"
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(first)})
	states := []Secrets{
		{Current: []byte(first)}, // the second counts for nothing
		{Current: []byte(second), Former: [][]byte{[]byte(first)}, FormerForHS256: true}, // both count
	}
	token := jwtOf(object(member("alg", "HS256")), goodClaims(nil), hmacOf(first))
	var load sync.WaitGroup
	var stop atomic.Bool
	for range 4 {
		load.Go(func() {
			for !stop.Load() {
				if reason := checkToken(t, a, token); reason != "" {
					t.Errorf("%s, though both states allow it", reason)
					return
				}
			}
		})
	}
	for i := range 2000 {
		a.ReplaceSecrets(states[i%2])
	}
	stop.Store(true)
	load.Wait()
	a.ReplaceSecrets(states[1])
	expectReason(t, checkToken(t, a, token), "")
	a.SetSecrets([]byte(second), [][]byte{[]byte(first)})
	expectReason(t, checkToken(t, a, token), "") // what former ones are good for stays
	a.ReplaceSecrets(Secrets{Current: []byte(second), Former: [][]byte{[]byte(first)}})
	expectReason(t, checkToken(t, a, token), ReasonBadSignature) // though it was remembered
	a.ReplaceSecrets(Secrets{})
	expectReason(t, checkToken(t, a, token), ReasonSecretNotConfigured)
}

// A fetch that somebody asks for comes at once, and takes a withdrawn key away.
func TestRefreshWithdrawsKeysNow(t *testing.T) {
	ed := signers()["ed"]
	issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
	withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
		token := ed.issue(goodClaims(map[string]any{"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}))
		expectToken(t, a, token, "")
		time.Sleep(time.Second)
		issuer.set(signers()["es256"].jwk(nil))
		expectToken(t, a, token, "")
		a.Refresh()
		time.Sleep(keyset.FetchSpacing)
		expectToken(t, a, token, ReasonUnknownKey)
	})
}
