package extauthz

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A JWKS behind the check itself is told by the log, by the part's state and by Diagnose, and an issuer's own refusal
// is not taken for it.
func TestJWKSBehindTheCheck(t *testing.T) {
	const missing, unavailable = `{"detail":"Not authenticated: Missing Authorization header"}`,
		`{"detail":"Authentication service unavailable"}`
	for _, row := range []struct {
		title     string
		status    int
		body      string
		challenge string
		server    string
		retry     string
		want, not string
	}{
		{title: "401 by extauthz", status: 401, body: missing, challenge: `Bearer realm="api"`, server: "envoy",
			want: "status 401, by extauthz; the JWKS is fetched through an Envoy that has extauthz check this very route"},
		{title: "its 503", status: 503, body: unavailable, server: "envoy", retry: "1",
			want: "status 503, by extauthz; the JWKS is fetched through an Envoy", not: "limits requests"},
		{title: "Envoy's 503", status: 503, server: "envoy", want: "status 503; this is Envoy's own answer"},
		{title: "Envoy's 403", status: 403, server: "envoy", want: "status 403; this is Envoy's own answer"},
		{title: "an upstream's 503 through Envoy", status: 503, body: "upstream connect error", server: "envoy",
			want: "status 503", not: "Envoy"},
		{title: "an issuer's 401", status: 401, body: `{"message":"Unauthorized"}`, want: "status 401", not: "extauthz"},
		{title: "the words without the challenge", status: 401, body: missing, want: "status 401", not: "extauthz"},
		{title: "the issuer's rate limit", status: 429, body: `{"message":"Too many"}`, retry: "1", want: "status 429",
			not: "extauthz"},
		{title: "a long body", status: 503, body: unavailable + strings.Repeat(" ", 1<<20), want: "status 503"},
	} {
		t.Run(row.title, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for name, value := range map[string]string{"WWW-Authenticate": row.challenge, "Server": row.server,
					"Retry-After": row.retry} {
					if value != "" {
						w.Header().Set(name, value)
					}
				}
				w.WriteHeader(row.status)
				w.Write([]byte(row.body))
			}))
			defer server.Close()
			log := &lockedBuffer{}
			a, err := New(Config{Issuer: testIssuer, Audiences: []string{testAudience}, JWKSURL: server.URL,
				Logger: slog.New(slog.NewTextHandler(log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ran := make(chan struct{})
			go func() { defer close(ran); a.Run(ctx) }()
			failed := func() bool {
				return a.Parts()[0].Fault != "" && strings.Contains(log.String(), "JWKS fetch failed")
			}
			for deadline := time.Now().Add(30 * time.Second); !failed(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("no fetch has failed")
				}
			}
			stop()
			<-ran
			diagnosed := findingsText(a.Operator().Diagnose(t.Context()), "jwks")
			for where, text := range map[string]string{"the log": log.String(), "the part": a.Parts()[0].Fault} {
				if !strings.Contains(text, row.want) || row.not != "" && strings.Contains(text, row.not) {
					t.Errorf("%s: %s, want %q and not %q", where, text, row.want, row.not)
				}
			}
			hint := row.want[strings.Index(row.want, "; ")+1:]
			if len(hint) < len(row.want) {
				hint = strings.ToUpper(hint[1:2]) + hint[2:]
			}
			if !strings.Contains(diagnosed, hint) || row.not != "" && strings.Contains(diagnosed, row.not) {
				t.Errorf("doctor: %s, want %q and not %q", diagnosed, hint, row.not)
			}
		})
	}
}
