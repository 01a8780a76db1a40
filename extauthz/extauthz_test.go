package extauthz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/decide"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
	"extauthz/extauthz/internal/secret"
)

// verifierFunc stands for a verifier with a fault that cannot be caused otherwise.
type verifierFunc func(context.Context, credential.Credential) (Identity, error)

func (f verifierFunc) Verify(ctx context.Context, presented credential.Credential) (Identity, error) {
	return f(ctx, presented)
}

// A panic and an unknown error are outages, never an allow and never an answer to the client's token.
func TestInternalErrorIsAnOutage(t *testing.T) {
	for title, verify := range map[string]verifierFunc{
		"a panic": func(context.Context, credential.Credential) (Identity, error) { panic("odd input") },
		"an error": func(context.Context, credential.Credential) (Identity, error) {
			return Identity{}, errors.New("odd fault")
		},
		"an error beside an identity": func(context.Context, credential.Credential) (Identity, error) {
			return Identity{Subject: "user-1", Method: identity.MethodJWKS}, errors.New("odd fault")
		},
	} {
		t.Run(title, func(t *testing.T) {
			a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL})
			a.only().issuer.SetVerifier(identity.MethodJWKS, verify)
			response, err := a.Check(t.Context(), bearerRequest(signers()["ed"].issue(goodClaims(nil))))
			if err != nil {
				t.Fatal(err)
			}
			expectDenial(t, response, ReasonInternalError)
		})
	}
}

// A CheckRequest may lack anything.
func TestEmptyRequests(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL})
	for title, request := range map[string]*authv3.CheckRequest{
		"nil":           nil,
		"empty":         {},
		"no request":    {Attributes: &authv3.AttributeContext{}},
		"no http":       {Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{}}},
		"a nil header":  checkRequest(&authv3.AttributeContext_HttpRequest{HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{nil}}}),
		"empty headers": checkRequest(&authv3.AttributeContext_HttpRequest{Headers: map[string]string{"": ""}}),
	} {
		t.Run(title, func(t *testing.T) {
			response, err := a.Check(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			expectDenial(t, response, ReasonMissingCredential)
		})
	}
}

// header_map may carry text or bytes, and a request with both fields counts them all.
func TestHeaderEncodings(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL})
	value := "Bearer " + signers()["ed"].issue(goodClaims(nil))
	text := &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "Authorization", Value: value}}}
	response, err := a.Check(t.Context(), checkRequest(&authv3.AttributeContext_HttpRequest{HeaderMap: text}))
	if err != nil {
		t.Fatal(err)
	}
	expectAllowed(t, response, Identity{Subject: "user-1", Method: identity.MethodJWKS})
	both := &authv3.AttributeContext_HttpRequest{HeaderMap: text, Headers: map[string]string{"authorization": value}}
	if response, err = a.Check(t.Context(), checkRequest(both)); err != nil {
		t.Fatal(err)
	}
	expectDenial(t, response, ReasonRepeatedAuthorization)
}

// Every decision is one record with what an operator asks for, and no record holds a credential.
func TestDecisionsAreLogged(t *testing.T) {
	log := &lockedBuffer{}
	a := startAuthorizer(t, Config{
		JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t),
		Logger: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	ed := signers()["ed"]
	good, expired := ed.issue(goodClaims(nil)), ed.issue(goodClaims(map[string]any{"exp": in(-3600)}))
	unfetched := signer{"EdDSA", "ed", ed.private}.issue(goodClaims(nil))
	checkAll := func(tokens ...string) {
		for _, token := range tokens {
			request := wire["headers"]("GET", []header{{"authorization", "Bearer " + token}, {"x-request-id", "request-7"}})
			if _, err := a.Check(t.Context(), request); err != nil {
				t.Fatal(err)
			}
		}
	}
	checkAll(good, expired, liveToken)
	known := a.only().keys.Current.Swap(nil) // as if the issuer had never answered
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	givenUp, giveUp := context.WithCancel(t.Context())
	giveUp()
	for _, ctx := range []context.Context{late, givenUp} {
		if _, err := a.Check(ctx, bearerRequest(unfetched)); err != nil {
			t.Fatal(err)
		}
	}
	// Every row of the verdict table, to look for tokens.
	a.only().keys.Current.Store(known)
	start := len(log.String())
	for _, row := range verdictTable() {
		if _, err := a.Check(t.Context(), wire["headers"](row.method, row.headers)); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range verdictTable() {
		for _, h := range row.headers {
			for _, secret := range credentialsIn(h.value) {
				if strings.Contains(log.String(), secret) {
					t.Errorf("%s/%s: the log holds %q", row.reason, row.title, secret)
				}
			}
		}
	}
	if text := log.String(); strings.Contains(text, "in-the-query") || strings.Contains(text, testSecret) {
		t.Errorf("the log holds a query or the secret:\n%s", text)
	}

	var got []map[string]any
	for line := range strings.Lines(log.String()[:start]) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		if record["msg"] == "allowed" || record["msg"] == "denied" || record["msg"] == "not checked" {
			delete(record, "time")
			delete(record, "want")
			delete(record, "got")
			delete(record, "error")
			got = append(got, record)
		}
	}
	record := func(level, message string, more map[string]any) map[string]any {
		record := map[string]any{"level": level, "msg": message, "method": "GET", "host": "api.example.com", "path": "/api/me",
			"client": "192.0.2.7", "request_id": "request-7"}
		maps.Copy(record, more)
		return record
	}
	want := []map[string]any{
		record("DEBUG", "allowed", map[string]any{"auth_method": "jwks", "subject": "user-1"}),
		record("INFO", "denied", map[string]any{"auth_method": "jwks", "subject": "user-1", "reason": "expired", "status": 401.0}),
		record("DEBUG", "allowed", map[string]any{"auth_method": "session", "subject": "user-2"}),
		record("WARN", "not checked", map[string]any{"auth_method": "jwks", "reason": "time_budget_spent", "status": 503.0}),
		record("DEBUG", "not checked", map[string]any{"auth_method": "jwks", "reason": "cancelled", "status": 503.0}), // nobody waits for it
	}
	delete(want[3], "request_id")
	delete(want[4], "request_id")
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || !maps.Equal(got[i], want[i]) {
			t.Errorf("record %d of %d:\n got %v\nwant %v", i, len(got), at(got, i), at(want, i))
		}
	}
}

func at(records []map[string]any, i int) any {
	if i < len(records) {
		return records[i]
	}
	return "none"
}

// credentialsIn are the parts of a header's value that could be used by who finds them.
func credentialsIn(value string) []string {
	var secrets []string
	for _, part := range strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" ,;=\"", r) }) {
		if decoded, err := url.QueryUnescape(part); err == nil {
			part = decoded
		}
		for _, segment := range strings.Split(part, ".") {
			if len(segment) >= 30 && len(segment) < 4096 {
				secrets = append(secrets, segment)
			}
		}
	}
	return secrets
}

func TestConfigFaults(t *testing.T) {
	for _, row := range []struct {
		title  string
		config Config
		want   string
	}{
		{"no issuer", Config{Audiences: []string{"a"}}, "Issuer is empty"},
		{"an issuer without scheme", Config{Issuer: "localhost:3000", Audiences: []string{"a"}}, `Issuer is "localhost:3000", which does not begin with http`},
		{"an issuer without host", Config{Issuer: "https://", Audiences: []string{"a"}}, "which has no host"},
		{"an issuer that is no URL", Config{Issuer: "http://[s3cret", Audiences: []string{"a"}}, "is not a URL"},
		{"a password in the issuer", Config{Issuer: "https://u:s3cret@app.example.com", Audiences: []string{"a"}}, "holds a user name or password"},
		{"a password without a scheme", Config{Issuer: "u:s3cret@app.example.com", Audiences: []string{"a"}}, "holds a user name or password"},
		{"a key in the query, without a scheme", Config{Issuer: "app.example.com?key=s3cret", Audiences: []string{"a"}}, "does not begin with http"},
		{"a query in the issuer", Config{Issuer: "https://app.example.com/?a=s3cret", Audiences: []string{"a"}}, "has more than a path"},
		{"a JWKS URL without scheme", Config{Issuer: testIssuer, JWKSURL: "/jwks", Audiences: []string{"a"}}, "JWKSURL is"},
		{"no audience", Config{Issuer: testIssuer}, "Audiences is empty"},
		{"another database", Config{Issuer: testIssuer, Audiences: []string{"a"}, DatabaseURL: "mysql://u:s3cret@db/app"}, "DatabaseURL begins with"},
	} {
		t.Run(row.title, func(t *testing.T) {
			_, err := New(row.config)
			if _, isConfigError := errors.AsType[*ConfigError](err); !isConfigError || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%v, want a ConfigError with %q and no secret", err, row.want)
			}
		})
	}
}

// The caller's deadline counts when it is nearer than the budget, less a margin for the way back.
func TestTimeBudget(t *testing.T) {
	for caller, want := range map[time.Duration]time.Duration{
		0: decide.TimeBudget, time.Hour: decide.TimeBudget, 500 * time.Millisecond: decide.TimeBudget,
		400 * time.Millisecond: 360 * time.Millisecond, 100 * time.Millisecond: 90 * time.Millisecond,
	} {
		ctx, cancel := t.Context(), context.CancelFunc(func() {})
		if caller > 0 {
			ctx, cancel = context.WithTimeout(ctx, caller)
		}
		bounded, stop := decide.WithTimeBudget(ctx, decide.TimeBudget)
		deadline, _ := bounded.Deadline()
		if got := time.Until(deadline); got > want || got < want-50*time.Millisecond {
			t.Errorf("caller's deadline in %s: budget %s, want %s", caller, got, want)
		}
		stop()
		cancel()
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	s := secret.Value("s3cret")
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s", s, s, s, s)} {
		if strings.Contains(text, "s3cret") {
			t.Error(text)
		}
	}
}

// Explain gives the verdict that Check gives, for each row of the table, and names the failing step.
func TestExplain(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t)})
	for _, row := range verdictTable() {
		if row.reason == ReasonCrossSite || row.reason == ReasonStatelessSession || len(row.headers) != 1 {
			continue // about the request, not the credential alone
		}
		r := request.Request{}
		r.ReadHeader(row.headers[0].name, row.headers[0].value)
		found, err := credential.Find(&r, []string{credential.DefaultCookie})
		if err != nil {
			continue
		}
		t.Run(string(row.reason)+"/"+row.title, func(t *testing.T) {
			e := a.Explain(t.Context(), Credential{&found})
			if row.reason == "" {
				if e.Denial != nil || e.Identity.Subject != row.want.Subject {
					t.Errorf("denial %v, identity %+v", e.Denial, e.Identity)
				}
			} else if e.Denial == nil || e.Denial.Reason() != row.reason {
				t.Fatalf("denial %v, want %s", e.Denial, row.reason)
			}
			failing := slices.IndexFunc(e.Steps, func(s issuer.Step) bool { return s.Denial != nil })
			if (failing >= 0) != (e.Denial != nil) {
				t.Errorf("steps %+v do not fit the denial %v", e.Steps, e.Denial)
			}
			for i, step := range e.Steps {
				if (step.Found != "" || step.Denial != nil) != step.Reached {
					t.Errorf("step %d: %+v", i, step)
				}
			}
		})
	}
}

// With two faults at once, both show.
func TestExplainShowsEveryClaim(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL})
	presented := Bearer(signers()["ed"].issue(goodClaims(map[string]any{"exp": in(-3600), "aud": "https://wrong.example.com"})))
	var failed []string
	var audience *Denial
	for _, step := range a.Explain(t.Context(), presented).Steps {
		if step.Denial != nil {
			failed = append(failed, step.Name)
			if step.Name == reason.StepAudience {
				audience = step.Denial
			}
		}
	}
	if !slices.Equal(failed, []string{reason.StepTimes, reason.StepAudience}) {
		t.Fatalf("failed %v, want times and audience", failed)
	}
	if text := audience.Error(); !strings.Contains(text, "https://wrong.example.com") || !strings.Contains(text, testAudience) {
		t.Errorf("%s, want both audiences", text)
	}
}

// FuzzCheck sends any header values through the whole check: nothing that is not a live credential is allowed, and nothing panics.
func FuzzCheck(f *testing.F) {
	a := startAuthorizer(f, Config{JWKSURL: serveKeys(f, testKeys()).URL, Secret: []byte(testSecret)})
	allowed := map[string]bool{}
	for _, row := range verdictTable() {
		var authorization, cookies string
		for _, h := range row.headers {
			switch h.name {
			case "authorization":
				authorization = h.value
			case "cookie":
				cookies = h.value
			}
		}
		if len(authorization)+len(cookies) < 4096 {
			f.Add(authorization, cookies)
		}
		if row.reason == "" {
			token, _ := credential.BearerToken(authorization)
			allowed[token] = true
		}
	}
	f.Fuzz(func(t *testing.T, authorization, cookies string) {
		for _, request := range wire {
			response, err := a.Check(t.Context(), request("GET", []header{{"authorization", authorization}, {"cookie", cookies}}))
			if err != nil {
				t.Fatal(err)
			}
			switch code := Reason(response.GetDynamicMetadata().GetFields()["reason"].GetStringValue()); {
			case response.GetOkResponse() != nil:
				if token, _ := credential.BearerToken(authorization); !allowed[token] {
					t.Errorf("%q and %q were allowed", authorization, cookies)
				}
			case code == ReasonInternalError:
				t.Errorf("%q and %q: internal error", authorization, cookies)
			case reason.FactOf(code) == nil:
				t.Errorf("%q and %q: no reason", authorization, cookies)
			}
		}
	})
}

func BenchmarkCheckJWT(b *testing.B) {
	a := startAuthorizer(b, Config{JWKSURL: serveKeys(b, testKeys()).URL})
	request := bearerRequest(signers()["ed"].issue(goodClaims(nil)))
	b.ReportAllocs()
	for b.Loop() {
		if response, err := a.Check(context.Background(), request); err != nil || response.GetOkResponse() == nil {
			b.Fatal(response, err)
		}
	}
}

// BenchmarkColdCheck is a token that is not remembered, from its text to the identity, and how much that
// is of verifying the signature alone, measured in turn.
func BenchmarkColdCheck(b *testing.B) {
	a := startAuthorizer(b, Config{JWKSURL: serveKeys(b, testKeys()).URL, RememberedTokens: -1})
	for _, name := range []string{"ed", "rs", "ps", "es256", "es512"} {
		s := signers()[name]
		token := s.issue(goodClaims(nil))
		parsed, err := jose.Parse(token)
		if err != nil {
			b.Fatal(err)
		}
		key := a.only().keys.Current.Load().Keys[s.id]
		b.Run(s.algorithm, func(b *testing.B) {
			b.ReportAllocs()
			var alone, whole time.Duration
			for b.Loop() {
				started := time.Now()
				if !key.Verify(parsed.Signed, parsed.Signature) {
					b.Fatal("refused")
				}
				between := time.Now()
				presented, err := issuer.Kinds().Recognize(credential.Presented{Text: token})
				if err == nil {
					_, err = a.only().issuer.Verify(context.Background(), presented)
				}
				if err != nil {
					b.Fatal(err)
				}
				alone += between.Sub(started)
				whole += time.Since(between)
			}
			b.ReportMetric(float64(whole)/float64(alone), "of-its-signature")
		})
	}
}
