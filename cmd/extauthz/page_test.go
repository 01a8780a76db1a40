package main

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"extauthz/cmd/extauthz/internal/adminpage"
	"extauthz/cmd/extauthz/internal/commandtest"
)

// visit sends a request to the admin page and returns its answer with the body.
func visit(t *testing.T, method, target string, form url.Values, change func(*http.Request)) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+target, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if change != nil {
		change(request)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// The page shows what was decided and how the parts are, explains a credential without a trace of it, and is for nobody elsewhere.
func TestAdminPage(t *testing.T) {
	jwks, issue := newIssuer(t)
	audit := filepath.Join(t.TempDir(), "audit.log")
	checks, admin, stop := startServe(t, map[string]string{"BETTER_AUTH_URL": issuer, "API_AUDIENCE": audience, "JWKS_URL": jwks.URL,
		"EXTAUTHZ_ADMIN_PAGE": "true", "EXTAUTHZ_LOG_LEVEL": "debug", "EXTAUTHZ_AUDIT_LOG": audit, "EXTAUTHZ_SHADOW": "report"})
	commandtest.Eventually(t, "readiness", func() bool { return get(admin+"/readyz") == 200 })
	token := issue(map[string]any{"iss": issuer, "aud": audience, "sub": "<b>user-1</b>", "exp": time.Now().Unix() + 600})
	for range 3 {
		if _, err := authv3.NewAuthorizationClient(checks).Check(t.Context(), checkOf(token)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := authv3.NewAuthorizationClient(checks).Check(t.Context(), checkOf(token+"A")); err != nil {
		t.Fatal(err)
	}
	response, body := visit(t, "GET", admin+"/", nil, nil)
	if !regexp.MustCompile(`aria-label="Checks per minute by outcome; maximum \d checks?"`).MatchString(body) {
		t.Errorf("the bars do not say what they show:\n%s", body)
	}
	for _, want := range []string{
		"Shadow mode: every request is allowed", `<strong class="allow">3</strong> allowed <span class="faint">75.0 %`, `<strong class="deny">1</strong> refused`,
		"<code>bad_signature</code>", "<code>k1</code>", "check, jwks", "fetch of the JWKS", "usable keys: 1",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in the page:\n%s", want, body)
		}
	}
	if policy := response.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("Content-Security-Policy: %s", policy)
	}
	if strings.Contains(body, "<script") || strings.Contains(body, "http://") {
		t.Error("the page has a script, or wants something from elsewhere")
	}

	explain := func(kind, credential string) string {
		_, body := visit(t, "POST", admin+"/explain", url.Values{"kind": {kind}, "credential": {credential}}, nil)
		if strings.Contains(body, credential) {
			t.Errorf("the page shows the credential")
		}
		return body
	}
	if body := explain("bearer", "Bearer "+token+"\n"); !strings.Contains(body, "allow, as &lt;b&gt;user-1&lt;/b&gt; by jwks") {
		t.Errorf("%s", body)
	}
	expired := issue(map[string]any{"iss": issuer, "aud": "http://other", "sub": "user-1", "exp": time.Now().Unix() - 600})
	if body := explain("bearer", expired); !strings.Contains(body, "deny: 401 Token has expired (expired)") || !strings.Contains(body, "wrong_audience") {
		t.Errorf("%s", body)
	}
	if body := explain("cookie", "abcdefghijklmnopqrstuvwxyz012345"); !strings.Contains(body, "unsigned_cookie") {
		t.Errorf("%s", body)
	}
	if _, body := visit(t, "POST", admin+"/explain", url.Values{"credential": {" "}}, nil); !strings.Contains(body, "there is no credential") {
		t.Errorf("%s", body)
	}

	for _, row := range []struct {
		what   string
		method string
		change func(*http.Request)
		want   int
	}{
		{"another site's form", "POST", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		{"another origin's form", "POST", func(r *http.Request) { r.Header.Set("Origin", "http://attacker.example.com") }, 403},
		{"a host name that was turned here", "GET", func(r *http.Request) { r.Host = "attacker.example.com" }, 421},
		{"localhost", "GET", func(r *http.Request) { r.Host = "localhost:9192" }, 200},
		{"an IPv6 address", "GET", func(r *http.Request) { r.Host = "[::1]:9192" }, 200},
		{"a form that is too long", "POST", func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader("credential=" + strings.Repeat("a", adminpage.MaxForm)))
			r.ContentLength = -1
		}, 400},
	} {
		form := url.Values{"credential": {token}}
		if response, _ := visit(t, row.method, admin+"/explain", form, row.change); response.StatusCode != row.want {
			t.Errorf("%s: %s, want %d", row.what, response.Status, row.want)
		}
	}
	if _, metrics := visit(t, "GET", admin+"/metrics", nil, nil); !strings.Contains(metrics, `extauthz_checks_total{method="jwks",outcome="allow",reason=""} 3`) {
		t.Error("an explanation was counted")
	}
	stop()
	if content, err := os.ReadFile(audit); err != nil || strings.Count(string(content), "\n") != 4 {
		t.Errorf("%v, audit log:\n%s", err, content)
	}
}

// It is off unless it is asked for.
func TestAdminPageIsOff(t *testing.T) {
	jwks, _ := newIssuer(t)
	_, admin, _ := startServe(t, map[string]string{"BETTER_AUTH_URL": issuer, "JWKS_URL": jwks.URL})
	for _, path := range []string{"/", "/explain"} {
		if status := get(admin + path); status != 404 {
			t.Errorf("%s gives %d", path, status)
		}
	}
}
