package extauthz

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"

	"extauthz/envoy/parts"
	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/request"
)

// betterAuth is a real one with one user and one session.
type betterAuth struct {
	IssuerConfig
	email, token string // of the session
	jwt          string
}

// startBetterAuth signs a user up. Where like is given, the user gets its user's id and the session its session's token.
func startBetterAuth(t *testing.T, name, secret, cookieName string, like *betterAuth) *betterAuth {
	t.Helper()
	installer, err := parts.NewInstaller(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	b := &betterAuth{email: "ana@" + name + ".example.com"}
	b.Name, b.Issuer, b.Audiences = name, fmt.Sprintf("http://127.0.0.1:%d", port), []string{"https://api." + name + ".example.com"}
	b.Secret, b.SessionCookie, b.DatabaseURL = []byte(secret), cookieName, newDatabaseURL(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	process, err := installer.StartIssuer(ctx, t.TempDir(), parts.IssuerSettings{Port: port, URL: b.Issuer, Audience: b.Audiences[0],
		Secret: secret, DatabaseURL: b.DatabaseURL, TrustedOrigins: b.Issuer})
	if process != nil {
		t.Cleanup(func() { process.Stop() })
	}
	if err != nil {
		t.Fatal(err)
	}
	answer := b.send(t, "POST", "/sign-up/email", "",
		fmt.Sprintf(`{"name":"Ana","email":%q,"password":"correct horse battery staple"}`, b.email))
	b.token = answer.Token
	if like != nil {
		execute(t, b.DatabaseURL, `do $$ declare c record; begin
			for c in select conrelid::regclass as t, conname from pg_constraint where contype = 'f'
			loop execute format('alter table %s drop constraint %I', c.t, c.conname); end loop; end $$`)
		execute(t, b.DatabaseURL, fmt.Sprintf(`update "session" set "userId" = '%s', token = '%s'`, like.userID(t), like.token),
			fmt.Sprintf(`update "account" set "userId" = '%s'`, like.userID(t)), fmt.Sprintf(`update "user" set id = '%s'`, like.userID(t)))
		b.token = like.token
	}
	b.jwt = b.send(t, "GET", "/token", credential.DefaultCookie+"="+url.QueryEscape(signedSession(b.token, secret)), "").Token
	return b
}

func (b *betterAuth) send(t *testing.T, method, path, cookie, body string) (answer struct{ Token string }) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, b.Issuer+"/api/auth"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Content-Type": "application/json", "Origin": b.Issuer, "Cookie": cookie} {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d %s %v", method, path, response.StatusCode, content, err)
	}
	if err := json.Unmarshal(content, &answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

func (b *betterAuth) userID(t *testing.T) string {
	t.Helper()
	claims := claimsOf(t, b.jwt)
	return claims["sub"].(string)
}

func claimsOf(t *testing.T, jwt string) map[string]any {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(jwt, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// sharedJWT is a token by the secret of one with the claims of another.
func sharedJWT(t *testing.T, secret []byte, like *betterAuth) string {
	t.Helper()
	claims, err := json.Marshal(claimsOf(t, like.jwt))
	if err != nil {
		t.Fatal(err)
	}
	return jwtOf(object(member("alg", "HS256")), string(claims), hmacOf(string(secret)))
}

func headersOf(response *authv3.CheckResponse) map[string]string {
	set := map[string]string{}
	for _, header := range response.GetOkResponse().GetHeaders() {
		set[header.GetHeader().GetKey()] = header.GetHeader().GetValue() + string(header.GetHeader().GetRawValue())
	}
	return set
}

// Two real Better Auths, with the same user id and the same session token in both: whatever comes, in whatever order
// they are listed and whatever the route says, no identity, key, secret or row of one counts for the other.
func TestNothingOfOneIssuerCountsForAnother(t *testing.T) {
	one := startBetterAuth(t, "one", "the-secret-of-one-is-long-enough-too", credential.DefaultCookie, nil)
	two := startBetterAuth(t, "two", "the-secret-of-two-is-long-enough-too", "two.session_token", one)
	if one.userID(t) != two.userID(t) || one.token != two.token || one.email == two.email {
		t.Fatal("the two are not alike")
	}
	type sent struct {
		title   string
		headers []header
		owners  []*betterAuth // the first of these that is asked decides; nobody's without one
	}
	named := func(name, value string) []header { return []header{{"cookie", name + "=" + url.QueryEscape(value)}} }
	credentials := []sent{{"the raw session token of both", bearer(one.token), []*betterAuth{one, two}}}
	for _, pair := range [][2]*betterAuth{{one, two}, {two, one}} {
		own, other := pair[0], pair[1]
		credentials = append(credentials,
			sent{"a JWT of " + own.Name, bearer(own.jwt), []*betterAuth{own}},
			sent{"HS256 of " + own.Name, bearer(sharedJWT(t, own.Secret, own)), []*betterAuth{own}},
			sent{"HS256 with the claims of " + own.Name + " by the other's secret", bearer(sharedJWT(t, other.Secret, own)), nil},
			sent{"a signed token of " + own.Name, bearer(signedSession(own.token, string(own.Secret))), []*betterAuth{own}},
			sent{"the cookie of " + own.Name, named(own.SessionCookie, signedSession(own.token, string(own.Secret))), []*betterAuth{own}},
			sent{"the cookie of " + own.Name + " with the other's signature",
				named(own.SessionCookie, signedSession(own.token, string(other.Secret))), nil},
		)
	}
	for _, list := range [][]*betterAuth{{one, two}, {two, one}} {
		var config Config
		for _, b := range list {
			config.Several = append(config.Several, b.IssuerConfig)
		}
		config.Now = time.Now
		a := startAuthorizer(t, config)
		for _, route := range []string{"", "one", "two", "one,two", "two, one"} {
			for _, sent := range credentials {
				var expected *betterAuth
				for _, b := range list { // by the order of the list, not the route's
					if expected == nil && slices.Contains(sent.owners, b) && (route == "" || strings.Contains(route, b.Name)) {
						expected = b
					}
				}
				for range 2 { // judged anew, and remembered
					in := wire["headers"]("GET", sent.headers)
					if route != "" {
						in.Attributes.ContextExtensions = map[string]string{"issuer": route}
					}
					response := decidedByCheck(t, a, in)
					got, about := headersOf(response), fmt.Sprintf("%s first, route %q, %s", list[0].Name, route, sent.title)
					switch {
					case expected == nil && response.GetDeniedResponse() == nil:
						t.Errorf("%s: allowed as %v", about, got)
					case expected != nil && (got["x-auth-issuer"] != expected.Name || got["x-user-email"] != expected.email):
						t.Errorf("%s: %v, %s; expected %s", about, got, reasonIn(response), expected.email)
					}
				}
			}
		}
	}
}

// severalOf are issuers with one key and one secret each, and their tokens.
func severalOf(t testing.TB, count int) (configs []IssuerConfig, tokens []string) {
	t.Helper()
	for n := range count {
		name := fmt.Sprintf("tenant-%d", n)
		iss := "https://" + name + ".example.com"
		configs = append(configs, IssuerConfig{Name: name, Issuer: iss, JWKSURL: serveKeys(t, testKeys()).URL,
			Audiences: []string{testAudience}, Secret: fmt.Appendf(nil, "the-secret-of-%s-is-long-enough-too", name)})
		tokens = append(tokens, signers()["ed"].issue(goodClaims(map[string]any{"iss": iss})))
	}
	return configs, tokens
}

// What nobody could tell apart is refused at the start, by its issuer and field.
func TestIssuersThatCannotBeToldApart(t *testing.T) {
	for title, row := range map[string]struct {
		change func(config *Config)
		want   string
	}{
		"no issuer":  {func(c *Config) { c.Several = c.Several[:0] }, "Several names no issuer"},
		"no name":    {func(c *Config) { c.Several[1].Name = "" }, `Name is ""`},
		"odd name":   {func(c *Config) { c.Several[1].Name = "a b" }, `Name is "a b"; write 1 to 63`},
		"same name":  {func(c *Config) { c.Several[1].Name = c.Several[0].Name }, "issuer tenant-0: Name is another issuer's too"},
		"same iss":   {func(c *Config) { c.Several[1].Issuers = []string{"https://tenant-0.example.com"} }, `issuer tenant-1: Issuers accept "https://tenant-0.example.com", which issuer tenant-0 does too`},
		"same host":  {func(c *Config) { c.Several[1].Issuer = "https://tenant-0.example.com:8443" }, `issuer tenant-1: SessionCookie is "better-auth.session_token", and so is that of issuer tenant-0 at the same host`},
		"own fault":  {func(c *Config) { c.Several[1].Audiences = nil }, "issuer tenant-1: Audiences is empty"},
		"plain too":  {func(c *Config) { c.Secret = []byte(testSecret) }, "Secret and Several are both set"},
		"a database": {func(c *Config) { c.Several[0].DatabaseURL = "mysql://x" }, "issuer tenant-0: DatabaseURL"},
	} {
		t.Run(title, func(t *testing.T) {
			configs, _ := severalOf(t, 2)
			config := Config{Several: configs}
			row.change(&config)
			a, err := New(config)
			if fault, ok := errors.AsType[*ConfigError](err); !ok || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v, %+v; expected %s", err, fault, row.want)
			}
			if a != nil {
				a.Close()
			}
		})
	}
}

// One issuer that is down, or hangs, leaves the others alone; what may be its own is an outage.
func TestAFailingIssuerLeavesOthersAlone(t *testing.T) {
	hanging, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer hanging.Close()
	configs, tokens := severalOf(t, 2)
	down, up := &configs[0], &configs[1]
	down.JWKSURL, down.DatabaseURL = "http://"+hanging.Addr().String()+"/jwks", "postgresql://u:p@"+hanging.Addr().String()+"/app"
	up.DatabaseURL = sessionsDatabase(t)
	if reader, ok := readers.Load(up.DatabaseURL); ok {
		up.DatabaseURL = reader.(string)
	}
	a := runAuthorizer(t, Config{Several: configs, budget: 3 * time.Second})
	eventually(t, "the other one to be ready", func() bool {
		return !slices.ContainsFunc(a.Missing(), func(part string) bool { return strings.HasSuffix(part, " of tenant-1") })
	})
	if missing := a.Missing(); !slices.Equal(missing, []string{"jwks of tenant-0", "database of tenant-0"}) {
		t.Errorf("missing: %v", missing)
	}
	signed := signedSession(liveToken, string(up.Secret))
	for title, headers := range map[string][]header{
		"a JWT": bearer(tokens[1]), "a raw session token": bearer(liveToken), "a signed one": bearer(signed), "a cookie": cookie(url.QueryEscape(signed)),
	} {
		response := decidedByCheck(t, a, wire["headers"]("GET", headers))
		if got := headersOf(response)["x-auth-issuer"]; got != "tenant-1" {
			t.Errorf("%s: issuer %q, %s", title, got, reasonIn(response))
		}
	}
	for title, headers := range map[string][]header{
		"its JWT": bearer(tokens[0]), "a token that may be its own": bearer(unknownToken), "its signed one": bearer(signedSession(liveToken, string(down.Secret))),
	} {
		response, err := a.Check(t.Context(), wire["headers"]("GET", headers))
		if status := response.GetDeniedResponse().GetStatus().GetCode(); err != nil || status != 503 {
			t.Errorf("%s: %d %s, %v", title, status, reasonIn(response), err)
		}
	}
}

// Issuers come, change and go under load: no check of one that stays fails, a new one's tokens pass once it is ready, and
// those of one that is gone are refused, remembered or not.
func TestIssuersComeAndGo(t *testing.T) {
	registry := prometheus.NewRegistry()
	configs, tokens := severalOf(t, 3)
	a := startAuthorizer(t, Config{Several: configs[:2], Metrics: registry})
	expectToken(t, a, tokens[0], "")
	expectToken(t, a, tokens[1], "")
	expectToken(t, a, tokens[2], ReasonWrongIssuer)
	var load sync.WaitGroup
	var stop atomic.Bool
	for range 2 {
		load.Go(func() {
			for !stop.Load() {
				expectToken(t, a, tokens[0], "")
			}
		})
	}
	for range 20 {
		if err := a.SetIssuers([]IssuerConfig{configs[2], configs[0]}); err != nil {
			t.Fatal(err)
		}
		expectToken(t, a, tokens[1], ReasonWrongIssuer)
		eventually(t, "the new one", func() bool { return len(a.Missing()) == 0 })
		expectToken(t, a, tokens[2], "")
		if text := gathered(t, registry, true); strings.Contains(text, "tenant-1") || !strings.Contains(text, "tenant-2") {
			t.Fatal("the series are not those of the issuers in force")
		}
		changed := slices.Clone(configs[:2])
		changed[1].Audiences = []string{"https://other.example.com"}
		if err := a.SetIssuers(changed); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the earlier one", func() bool { return len(a.Missing()) == 0 })
		expectToken(t, a, tokens[1], ReasonWrongAudience)
		if err := a.SetIssuers(configs[:2]); err != nil {
			t.Fatal(err)
		}
		if missing := a.Missing(); len(missing) > 0 {
			t.Fatalf("a change of the audience fetches keys anew: %v", missing)
		}
		expectToken(t, a, tokens[1], "")
		if err := a.SetIssuers(append(slices.Clone(configs[:2]), configs[0])); err == nil {
			t.Fatal("two of one name are in force")
		}
		expectToken(t, a, tokens[1], "")
	}
	stop.Store(true)
	load.Wait()

	// With one issuer left the backend is told no issuer, also of a token that is remembered.
	told := func() (string, bool) {
		value, has := headersOf(decidedByCheck(t, a, bearerRequest(tokens[0])))["x-auth-issuer"]
		return value, has
	}
	if name, _ := told(); name != "tenant-0" {
		t.Errorf("issuer %q", name)
	}
	if err := a.SetIssuers(configs[:1]); err != nil {
		t.Fatal(err)
	}
	if name, has := told(); has {
		t.Errorf("issuer %q", name)
	}
	expectToken(t, a, tokens[1], ReasonWrongIssuer)
}

// A hundred issuers start, and what each takes is within what docs/issuers.md states.
func TestAHundredIssuers(t *testing.T) {
	const count = 100
	before := heapInUse()
	configs, tokens := severalOf(t, count)
	a := startAuthorizer(t, Config{Several: configs, Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
	for _, token := range tokens {
		expectToken(t, a, token, "")
	}
	each := float64(heapInUse()-before) / count
	t.Logf("%.0f KiB an issuer, with the server of its keys", each/1024)
	if each > 256<<10 {
		t.Errorf("%.0f bytes an issuer, more than 256 KiB", each)
	}
	expectToken(t, a, tokens[7], "")
}

// Without context the cookie of one of several hosts goes to the issuer at that host, and to nobody else.
func TestCookiesOfOneNameGoByHost(t *testing.T) {
	configs, _ := severalOf(t, 2)
	for n := range configs {
		configs[n].DatabaseURL = sessionsDatabase(t)
		if reader, ok := readers.Load(configs[n].DatabaseURL); ok {
			configs[n].DatabaseURL = reader.(string)
		}
	}
	a := startAuthorizer(t, Config{Several: configs})
	ask := func(host string, by *IssuerConfig) (string, Reason) {
		in := wire["headers"]("GET", cookie(url.QueryEscape(signedSession(liveToken, string(by.Secret)))))
		in.Attributes.Request.Http.Host = host
		response := decidedByCheck(t, a, in)
		return headersOf(response)["x-auth-issuer"], reasonIn(response)
	}
	for _, row := range []struct {
		host   string
		by     *IssuerConfig
		issuer string
		reason Reason
	}{
		{"tenant-0.example.com", &configs[0], "tenant-0", ""},
		{"TENANT-1.example.com:8443", &configs[1], "tenant-1", ""},
		{"tenant-0.example.com", &configs[1], "", ReasonBadSignature},
		{"api.example.com", &configs[0], "tenant-0", ""}, // at neither, so the signature tells
		{"api.example.com", &configs[1], "tenant-1", ""},
	} {
		if name, reason := ask(row.host, row.by); name != row.issuer || reason != row.reason {
			t.Errorf("%s at %s: issuer %q, reason %q", row.by.Name, row.host, name, reason)
		}
	}
}

// A remembered token costs no allocation, with one issuer and with many.
func TestHotPathAmongIssuersAllocatesNothing(t *testing.T) {
	configs, tokens := severalOf(t, 10)
	a := startAuthorizer(t, Config{Several: configs})
	allocatesNothing(t, a, hotRequest(t, tokens[9]))
}

// BenchmarkRememberedAmongIssuers is a remembered JWT's check with one issuer and with more.
func BenchmarkRememberedAmongIssuers(b *testing.B) {
	for _, count := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("issuers=%d", count), func(b *testing.B) {
			configs, tokens := severalOf(b, count)
			a := startAuthorizer(b, Config{Several: configs, Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
			var r request.Request
			if !checkwire.ScanRequest(hotRequest(b, tokens[count-1]), &r) {
				b.Fatal("left to the ordinary codec")
			}
			expectToken(b, a, tokens[count-1], "")
			b.ReportAllocs()
			for b.Loop() {
				if d := a.decide(context.Background(), &r); d.Denial != nil {
					b.Fatal(d.Denial)
				}
			}
		})
	}
}

// One Better Auth that answers under several hosts (baseURL.allowedHosts) has one JWKS, and tokens whose iss and aud are
// the request's host: one issuer with several names.
func TestOneKeySetUnderSeveralHosts(t *testing.T) {
	hosts := []string{"https://a.example.com", "https://b.example.com"}
	a := startAuthorizer(t, Config{Issuers: hosts, Audiences: hosts, JWKSURL: serveKeys(t, testKeys()).URL})
	for _, host := range hosts {
		expectToken(t, a, signers()["ed"].issue(goodClaims(map[string]any{"iss": host, "aud": host})), "")
	}
	other := "https://c.example.com"
	expectToken(t, a, signers()["ed"].issue(goodClaims(map[string]any{"iss": other, "aud": hosts[0]})), ReasonWrongIssuer)
	expectToken(t, a, signers()["ed"].issue(goodClaims(map[string]any{"iss": hosts[0], "aud": other})), ReasonWrongAudience)
}
