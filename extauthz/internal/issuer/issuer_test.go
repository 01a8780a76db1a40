package issuer_test

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/issuers"
	"extauthz/extauthz/internal/jose/jwk"
	"extauthz/extauthz/internal/keyset"
	"extauthz/extauthz/internal/keyset/jwks"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/secret"
	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/verified"
)

const (
	ours     = "https://app.example.com"
	audience = "https://api.example.com"
	former   = "the-secret-before-of-32-characters!!"
	current  = "the-secret-of-today-of-32-characters"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// unobserved is an observer that is told and keeps nothing.
type unobserved struct{}

func (unobserved) Fetched(string, time.Duration)                               {}
func (unobserved) Now() (zero time.Time)                                       { return zero }
func (unobserved) Waited(context.Context, time.Time, time.Time, string, error) {}

// answered is an answer that is the identity itself.
type answered identity.Identity

func (a answered) Identity() identity.Identity { return identity.Identity(a) }
func (a answered) Size() int                   { return 1 }

// rows is a store that knows these sessions; a nil row is an outage.
type rows map[string]*session.Row

func (r rows) Session(_ context.Context, token string) (*session.Row, error) {
	row, known := r[token]
	if known && row == nil {
		return nil, errors.New("down")
	}
	return row, nil
}

// bench is one issuer whose parts are changed by hand: no fetch, no database, and a clock that stands.
type bench struct {
	*issuer.Issuer
	private ed25519.PrivateKey
	key     *jwk.Key
	now     time.Time
}

func newBench(t testing.TB, change func(*issuer.Parts)) *bench {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{private: private, now: noon, key: &jwk.Key{ID: "one", Algorithm: "EdDSA", Public: public}}
	clock := func() time.Time { return b.now }
	panics := guard.New(slog.New(slog.DiscardHandler), func(string) {})
	parts := issuer.Parts{
		Accepted: []string{ours}, Audiences: []string{audience}, Cookie: "better-auth.session_token",
		Keys:    keyset.New(jwks.New(ours+"/jwks", "test", nil, nil), clock, panics, unobserved{}),
		Secrets: secretSet(secret.Secrets{Current: []byte(current), Former: [][]byte{[]byte(former)}}, nil),
		Memory:  verified.New[issuer.Proof](1<<10, 1<<20), Now: clock,
		Detach: checkwire.Detach,
		Digest: func(token string) verified.Digest { return verified.Of(checkwire.Bytes(token)) },
		Answer: func(who identity.Identity) issuer.Answer { return answered(who) },
	}
	if change != nil {
		change(&parts)
	}
	b.Issuer = issuer.New(parts)
	b.list(b.key)
	return b
}

func secretSet(secrets secret.Secrets, earlier *secret.Set) *secret.Set {
	return secret.New(secrets, earlier, func(secret.Use) {})
}

// replaceSecrets puts a successor in force that has other secrets.
func (b *bench) replaceSecrets(secrets secret.Secrets) {
	parts := b.Parts
	parts.Secrets = secretSet(secrets, parts.Secrets)
	b.Issuer = issuer.New(parts)
}

// inForce is the issuer as the only one.
func (b *bench) inForce() *issuers.Set { return issuers.NewSet([]*issuer.Issuer{b.Issuer}, b.Memory) }

// list has the issuer list these keys from now on.
func (b *bench) list(keys ...*jwk.Key) {
	listed := make(map[string]*jwk.Key)
	for _, key := range keys {
		listed[key.ID] = key
	}
	b.Keys.Current.Store(&keyset.Snapshot{Keys: listed, Fetched: b.now})
}

// claims are good ones, with changes laid over them; nil removes a claim.
func claims(changes map[string]any) string {
	all := map[string]any{"iss": ours, "aud": audience, "sub": "user-1", "iat": noon.Unix() - 10, "exp": noon.Unix() + 900}
	for name, value := range changes {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func token(header, payload string, sign func([]byte) []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(header)) + "." + encode([]byte(payload))
	return signed + "." + encode(sign([]byte(signed)))
}

// issued is a token by the issuer's key.
func (b *bench) issued(changes map[string]any) string {
	return token(`{"alg":"EdDSA","kid":"one"}`, claims(changes), func(signed []byte) []byte { return ed25519.Sign(b.private, signed) })
}

func mac(secret string, message []byte) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(message)
	return mac.Sum(nil)
}

// shared is a token by a secret.
func shared(secret string, changes map[string]any) string {
	return token(`{"alg":"HS256"}`, claims(changes), func(signed []byte) []byte { return mac(secret, signed) })
}

// judged is the reason that a credential is refused for, empty where it is allowed.
func (b *bench) judged(t testing.TB, presented issuer.Recognized, err error) reason.Reason {
	t.Helper()
	if err == nil {
		// No test waits for a fetch: nobody fetches here.
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = b.Verify(ctx, presented)
	}
	if err == nil {
		return ""
	}
	return reason.Of(err).Reason()
}

func (b *bench) bearer(t testing.TB, text string) reason.Reason {
	t.Helper()
	presented, err := b.Kinds.Recognize(credential.Presented{Text: text})
	return b.judged(t, presented, err)
}

func (b *bench) cookie(t testing.TB, text string) reason.Reason {
	t.Helper()
	presented, err := b.Kinds.Recognize(credential.Presented{Text: text, Cookie: true})
	return b.judged(t, presented, err)
}

// recalled tells whether a token is remembered, and the reason that it is refused for then.
func (b *bench) recalled(token string) (isRemembered bool, why reason.Reason) {
	proof, _, err := b.inForce().Recall(token)
	if proof == nil {
		return false, ""
	}
	if err != nil {
		why = reason.Of(err).Reason()
	}
	return true, why
}

func (b *bench) expectRecalled(t *testing.T, token string, why reason.Reason) {
	t.Helper()
	if is, got := b.recalled(token); !is || got != why {
		t.Errorf("remembered: %t, reason %q; expected reason %q", is, got, why)
	}
}

func (b *bench) expectForgotten(t *testing.T, token string) {
	t.Helper()
	if is, got := b.recalled(token); is {
		t.Errorf("still remembered, reason %q", got)
	}
}

// What is remembered of a token is its signature alone: each time that counts is judged at each use.
func TestRecallJudgesTimes(t *testing.T) {
	b := newBench(t, nil)
	times := map[string]any{"nbf": noon.Unix() - 20, "iat": noon.Unix() - 10, "exp": noon.Unix() + 100}
	early := map[string]any{"iat": noon.Unix() - 10, "exp": noon.Unix() + 100}
	byKey, bySecret, issued := b.issued(times), shared(current, times), b.issued(early)
	for _, text := range []string{byKey, bySecret, issued} {
		if why := b.bearer(t, text); why != "" {
			t.Fatal(why)
		}
	}
	for _, row := range []struct {
		seconds                 int
		byKey, bySecret, issued reason.Reason
	}{
		{0, "", "", ""},
		{99, "", "", ""},
		{100, "", reason.Expired, ""}, // the leeway is for the issuer's clock, not for services next door
		{159, "", reason.Expired, ""},
		{160, reason.Expired, reason.Expired, reason.Expired},
		{-11, "", reason.IssuedInFuture, ""},
		{-21, "", reason.NotYetValid, ""},
		{-71, reason.IssuedInFuture, reason.NotYetValid, reason.IssuedInFuture},
		{-81, reason.NotYetValid, reason.NotYetValid, reason.IssuedInFuture},
	} {
		b.now = noon.Add(time.Duration(row.seconds) * time.Second)
		for text, expected := range map[string]reason.Reason{byKey: row.byKey, bySecret: row.bySecret, issued: row.issued} {
			if is, got := b.recalled(text); !is || got != expected {
				t.Errorf("after %d s: remembered %t, reason %q; expected %q", row.seconds, is, got, expected)
			}
		}
	}
}

// A remembered token needs its very key in the key set that counts now, and that set must not be too old.
func TestRecallNeedsTheKey(t *testing.T) {
	b := newBench(t, nil)
	text := b.issued(map[string]any{"exp": noon.Add(72 * time.Hour).Unix()})
	remember := func() {
		t.Helper()
		b.list(b.key)
		if why := b.bearer(t, text); why != "" {
			t.Fatal(why)
		}
		b.expectRecalled(t, text, "")
	}
	remember()
	b.list(b.key, &jwk.Key{ID: "two", Algorithm: "EdDSA", Public: b.key.Public})
	b.expectRecalled(t, text, "")

	b.list()
	b.expectForgotten(t, text)
	b.list(b.key)
	b.expectForgotten(t, text) // what was forgotten is verified anew

	remember()
	another := *b.key
	b.list(&another) // the same kid, and not the key that verified it
	b.expectForgotten(t, text)

	remember()
	b.Keys.Current.Store(nil)
	b.expectForgotten(t, text)

	remember()
	b.now = noon.Add(keyset.MaxKeySetAge)
	b.expectForgotten(t, text)
	if why := b.bearer(t, text); why == "" {
		t.Error("verified by keys that are too old")
	}
}

// A remembered token needs its very secret in force, for tokens and not for sessions alone.
func TestRecallNeedsTheSecret(t *testing.T) {
	for title, row := range map[string]struct {
		then         secret.Secrets
		isRemembered bool
	}{
		"the same":                   {secret.Secrets{Current: []byte(current)}, true},
		"another":                    {secret.Secrets{Current: []byte(former)}, false},
		"none":                       {secret.Secrets{}, false},
		"a former one":               {secret.Secrets{Current: []byte(former), Former: [][]byte{[]byte(current)}}, false},
		"a former one, for sessions": {secret.Secrets{Current: []byte(former), Former: [][]byte{[]byte(current)}, FormerForSessions: true}, false},
		"a former one, for tokens":   {secret.Secrets{Current: []byte(former), Former: [][]byte{[]byte(current)}, FormerForHS256: true}, true},
	} {
		t.Run(title, func(t *testing.T) {
			b := newBench(t, nil)
			text := shared(current, nil)
			if why := b.bearer(t, text); why != "" {
				t.Fatal(why)
			}
			b.replaceSecrets(row.then)
			if is, why := b.recalled(text); is != row.isRemembered || why != "" {
				t.Errorf("remembered %t, reason %q", is, why)
			}
			expected := reason.BadSignature
			switch {
			case row.isRemembered:
				expected = ""
			case len(row.then.Current) == 0:
				expected = reason.SecretNotConfigured
			}
			if got := b.bearer(t, text); got != expected {
				t.Errorf("judged anew: reason %q, expected %q", got, expected)
			}
		})
	}
}

// What is refused is not remembered; nor is what is only explained.
func TestOnlyWhatIsAllowedIsRemembered(t *testing.T) {
	b := newBench(t, nil)
	for title, text := range map[string]string{
		"wrong issuer":   b.issued(map[string]any{"iss": "https://other.example.com"}),
		"no issuer":      b.issued(map[string]any{"iss": nil}),
		"wrong audience": b.issued(map[string]any{"aud": "https://other.example.com"}),
		"no subject":     b.issued(map[string]any{"sub": nil}),
		"expired":        b.issued(map[string]any{"exp": noon.Unix() - 60}),
		"bad signature":  shared(former, nil),
	} {
		if why := b.bearer(t, text); why == "" {
			t.Errorf("%s: allowed", title)
		}
		b.expectForgotten(t, text)
	}
	explained := b.issued(nil)
	if e := b.inForce().Explain(t.Context(), credential.Presented{Text: explained}); e.Denial != nil {
		t.Fatal(e.Denial)
	}
	b.expectForgotten(t, explained)
}

// A header cannot choose how its token is verified: the key decides, and a key with a fault decides against it.
func TestTheKeyDecides(t *testing.T) {
	b := newBench(t, nil)
	sign := func(signed []byte) []byte { return ed25519.Sign(b.private, signed) }
	byHeader := func(header string) reason.Reason { return b.bearer(t, token(header, claims(nil), sign)) }
	faulty := *b.key
	faulty.ID, faulty.Fault = "faulty", "for a test"
	b.list(b.key, &faulty)
	for header, expected := range map[string]reason.Reason{
		`{"alg":"EdDSA","kid":"one"}`:    "",
		`{"alg":"ES256","kid":"one"}`:    reason.KeyAlgorithmMismatch,
		`{"alg":"HS256","kid":"one"}`:    reason.BadSignature,
		`{"alg":"EdDSA","kid":"faulty"}`: reason.UnusableKey,
		`{"alg":"EdDSA"}`:                reason.MissingKeyID,
		`{"alg":"EdDSA","kid":""}`:       reason.MissingKeyID,
		`{"alg":"EdDSA","kid":"other"}`:  reason.TimeBudgetSpent, // nobody fetches here
	} {
		if got := byHeader(header); got != expected {
			t.Errorf("%s: reason %q, expected %q", header, got, expected)
		}
	}
	if why := b.bearer(t, token(`{"alg":"EdDSA","kid":"one"}`, claims(nil), func(signed []byte) []byte {
		return ed25519.Sign(b.private, append(signed, '.'))
	})); why != reason.BadSignature {
		t.Errorf("a signature over other bytes: reason %q", why)
	}
}

// What a session's row says is judged by the clock here; a cookie is always signed; an outage is none of the client's.
func TestSessions(t *testing.T) {
	signed := func(token, secret string) string {
		return token + "." + base64.StdEncoding.EncodeToString(mac(secret, []byte(token)))
	}
	store := rows{
		"live":    {ExpiresAt: noon.Add(time.Hour), UserID: "user-1"},
		"now":     {ExpiresAt: noon, UserID: "user-1"}, // as Better Auth has it: not before now
		"expired": {ExpiresAt: noon.Add(-time.Microsecond), UserID: "user-1"},
		"odd":     {ExpiresAt: noon.Add(time.Hour), UserID: "user\r\n1"},
		"nobody":  {ExpiresAt: noon.Add(time.Hour)},
		"down":    nil,
	}
	with := func(change func(*issuer.Parts)) *bench {
		return newBench(t, func(p *issuer.Parts) {
			p.Sessions = store
			if change != nil {
				change(p)
			}
		})
	}
	plain, without, strict, forSessions := with(nil), with(func(p *issuer.Parts) { p.Secrets = secretSet(secret.Secrets{}, nil) }),
		with(func(p *issuer.Parts) { p.RequireSignature = true }), with(func(p *issuer.Parts) {
			p.Secrets = secretSet(secret.Secrets{Current: []byte(current), Former: [][]byte{[]byte(former)}, FormerForSessions: true}, nil)
		})
	forTokens := with(func(p *issuer.Parts) {
		p.Secrets = secretSet(secret.Secrets{Current: []byte(current), Former: [][]byte{[]byte(former)}, FormerForHS256: true}, nil)
	})
	for title, row := range map[string]struct {
		got, expected reason.Reason
	}{
		"live":                                  {plain.bearer(t, "live"), ""},
		"expires now":                           {plain.bearer(t, "now"), ""},
		"expired":                               {plain.bearer(t, "expired"), reason.Expired},
		"unknown":                               {plain.bearer(t, "unknown"), reason.UnknownSession},
		"an odd user":                           {plain.bearer(t, "odd"), reason.MissingSubject},
		"no user":                               {plain.bearer(t, "nobody"), reason.MissingSubject},
		"an outage":                             {plain.bearer(t, "down"), reason.DatabaseUnavailable},
		"signed":                                {plain.bearer(t, signed("live", current)), ""},
		"signed by another":                     {plain.bearer(t, signed("live", former)), reason.BadSignature},
		"another's signature":                   {plain.bearer(t, "live"+signed("now", current)[len("now"):]), reason.BadSignature},
		"a former signature for sessions":       {forSessions.bearer(t, signed("live", former)), ""},
		"a former signature for tokens":         {forTokens.bearer(t, signed("live", former)), reason.BadSignature},
		"a former secret's token, for sessions": {forSessions.bearer(t, shared(former, nil)), reason.BadSignature},
		"a former secret's token, for tokens":   {forTokens.bearer(t, shared(former, nil)), ""},
		"a cookie":                              {plain.cookie(t, signed("live", current)), ""},
		"a cookie by another":                   {plain.cookie(t, signed("live", former)), reason.BadSignature},
		"an unsigned cookie":                    {plain.cookie(t, "live"), reason.UnsignedCookie},
		"a cookie without a secret":             {without.cookie(t, signed("live", current)), reason.SecretNotConfigured},
		"raw, where it must be signed":          {strict.bearer(t, "live"), reason.UnsignedToken},
		"signed, where it must be":              {strict.bearer(t, signed("live", current)), ""},
		"no store":                              {newBench(t, nil).bearer(t, "live"), reason.SessionsNotConfigured},
	} {
		if row.got != row.expected {
			t.Errorf("%s: reason %q, expected %q", title, row.got, row.expected)
		}
	}
}

// BenchmarkRecall is what a check of a remembered token costs beyond its message.
func BenchmarkRecall(b *testing.B) {
	bench := newBench(b, nil)
	text := bench.issued(nil)
	if why := bench.bearer(b, text); why != "" {
		b.Fatal(why)
	}
	inForce := bench.inForce()
	b.ReportAllocs()
	for b.Loop() {
		if proof, _, err := inForce.Recall(text); proof == nil || err != nil {
			b.Fatal(proof, err)
		}
	}
}
