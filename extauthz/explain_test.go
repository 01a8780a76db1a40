package extauthz

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/reason"
)

// gathered is every value of the registry but the key set's age, the connections that are up at the moment and, where
// they are not asked for, the fetches.
func gathered(t *testing.T, registry *prometheus.Registry, fetches bool) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, family := range families {
		name := family.GetName()
		if name == "extauthz_jwks_age_seconds" || strings.HasPrefix(name, "extauthz_database_connections") || !fetches && strings.HasPrefix(name, "extauthz_jwks_fetch") {
			continue
		}
		for _, metric := range family.GetMetric() {
			fmt.Fprintln(&text, name, metric)
		}
	}
	return text.String()
}

// difference is the lines of after that before does not have.
func difference(before, after string) string {
	var lines []string
	for line := range strings.Lines(after) {
		if !strings.Contains(before, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

const formerSecret = "a-former-secret-of-more-than-32-characters"

// explainable are credentials of every kind and outcome, as a client sends them.
func explainable() map[string]struct {
	text   string
	cookie bool
} {
	ed := signers()["ed"]
	type sent = struct {
		text   string
		cookie bool
	}
	byFormer := func(claims string) string { return jwtOf(object(member("alg", "HS256")), claims, hmacOf(formerSecret)) }
	return map[string]sent{
		"a JWT":                         {ed.issue(goodClaims(nil)), false},
		"an expired JWT":                {ed.issue(goodClaims(map[string]any{"exp": in(-3600)})), false},
		"a forged JWT":                  {signers()["stranger"].issue(goodClaims(nil)), false},
		"a JWT of another issuer":       {ed.issue(goodClaims(map[string]any{"iss": "x"})), false},
		"an OAuth token":                {ed.issue(goodClaims(map[string]any{"azp": "x"})), false},
		"a JWT without kid":             {jwtOf(object(member("alg", "EdDSA")), goodClaims(nil), ed.sign), false},
		"a JWT with an unknown kid":     {signer{"EdDSA", "made-up", ed.private}.issue(goodClaims(nil)), false},
		"HS256":                         {hs256(goodClaims(nil)), false},
		"HS256 by the former secret":    {byFormer(goodClaims(nil)), false},
		"HS256 by it, expired":          {byFormer(goodClaims(map[string]any{"exp": in(-1)})), false},
		"HS256 by another secret":       {jwtOf(object(member("alg", "HS256")), goodClaims(nil), hmacOf("x")), false},
		"a raw session":                 {liveToken, false},
		"a signed session":              {signedSession(liveToken, testSecret), false},
		"a session by former secret":    {signedSession(liveToken, formerSecret), false},
		"an expired session":            {expiredToken, false},
		"an unknown session":            {unknownToken, false},
		"a session by another secret":   {signedSession(liveToken, "x"), false},
		"a cookie":                      {url.QueryEscape(signedSession(liveToken, testSecret)), true},
		"a cookie by the former secret": {url.QueryEscape(signedSession(liveToken, formerSecret)), true},
	}
}

func sentCredential(text string, isCookie bool) Credential {
	if isCookie {
		return Cookie(text)
	}
	return Bearer(text)
}

// An explanation is worth nothing if asking for it changes the answer: of none is anything remembered or counted,
// whatever comes of it, and it says what the check says.
func TestExplainLeavesNoTrace(t *testing.T) {
	registry := prometheus.NewRegistry()
	// Of several connections a slow one's query is asked of another, too, and counted after its check was answered.
	served := &fakeIssuer{keys: testKeys()}
	a := startAuthorizer(t, Config{JWKSURL: "https://issuer.test/jwks", Client: &http.Client{Transport: served},
		Secret: []byte(testSecret), FormerSecrets: [][]byte{[]byte(formerSecret)}, FormerForHS256: true, FormerForSessions: true,
		DatabaseURL: sessionsDatabase(t), DatabaseConnections: 1, Metrics: registry})
	if d := judgeOne(t, a, liveToken, false); d.Denial != nil {
		t.Fatal(d.Denial)
	}
	for title, sent := range explainable() {
		t.Run(title, func(t *testing.T) {
			presented := sentCredential(sent.text, sent.cookie)
			average, stats := a.only().issuer.VerifierOf(identity.MethodJWKS).(*issuer.JwksVerifier).Gate.Usual.Load(), a.memory.Stats()
			fetches := title != "a JWT with an unknown kid" // which causes one; the issuer has seen it, and so it counts
			eventually(t, "the last fetch to be counted, which is done after its checks are answered", func() bool {
				families := gather(t, registry)
				total := 0.0
				for _, metric := range families["extauthz_jwks_fetches_total"].GetMetric() {
					total += metric.GetCounter().GetValue()
				}
				counted := sampleCount(families["extauthz_jwks_fetch_duration_seconds"])
				return int(total) == served.count() && int(counted) == served.count()
			})
			before := gathered(t, registry, fetches)
			var explanation Explanation
			for range 3 {
				explanation = a.Explain(t.Context(), presented)
			}
			if after := gathered(t, registry, fetches); after != before {
				t.Errorf("counted:\n%s", difference(before, after))
			}
			if a.memory.Stats() != stats {
				t.Errorf("remembered: %+v, before %+v", a.memory.Stats(), stats)
			}
			if now := a.only().issuer.VerifierOf(identity.MethodJWKS).(*issuer.JwksVerifier).Gate.Usual.Load(); now != average {
				t.Errorf("the average of verifications moved from %d to %d", average, now)
			}
			d := judgeOne(t, a, sent.text, sent.cookie)
			if fmt.Sprint(d.Denial) != fmt.Sprint(explanation.Denial) {
				t.Errorf("explained as %v, judged as %v", explanation.Denial, d.Denial)
			}
		})
	}
}

// Beside explanations checks are counted to the letter.
func TestExplainBesideChecks(t *testing.T) {
	registry := prometheus.NewRegistry()
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), FormerSecrets: [][]byte{[]byte(formerSecret)}, FormerForHS256: true,
		Metrics: registry, RememberedTokens: -1})
	token := jwtOf(object(member("alg", "HS256")), goodClaims(nil), hmacOf(formerSecret))
	const checks = 200
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for range checks {
				if e := a.Explain(t.Context(), Bearer(token)); e.Denial != nil {
					t.Error(e.Denial)
				}
			}
		})
		work.Go(func() {
			for range checks {
				if d := judgeOne(t, a, token, false); d.Denial != nil {
					t.Error(d.Denial)
				}
			}
		})
	}
	work.Wait()
	text := gathered(t, registry, true)
	for _, want := range []string{
		fmt.Sprintf(`extauthz_checks_total label:{name:"method" value:"hs256"} label:{name:"outcome" value:"allow"} label:{name:"reason" value:""} counter:{value:%d`, 4*checks),
		fmt.Sprintf(`extauthz_former_secret_uses_total label:{name:"issuer" value:"default"} label:{name:"use" value:"hs256"} counter:{value:%d`, 4*checks),
	} {
		if !strings.Contains(strings.ReplaceAll(text, "  ", " "), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// A credential that no parser made is refused or an error, and never a panic.
func TestExplainOddCredentials(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t)})
	good, err := a.only().issuer.Kinds.Recognize(credential.Presented{Text: signers()["ed"].issue(goodClaims(nil))})
	if err != nil {
		t.Fatal(err)
	}
	byMethod := map[identity.Method]*issuer.Kind{}
	for _, kind := range a.only().issuer.Kinds {
		byMethod[kind.Method] = kind
	}
	as := func(kind *issuer.Kind) issuer.Recognized {
		return issuer.Recognized{Kind: kind, Credential: good.Credential}
	}
	unread := func(method identity.Method, token string) issuer.Recognized {
		return issuer.Recognized{Kind: byMethod[method], Credential: credential.Credential{Token: token}}
	}
	for _, row := range []struct {
		title  string
		read   issuer.Recognized
		status int
	}{
		{"the zero one", issuer.Recognized{}, http.StatusServiceUnavailable},
		{"a JWT that was not parsed", unread(identity.MethodJWKS, good.Token), http.StatusUnauthorized},
		{"HS256 that was not parsed", unread(identity.MethodHS256, hs256(goodClaims(nil))), http.StatusUnauthorized},
		{"an empty session", unread(identity.MethodSession, ""), http.StatusUnauthorized},
		{"a JWT as HS256", as(byMethod[identity.MethodHS256]), http.StatusUnauthorized},
		{"a JWT as a session", as(byMethod[identity.MethodSession]), http.StatusUnauthorized},
		{"a kind that is not in the chain", as(&issuer.Kind{Method: "another"}), http.StatusServiceUnavailable},
		{"the copy of a kind", as(new(*byMethod[identity.MethodJWKS])), http.StatusServiceUnavailable},
	} {
		t.Run(row.title, func(t *testing.T) {
			e := a.only().issuer.ExplainRecognized(t.Context(), row.read)
			if e.Denial == nil || e.Denial.Status() != row.status {
				t.Fatalf("%v, want status %d", e.Denial, row.status)
			}
			told := 0
			for _, step := range e.Steps {
				if step.Denial != nil {
					told++
				}
			}
			if told == 0 {
				t.Errorf("no step says so: %+v", e.Steps)
			}
			if _, err := a.only().issuer.Verify(t.Context(), row.read); err == nil {
				t.Error("the verifier allows it")
			}
		})
	}
}

// A reason that may arise wherever a check waits says where it did.
func TestWaitsSayWhere(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: sessionsDatabase(t)})
	ended, end := context.WithCancel(t.Context())
	end()
	for _, row := range []struct{ token, step string }{
		{signer{"EdDSA", "made-up", signers()["ed"].private}.issue(goodClaims(nil)), reason.StepKey},
		{liveToken, reason.StepRow},
	} {
		denial := a.Explain(ended, Bearer(row.token)).Denial
		if denial == nil || denial.Reason() != ReasonCancelled || denial.Step() != row.step {
			t.Errorf("%+v, expected %s at %s", denial, ReasonCancelled, row.step)
		}
	}
}
