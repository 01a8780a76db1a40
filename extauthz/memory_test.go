package extauthz

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"extauthz/extauthz/internal/bubble"
	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/decide"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/keyset"
	"extauthz/extauthz/internal/request"
	"extauthz/extauthz/internal/verified"
)

// A remembered token is judged anew at every use, in everything but its signature.
func TestRememberedTokenIsJudgedAnew(t *testing.T) {
	var clock atomic.Int64
	clock.Store(testNow.Unix())
	a := startAuthorizer(t, Config{
		JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret),
		Now: func() time.Time { return time.Unix(clock.Load(), 0) },
	})
	jwks := signers()["ed"].issue(goodClaims(map[string]any{"nbf": in(-100), "iat": in(-100), "exp": in(100)}))
	shared := hs256(goodClaims(map[string]any{"nbf": in(-100), "iat": in(-100), "exp": in(100)}))
	check := func(at int64, wantJWKS, wantShared Reason) {
		t.Helper()
		clock.Store(at)
		expectReason(t, checkToken(t, a, jwks), wantJWKS)
		expectReason(t, checkToken(t, a, shared), wantShared)
	}
	check(in(0), "", "")
	if got := a.memory.Stats().Tokens; got != 2 {
		t.Fatalf("%d remembered, want 2", got)
	}
	check(in(99), "", "")
	check(in(100), "", ReasonExpired)
	check(in(159), "", ReasonExpired)
	check(in(160), ReasonExpired, ReasonExpired)
	check(in(0), "", "") // a clock that was set back
	check(in(-101), "", ReasonNotYetValid)
	check(in(-161), ReasonNotYetValid, ReasonNotYetValid)
}

// A key that was withdrawn stops at once, remembered or not (GHSA-675f-rq2r-jw82); one that is fetched
// again unchanged does not make anybody verify anew; one that changed under its kid counts as another.
func TestRememberedTokenNeedsItsKey(t *testing.T) {
	s := signers()
	ed, other := s["ed"], s["stranger"]
	issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
	withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
		token := ed.issue(goodClaims(map[string]any{"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}))
		refetch := func(keys ...map[string]any) {
			issuer.set(keys...)
			time.Sleep(keyset.RefreshInterval)
		}
		expectReason(t, checkToken(t, a, token), "")
		proof := a.memory.Find(verified.Of(checkwire.Bytes(token)))
		refetch(ed.jwk(nil), s["es256"].jwk(nil))
		expectReason(t, checkToken(t, a, token), "")
		if a.memory.Find(verified.Of(checkwire.Bytes(token))) != proof {
			t.Error("verified anew though its key is the same")
		}
		refetch(s["es256"].jwk(nil))
		expectReason(t, checkToken(t, a, token), ReasonUnknownKey)
		if a.memory.Find(verified.Of(checkwire.Bytes(token))) != nil {
			t.Error("still remembered though its key was withdrawn")
		}
		refetch(ed.jwk(nil))
		expectReason(t, checkToken(t, a, token), "")
		refetch(other.jwk(nil)) // the same kid, another key
		expectReason(t, checkToken(t, a, token), ReasonBadSignature)
	})
}

// A clock that is set forth and back changes what is expired and what is too old, remembered or not, and breaks nothing.
func TestClockGoesBackAndForth(t *testing.T) {
	clock := &atomic.Int64{}
	set := func(seconds int) { clock.Store(testNow.Add(time.Duration(seconds) * time.Second).UnixNano()) }
	set(0)
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t),
		Now: func() time.Time { return time.Unix(0, clock.Load()) }})
	tokens := []string{signers()["ed"].issue(goodClaims(nil)), hs256(goodClaims(nil)), liveToken} // good for 900 s, 900 s and 3,600 s
	for range 2 {
		for _, row := range []struct {
			seconds int
			want    [3]Reason
		}{
			{0, [3]Reason{}},
			{930, [3]Reason{"", ReasonExpired, ""}}, // within the leeway, which is the JWKS's alone
			{-40, [3]Reason{"", ReasonIssuedInFuture, ""}},
			{1000, [3]Reason{ReasonExpired, ReasonExpired, ""}},
			{-7 * 24 * 3600, [3]Reason{ReasonIssuedInFuture, ReasonIssuedInFuture, ""}},
			{4000, [3]Reason{ReasonExpired, ReasonExpired, ReasonExpired}},
			{0, [3]Reason{}},
		} {
			set(row.seconds)
			for i, token := range tokens {
				if reason := checkToken(t, a, token); reason != row.want[i] {
					t.Errorf("%d s away, token %d: reason %q, want %q", row.seconds, i, reason, row.want[i])
				}
			}
		}
	}
}

// Keys that are too old are no keys, for a remembered token either.
func TestRememberedTokenNeedsFreshKeys(t *testing.T) {
	ed := signers()["ed"]
	issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
	bubble.Test(t, func(t *testing.T) {
		ahead := atomic.Int64{} // of the time in which the issuer is asked, so that it is not asked for a whole day
		a := startAuthorizer(t, Config{JWKSURL: "https://issuer.test/jwks", Client: &http.Client{Transport: issuer}, budget: decide.TimeBudget,
			Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
		token := ed.issue(goodClaims(map[string]any{"iat": time.Now().Unix(), "exp": time.Now().Add(48 * time.Hour).Unix()}))
		expectReason(t, checkToken(t, a, token), "")
		issuer.setAnswer(func(*http.Request) (*http.Response, error) { return httpAnswer(500, nil), nil })
		fetches := issuer.count()
		time.Sleep(5 * time.Minute)
		if failed := issuer.count() - fetches; failed < 100 {
			t.Errorf("%d fetches failed meanwhile", failed)
		}
		ahead.Store(int64(keyset.MaxKeySetAge - 6*time.Minute))
		expectReason(t, checkToken(t, a, token), "")
		time.Sleep(2 * time.Minute)
		expectReason(t, checkToken(t, a, token), ReasonJWKSUnavailable)
	})
}

// Nothing is remembered but what was allowed, and the memory can be turned off.
func TestOnlyAllowedTokensAreRemembered(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t)})
	allowed := map[string]bool{}
	for _, row := range verdictTable() {
		if _, err := a.Check(t.Context(), wire["headers"](row.method, row.headers)); err != nil {
			t.Fatal(err)
		}
		if row.reason == "" && row.want.Method != identity.MethodSession {
			for _, h := range row.headers {
				if token, isBearer := credential.BearerToken(h.value); h.name == "authorization" && isBearer {
					allowed[token] = true
				}
			}
		}
	}
	if got := a.memory.Stats().Tokens; got != len(allowed) {
		t.Errorf("%d remembered, want the %d that were allowed by a signature", got, len(allowed))
	}
	off := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, RememberedTokens: -1})
	expectReason(t, checkToken(t, off, signers()["ed"].issue(goodClaims(nil))), "")
	if off.memory != nil {
		t.Error("there is a memory though it is turned off")
	}
}

// A token that differs from a remembered one in a single character is another token.
func TestRememberedTokenIsTheWholeToken(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL})
	token := signers()["ed"].issue(goodClaims(nil))
	expectReason(t, checkToken(t, a, token), "")
	for i := range token {
		changed := []byte(token)
		if changed[i]++; string(changed) == token {
			continue
		}
		if reason := checkToken(t, a, string(changed)); reason == "" {
			t.Fatalf("allowed with another character at %d", i)
		}
	}
}

// proofFor is a remembered token as large as Better Auth's are.
func proofFor(i int) (entry *verified.Entry[issuer.Proof], digest verified.Digest) {
	identity := Identity{
		Subject: fmt.Sprintf("user-%027d", i), Email: fmt.Sprintf("user%d@example.com", i), Name: "Zoë Day", Method: identity.MethodJWKS,
		IssuedAt: testNow, ExpiresAt: testNow.Add(time.Hour),
	}
	entry = new(verified.Entry[issuer.Proof])
	entry.Value.Times = jose.Times{Expires: jose.NumericDate(identity.ExpiresAt.Unix())}
	entry.Value.Answer = checkwire.NewAnswer(checkwire.EncodeAllow(&request.Request{}, identity))
	return entry, sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
}

// The bounds hold, and what the memory says it takes is what it takes.
func TestMemoryIsBounded(t *testing.T) {
	const tokens = 20_000
	measure := func(m *verified.Memory[issuer.Proof]) (count int, bytes uint64) {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range tokens {
			entry, digest := proofFor(i)
			m.Add(entry, digest, entry.Value.Size(), testNow.Add(time.Hour), testNow)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		return m.Stats().Tokens, after.HeapAlloc - before.HeapAlloc
	}
	m := verified.New[issuer.Proof](1<<30, 1<<30)
	count, bytes := measure(m)
	said := m.Stats().Bytes
	if count != tokens || uint64(said) < bytes || uint64(said) > 2*bytes {
		t.Errorf("%d tokens take %d bytes, and the memory says %d", count, bytes, said)
	}
	t.Logf("%d bytes a token", bytes/tokens)
	if count, _ := measure(verified.New[issuer.Proof](1000, 1<<30)); count > 1000 || count < 900 {
		t.Errorf("%d remembered, want about 1,000", count)
	}
	if count, bytes := measure(verified.New[issuer.Proof](1<<30, 4<<20)); bytes > 4<<20 || count < 2000 {
		t.Errorf("%d remembered in %d bytes, want no more than 4 MiB", count, bytes)
	}
	runtime.KeepAlive(m)
}
