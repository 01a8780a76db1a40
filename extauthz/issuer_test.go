package extauthz

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"extauthz/envoy/parts"
	"extauthz/extauthz/internal/site"
)

// runBetterAuth runs a script of testdata/better-auth where Better Auth is installed, and reads what it prints.
func runBetterAuth(t *testing.T, script string, input, output any) {
	t.Helper()
	installer, err := parts.NewInstaller(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := installer.Issuer()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("testdata/better-auth/" + script)
	if err != nil {
		t.Fatal(err)
	}
	given := filepath.Join(t.TempDir(), "input.json")
	text, err := json.Marshal(input)
	if err == nil {
		err = os.WriteFile(given, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "node", "--input-type=module", "-")
	command.Dir, command.Stdin = folder, bytes.NewReader(source)
	command.Env = append(os.Environ(), "EXTAUTHZ_TEST_INPUT="+given, "BETTER_AUTH_TELEMETRY=0")
	var complaints bytes.Buffer
	command.Stderr = &complaints
	printed, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, complaints.String())
	}
	if err := json.Unmarshal(printed, output); err != nil {
		t.Fatalf("%s: %v in %s", script, err, printed)
	}
}

// keysAt serves key sets by their address, spelt as a browser would, and nothing else.
type keysAt map[string]string

func (k keysAt) RoundTrip(r *http.Request) (*http.Response, error) {
	response := &http.Response{StatusCode: http.StatusNotFound, Header: http.Header{}, Request: r, Body: io.NopCloser(strings.NewReader(""))}
	origin, err := site.Origin(r.URL)
	if err != nil {
		return nil, err
	}
	if document, found := k[origin+r.URL.EscapedPath()]; found {
		response.StatusCode, response.Body = http.StatusOK, io.NopCloser(strings.NewReader(document))
	}
	return response, nil
}

// With no more than the base URL that Better Auth itself has, its keys are found and its tokens allowed.
func TestBaseURLIsReadAsBetterAuthReadsIt(t *testing.T) {
	type baseURL struct {
		BaseURL  string `json:"baseURL"`
		BasePath string `json:"basePath,omitempty"`
	}
	urls := []baseURL{
		{"http://localhost:3000", ""}, {"http://localhost:3000/", ""}, {"http://localhost:3000//", ""},
		{"https://app.example.com", ""}, {"https://app.example.com/", ""},
		{"https://app.example.com:443", ""}, {"http://app.example.com:80/", ""}, {"https://app.example.com:8443", ""}, {"http://app.example.com:443", ""},
		{"https://APP.Example.com", ""}, {"HTTPS://app.example.com", ""}, {"https://bücher.example", ""},
		{"http://127.0.0.1:3000", ""}, {"http://[::1]:3000", ""}, {"http://[0:0:0:0:0:0:0:1]:3000/", ""},
		{"https://app.example.com/.", ""}, {"https://app.example.com/%2e", ""},
		{"https://app.example.com/api/auth", ""}, {"https://app.example.com/api/auth/", ""}, {"https://app.example.com/custom", ""},
		{"https://app.example.com/custom/", ""}, {"https://app.example.com:443/custom", ""}, {"https://APP.Example.com/Custom", ""},
		{"https://app.example.com/a/../b", ""}, {"https://app.example.com/deep/er/auth/", ""}, {"http://localhost:3000/auth", ""},
		// A path goes before basePath.
		{"https://app.example.com/custom", "/auth"},
	}
	paths := []string{"/api/auth/jwks", "/jwks", "/custom/jwks", "/Custom/jwks", "/custom/api/auth/jwks", "/b/jwks", "/a/../b/jwks", "/auth/jwks", "/deep/er/auth/jwks"}
	var answers []struct {
		BaseURL, Origin, Token string
		Served                 map[string]string
	}
	runBetterAuth(t, "issuer.mjs", map[string]any{"urls": urls, "paths": paths}, &answers)
	if len(answers) != len(urls) {
		t.Fatalf("%d answers, want %d", len(answers), len(urls))
	}
	for _, answer := range answers {
		t.Run(answer.BaseURL, func(t *testing.T) {
			claims := payloadOf(t, answer.Token)
			served := keysAt{}
			for path, document := range answer.Served {
				served[answer.Origin+path] = document
			}
			a := startAuthorizer(t, Config{Issuer: answer.BaseURL, Audiences: []string{claims["aud"].(string)}, Client: &http.Client{Transport: served}, Now: time.Now})
			if d := judgeOne(t, a, answer.Token, false); d.Denial != nil {
				t.Errorf("iss %v, keys at %v: %v", claims["iss"], answer.Served, d.Denial)
			}
		})
	}
}

func payloadOf(t *testing.T, token string) (claims map[string]any) {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

// What else iss may be: a project that names the issuer itself mostly writes its base URL there, as it spells it.
// Other values want a list.
func TestIssuers(t *testing.T) {
	keys := serveKeys(t, testKeys()).URL
	long := strings.Repeat("x", 4000)
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprint("issuer-", i))
	}
	for _, row := range []struct {
		title   string
		config  Config
		allowed []string
		refused []string
	}{
		{"no path", Config{Issuer: "https://app.example.com"}, []string{"https://app.example.com"},
			[]string{"https://app.example.com/", "https://app.example.com/api/auth", "http://app.example.com", "https://APP.example.com", "https://app.example.com:443", " https://app.example.com"}},
		{"a slash", Config{Issuer: "https://app.example.com/"}, []string{"https://app.example.com", "https://app.example.com/"}, []string{"https://app.example.com//", "https://app.example.com/api/auth"}},
		{"as it is spelt", Config{Issuer: "https://APP.example.com:443/"}, []string{"https://app.example.com", "https://APP.example.com:443", "https://APP.example.com:443/"},
			[]string{"https://app.example.com:443", "https://APP.example.com"}},
		{"a path", Config{Issuer: "https://app.example.com/api/auth"}, []string{"https://app.example.com"},
			[]string{"https://app.example.com/", "https://app.example.com/api/auth", "https://app.example.com/api/auth/", "https://app.example.com/api"}},
		{"a path, a slash and a port", Config{Issuer: "https://App.example.com:8443/custom/"}, []string{"https://app.example.com:8443"},
			[]string{"https://App.example.com:8443", "https://app.example.com:8443/custom", "https://App.example.com:8443/custom/", "https://app.example.com"}},
		{"several", Config{Issuer: "https://app.example.com", Issuers: []string{"https://old.example.com", "https://app.example.com/api/auth", "https://old.example.com"}},
			[]string{"https://old.example.com", "https://app.example.com/api/auth"}, []string{"https://app.example.com", "https://old.example.com/"}},
		{"no URLs", Config{Issuer: "https://app.example.com", Issuers: []string{"my-app", "urn:example:auth", "Zoë's, of course", "a b"}},
			[]string{"my-app", "urn:example:auth", "Zoë's, of course", "a b"}, []string{"https://app.example.com", "My-App", "my-app ", "Zoë's", "a%20b", "a  b"}},
		{"no base URL", Config{Issuer: "", Issuers: []string{"my-app"}}, []string{"my-app"}, []string{"", "https://app.example.com"}},
		{"many, and long ones", Config{Issuer: "https://app.example.com", Issuers: append([]string{long}, many...)}, []string{long, "issuer-199"}, []string{"issuer-200"}},
	} {
		t.Run(row.title, func(t *testing.T) {
			row.config.JWKSURL, row.config.Secret = keys, []byte(testSecret)
			row.config.Audiences = []string{testAudience}
			row.config.Now, row.config.budget, row.config.Logger = fixedClock, time.Minute, slog.New(slog.DiscardHandler)
			a, err := New(row.config)
			if err != nil {
				t.Fatal(err)
			}
			go a.Run(t.Context())
			eventually(t, "readiness", func() bool { return len(a.Missing()) == 0 })
			for _, iss := range append(slices.Clone(row.allowed), row.refused...) {
				for _, token := range []string{signers()["ed"].issue(goodClaims(map[string]any{"iss": iss})), hs256(goodClaims(map[string]any{"iss": iss}))} {
					for range 2 { // new, and remembered
						d := judgeOne(t, a, token, false)
						switch isAllowed := slices.Contains(row.allowed, iss); {
						case isAllowed && d.Denial != nil:
							t.Errorf("%.80q: %.300v", iss, d.Denial)
						case !isAllowed && d.Denial == nil:
							t.Errorf("%.80q is allowed", iss)
						case !isAllowed && d.Denial.Reason() != ReasonWrongIssuer:
							t.Errorf("%.80q: %v", iss, d.Denial)
						case !isAllowed && len(d.Denial.Error()) > 3500:
							t.Errorf("%.80q: the refusal has %d bytes", iss, len(d.Denial.Error()))
						}
					}
				}
			}
		})
	}
}

// A fault of these settings names the field, and what to do.
func TestIssuerFaults(t *testing.T) {
	for _, row := range []struct {
		title, field string
		config       Config
	}{
		{"nothing", "Issuer", Config{}},
		{"issuers and nothing for the keys", "Issuer", Config{Issuers: []string{"my-app"}}},
		{"keys and no issuer", "Issuer", Config{JWKSURL: "https://app.example.com/jwks"}},
		{"no URL", "Issuer", Config{Issuer: "my-app"}},
		{"no URL, though it is not needed", "Issuer", Config{Issuer: "my-app", Issuers: []string{"my-app"}, JWKSURL: "https://app.example.com/jwks"}},
		{"a port that is none", "Issuer", Config{Issuer: "https://app.example.com:65536"}},
		{"port 0 of the keys", "JWKSURL", Config{Issuer: testIssuer, JWKSURL: "https://app.example.com:0/jwks"}},
		{"a query", "Issuer", Config{Issuer: "https://app.example.com/?x=1"}},
		{"a host that is no name", "Issuer", Config{Issuer: "https://b\u00fccher..\u00fc.example\u200d"}},
		{"an empty issuer", "Issuers", Config{Issuer: testIssuer, Issuers: []string{"my-app", ""}}},
		{"an issuer of spaces", "Issuers", Config{Issuer: testIssuer, Issuers: []string{" \t"}}},
		{"keys at no URL", "JWKSURL", Config{Issuer: testIssuer, Issuers: []string{"my-app"}, JWKSURL: "jwks"}},
		{"no audience", "Audiences", Config{Issuer: testIssuer, Audiences: []string{}}},
		{"an empty audience", "Audiences", Config{Issuer: testIssuer, Audiences: []string{testAudience, ""}}},
		{"an audience of spaces", "Audiences", Config{Issuer: testIssuer, Audiences: []string{"  "}}},
	} {
		t.Run(row.title, func(t *testing.T) {
			if row.config.Audiences == nil {
				row.config.Audiences = []string{testAudience}
			}
			_, err := New(row.config)
			fault, ok := errors.AsType[*ConfigError](err)
			if !ok || fault.Field != row.field {
				t.Errorf("%v, want a fault of %s", err, row.field)
			}
		})
	}
}
