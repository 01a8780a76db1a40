package extauthz

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"extauthz/envoy/parts"
	"extauthz/extauthz/internal/decide"
)

// countingTransport counts the statuses that an issuer answers with.
type countingTransport struct {
	http.RoundTripper
	mu       sync.Mutex
	statuses map[int]int
}

func (c *countingTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := c.RoundTripper.RoundTrip(request)
	if err == nil {
		c.mu.Lock()
		c.statuses[response.StatusCode]++
		c.mu.Unlock()
	}
	return response, err
}

func (c *countingTransport) count(status int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.statuses[status]
}

// startLimitedIssuer runs Better Auth with the rate limit that it has in production, and signs a user up. token gets
// a JWT of the user's; rotate makes Better Auth forget its keys, so that it signs the next token by a new one.
func startLimitedIssuer(t *testing.T) (url string, token func() string, rotate func()) {
	t.Helper()
	installer, err := parts.NewInstaller(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	database := newDatabaseURL(t)
	url = fmt.Sprintf("http://127.0.0.1:%d", port)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	process, err := installer.StartIssuer(ctx, t.TempDir(), parts.IssuerSettings{Port: port, URL: url, Audience: testAudience, Secret: testSecret,
		DatabaseURL: database, TrustedOrigins: url, IsLimited: true})
	if process != nil {
		t.Cleanup(func() { process.Stop() })
	}
	if err != nil {
		t.Fatal(err)
	}
	send := func(method, path, cookie, body string) (*http.Response, []byte) {
		request, err := http.NewRequest(method, url+"/api/auth"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Origin", url)
		request.Header.Set("Cookie", cookie)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %d %s %v", method, path, response.StatusCode, answer, err)
		}
		return response, answer
	}
	response, _ := send("POST", "/sign-up/email", "", `{"name":"Ana","email":"ana@example.com","password":"correct horse battery staple"}`)
	cookie := response.Cookies()[0]
	token = func() string {
		_, body := send("GET", "/token", cookie.Name+"="+cookie.Value, "")
		var answer struct{ Token string }
		if err := json.Unmarshal(body, &answer); err != nil {
			t.Fatal(err)
		}
		return answer.Token
	}
	return url, token, func() { execute(t, database, `delete from "jwks"`) }
}

// Three replicas behind one address, in front of the real Better Auth with the rate limit that it has in production:
// a flood of made-up kids at each brings no 429, and a new key is known within seconds. Where the limit is used up,
// Better Auth's 429 is what the simulation of limit_test.go takes it for, and the replicas come back by themselves.
func TestFloodAgainstBetterAuth(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("floods for a quarter of a minute")
	}
	const replicas, length, rate = 3, 15 * time.Second, 20
	url, token, rotate := startLimitedIssuer(t)
	first := token() // Better Auth makes its key with its first token
	transport := &countingTransport{RoundTripper: http.DefaultTransport.(*http.Transport).Clone(), statuses: map[int]int{}}
	var authorizers []*Authorizer
	for range replicas {
		authorizers = append(authorizers, startAuthorizer(t, Config{Issuer: url, Client: &http.Client{Transport: transport}, Now: time.Now, budget: decide.TimeBudget,
			Logger: slog.New(slog.DiscardHandler)}))
	}
	// awaitKnown sends a token to each replica, again a moment after each 503, and returns how long the last took to
	// allow it.
	awaitKnown := func(text string) (last time.Duration) {
		began := time.Now()
		for _, a := range authorizers {
			for d := judgeOne(t, a, text, false); d.Denial != nil; d = judgeOne(t, a, text, false) {
				if d.Denial.Status() != http.StatusServiceUnavailable || time.Since(began) > time.Minute {
					t.Fatalf("a valid token after %s: %v", time.Since(began), d.Denial)
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
		return time.Since(began)
	}
	awaitKnown(first)

	var flood sync.WaitGroup
	began := time.Now()
	for i, a := range authorizers {
		flood.Go(func() {
			var checks sync.WaitGroup
			for n := 0; time.Since(began) < length; n++ {
				made := jwtOf(object(member("alg", "EdDSA"), member("kid", fmt.Sprintf("made-up-%d-%d", i, n))), goodClaims(nil), func([]byte) []byte { return make([]byte, 64) })
				checks.Go(func() {
					if d := judgeOne(t, a, made, false); d.Denial == nil {
						t.Error("a made-up token is allowed")
					}
				})
				time.Sleep(time.Second / rate)
			}
			checks.Wait()
		})
	}
	time.Sleep(length / 2)
	rotate()
	known := awaitKnown(token())
	flood.Wait()
	fetches := transport.count(http.StatusOK)
	t.Logf("%d fetches in %s by %d replicas, %d answered with 429; the new key was known to all after %s", fetches, length, replicas,
		transport.count(http.StatusTooManyRequests), known.Round(100*time.Millisecond))
	if transport.count(http.StatusTooManyRequests) > 0 || fetches > 60 { // five at once, and one in three seconds, of each
		t.Errorf("%d fetches and %d times 429, want 30 and none", fetches, transport.count(http.StatusTooManyRequests))
	}
	if known > 20*time.Second { // 3 s on a machine that has nothing else to do
		t.Errorf("the new key was known after %s", known)
	}

	// Use up the limit.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var wait string
	for range 120 {
		response, err := client.Get(url + "/api/auth/jwks")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode == http.StatusTooManyRequests {
			wait = response.Header.Get("X-Retry-After")
			break
		}
	}
	if wait == "" {
		t.Fatal("Better Auth did not limit")
	}
	rotate()
	limited := awaitKnown(token())
	t.Logf("Better Auth asked to be left alone for %s s; the next new key was known to all after %s", wait, limited.Round(100*time.Millisecond))
	if limited > time.Minute {
		t.Errorf("the new key was known after %s", limited)
	}
}
