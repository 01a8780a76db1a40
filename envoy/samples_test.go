// Package envoy holds sample configurations and nothing to import; its tests run each of them in real
// Envoy, with real Better Auth tokens.
package envoy

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"extauthz/envoy/parts"
)

var envoyVersions = []string{parts.EnvoyOldest, parts.EnvoyNewest}

// Each sample is valid by itself, as it stands.
func TestSamplesAreValid(t *testing.T) {
	installer := startStack(t).installer
	samples, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, sample := range append(samples, "demo/envoy.yaml", "compose/envoy.yaml") {
		for _, version := range envoyVersions {
			t.Run(version+"/"+sample, func(t *testing.T) {
				envoy, err := installer.Envoy(version)
				if err != nil {
					t.Fatal(err)
				}
				if output, err := exec.Command(envoy, "--mode", "validate", "-c", sample).CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, output)
				}
			})
		}
	}
}

// Every sample does the whole job, on the oldest and the newest Envoy.
func TestSamples(t *testing.T) {
	for _, version := range envoyVersions {
		for _, sample := range []string{"http.yaml", "unix-socket.yaml", "public-routes.yaml", "demo/envoy.yaml"} {
			t.Run(version+"/"+sample, func(t *testing.T) {
				m := startMesh(t, version, sample)
				person := m.signUp(t, "Zoë Day")
				t.Run("allow", func(t *testing.T) { testAllow(t, m, person) })
				t.Run("deny", func(t *testing.T) { testDeny(t, m, person) })
				t.Run("spoofed headers", func(t *testing.T) { testSpoofedHeaders(t, m, person) })
				t.Run("paths", func(t *testing.T) { testPaths(t, m, person) })
				t.Run("cross-site", func(t *testing.T) { testCrossSite(t, m, person) })
				t.Run("WebSocket", func(t *testing.T) { testWebSocket(t, m, person) })
				t.Run("gRPC", func(t *testing.T) { testGRPC(t, m) })
				t.Run("sign-out", func(t *testing.T) { testSignOut(t, m, person) })
				t.Run("extauthz down", func(t *testing.T) { testDown(t, m) })
			})
		}
	}
}

// TLS towards the clients and mTLS towards extauthz: checked as ever; its certificate changes under load and no
// request fails; and an Envoy that it does not know gets no answer, so nobody passes.
func TestMutualTLSSample(t *testing.T) {
	for _, version := range envoyVersions {
		t.Run(version, func(t *testing.T) {
			m := startMesh(t, version, "mtls.yaml", "EXTAUTHZ_MAX_CONNECTION_AGE=400ms") // so that Envoy connects again and again
			p := m.signUp(t, "Zoë Day")
			if a := m.get(t, "/api/me", bearer(p.jwt)); a.status != 200 {
				t.Fatalf("JWT: %d %s", a.status, a.body)
			}
			if a := m.get(t, "/api/me", map[string]string{"Cookie": p.cookie}); a.status != 200 {
				t.Errorf("cookie: %d %s", a.status, a.body)
			}
			if a := m.get(t, "/api/me", bearer(p.jwt+"A")); a.status != 401 {
				t.Errorf("forged JWT: %d %s", a.status, a.body)
			}
			readAnew := func() int {
				log, err := os.ReadFile(m.extauthz.Log)
				if err != nil {
					t.Fatal(err)
				}
				return strings.Count(string(log), "TLS certificate reloaded")
			}
			m.underLoad(t, 4, func() map[string]string { return bearer(p.jwt) }, func(done func() int64) {
				for change := 1; change <= 2; change++ {
					before := servedSerial(t, m.address)
					writeCertificate(t, filepath.Join(m.folder, "tls"), "127.0.0.1", "envoy.example.com", "extauthz.example.com")
					eventually(t, "the new certificate to be read", func() bool { return readAnew() >= change })
					eventually(t, "Envoy to serve by the new certificate", func() bool { return servedSerial(t, m.address) != before })
				}
				more(t, done, 100)
			})

			m.extauthz.Stop()
			m.settings = append(m.settings, "EXTAUTHZ_TLS_CLIENT_NAMES=another.example.com")
			m.startExtauthz(t)
			eventually(t, "a refused handshake", func() bool {
				m.getOnce(t, "/api/me", bearer(p.jwt))
				return strings.Contains(m.extauthz.LogEnd(), "EXTAUTHZ_TLS_CLIENT_NAMES lists none of these")
			})
			if a := m.getOnce(t, "/api/me", bearer(p.jwt)); a.status != 503 {
				t.Errorf("by an Envoy that is not listed: %d %s", a.status, a.body)
			}
		})
	}
}

// servedSerial is the serial number of the certificate that is served there.
func servedSerial(t *testing.T, address string) string {
	t.Helper()
	var connection *tls.Conn
	eventually(t, "a TLS connection", func() bool {
		var err error
		connection, err = tls.Dial("tcp", address, http.DefaultTransport.(*http.Transport).TLSClientConfig)
		return err == nil
	})
	defer connection.Close()
	return connection.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func bearer(token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token}
}

func testAllow(t *testing.T, m *mesh, p person) {
	for title, row := range map[string]struct {
		header map[string]string
		method string
	}{
		"JWT":                                 {bearer(p.jwt), "jwks"},
		"raw session token":                   {bearer(p.raw), "session"},
		"signed session token":                {bearer(p.signed), "session"},
		"signed session token, as the cookie": {bearer(strings.TrimPrefix(p.cookie, "better-auth.session_token=")), "session"},
		"cookie":                              {map[string]string{"Cookie": "theme=dark; " + p.cookie}, "session"},
	} {
		t.Run(title, func(t *testing.T) {
			for _, path := range []string{"/api/me", "/api/auth/me"} {
				var me map[string]any
				a := m.get(t, path, row.header)
				if err := json.Unmarshal([]byte(a.body), &me); err != nil || a.status != 200 {
					t.Fatalf("%s: %d %s", path, a.status, a.body)
				}
				if me["id"] != p.id || me["email"] != p.email || me["name"] != p.name {
					t.Errorf("%s: %v, want %+v", path, me, p)
				}
				// As the Python verifier: the token's iat as a number, and null for a session.
				if got, there := me["created_at"]; !there || got != createdAt(t, p.jwt, row.method) {
					t.Errorf("%s: created_at %v, want %v", path, got, createdAt(t, p.jwt, row.method))
				}
			}
			got := received(t, m.get(t, "/api/headers", row.header))
			if got["x-user-id"] != p.id || got["x-auth-method"] != row.method || got["x-user-name"] != "Zo%C3%AB Day" || got["x-auth-expires-at"] == "" {
				t.Errorf("the backend got %v", got)
			}
		})
	}
	t.Run("cookies that HTTP/2 splits", func(t *testing.T) {
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		transport := &http.Transport{Protocols: &protocols}
		defer transport.CloseIdleConnections()
		request, err := http.NewRequestWithContext(t.Context(), "GET", m.url+"/api/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Cookie", "theme=dark; "+p.cookie+"; lang=en") // Go's client sends three fields
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.ProtoMajor != 2 || response.StatusCode != 200 {
			t.Errorf("%s %s", response.Proto, response.Status)
		}
	})
	t.Run("service token", func(t *testing.T) {
		got := received(t, m.get(t, "/api/headers", bearer(m.serviceToken(t, "billing"))))
		if got["x-user-id"] != "billing" || got["x-auth-method"] != "hs256" {
			t.Errorf("the backend got %v", got)
		}
	})
}

// createdAt is what the backend says of a credential's age: a JWT's iat.
func createdAt(t *testing.T, jwt, method string) any {
	t.Helper()
	if method != "jwks" {
		return nil
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(jwt, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct{ IAT float64 }
	if err := json.Unmarshal(payload, &claims); err != nil || claims.IAT == 0 {
		t.Fatalf("no iat in %s", payload)
	}
	return claims.IAT
}

func testDeny(t *testing.T, m *mesh, p person) {
	forged := p.jwt[:strings.LastIndex(p.jwt, ".")+1] + strings.Repeat("A", 86)
	for title, row := range map[string]struct {
		header map[string]string
		detail string
	}{
		"nothing":                      {nil, "Not authenticated: Missing Authorization header"},
		"Basic":                        {map[string]string{"Authorization": "Basic eA=="}, "Not authenticated: Missing Authorization header"},
		"forged JWT":                   {bearer(forged), "Invalid token"},
		"unknown session token":        {bearer(strings.Repeat("a", 32)), "Invalid token"},
		"raw token in the cookie":      {map[string]string{"Cookie": "better-auth.session_token=" + p.raw}, "Invalid token"},
		"forged Bearer, good cookie":   {map[string]string{"Authorization": "Bearer " + forged, "Cookie": p.cookie}, "Invalid token"},
		"two Authorization headers":    {map[string]string{"Authorization": "Bearer " + p.jwt + "\nBearer " + p.jwt}, "Invalid token"},
		"cookies over two headers":     {map[string]string{"Cookie": "theme=dark\n" + p.cookie}, "Not authenticated: Missing Authorization header"},
		"the first of two cookies bad": {map[string]string{"Cookie": "better-auth.session_token=bad\n" + p.cookie}, "Invalid token"},
	} {
		t.Run(title, func(t *testing.T) {
			a := m.get(t, "/api/me", row.header)
			if want := `{"detail":"` + row.detail + `"}`; a.status != 401 || a.body != want {
				t.Errorf("%d %s, want 401 %s", a.status, a.body, want)
			}
			challenge := a.header.Values("Www-Authenticate")
			if len(challenge) != 1 || !strings.HasPrefix(challenge[0], `Bearer realm="api"`) {
				t.Errorf("www-authenticate %q", challenge)
			}
			for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store"} {
				if got := a.header.Values(name); len(got) != 1 || got[0] != want {
					t.Errorf("%s: %q, want %q once", name, got, want)
				}
			}
		})
	}
}

func testSpoofedHeaders(t *testing.T, m *mesh, p person) {
	spoofed := bearer(p.raw)
	for _, name := range []string{"X-User-Id", "x-user-email", "X-USER-ROLE", "X-User-", "x-auth-method", "X-Auth-Issued-At", "X-Auth-Request-User"} {
		spoofed[name] = "admin"
	}
	spoofed["X-User-Name"] = "admin\nroot"
	spoofed["X.User.Id"], spoofed["X-Auth~Method"] = "admin", "admin" // which some servers take for x-user-id and x-auth-method
	spoofed["X-User-Agent"] = "grpc-web-javascript/0.1"               // gRPC-Web's own, which says nothing of the user
	got := received(t, m.get(t, "/api/headers", spoofed))
	want := map[string]string{"x-user-id": p.id, "x-user-email": p.email, "x-user-name": "Zo%C3%AB Day", "x-auth-method": "session", "x-auth-expires-at": got["x-auth-expires-at"],
		"x-user-agent": "grpc-web-javascript/0.1"}
	for name, value := range got {
		isOurs := strings.HasPrefix(name, "x-user") || strings.HasPrefix(name, "x.user") || strings.HasPrefix(name, "x-auth")
		if isOurs && value != want[name] {
			t.Errorf("the backend got %s: %s, want %q", name, value, want[name])
		}
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("the backend got %s: %q, want %q", name, got[name], value)
		}
	}
	for _, name := range []string{"x_user_id", "X_USER_ID", "x-user_id", "x_auth-method"} {
		header := bearer(p.raw)
		header[name] = "admin"
		if a := m.get(t, "/api/headers", header); a.status != 400 {
			t.Errorf("%s: %d %s, want 400", name, a.status, a.body)
		}
	}
}

// What is not one path for all is refused, and no spelling goes round the check.
func testPaths(t *testing.T, m *mesh, p person) {
	for _, path := range []string{"/api%2Fme", "/health%2F..%2Fapi/me", "/api%5Cme"} {
		if a := m.get(t, path, bearer(p.raw)); a.status != 400 {
			t.Errorf("%s: %d, want 400", path, a.status)
		}
	}
	for _, path := range []string{"//api/me", "/health/../api/me", "/./api/me", "/api//me", "/health/%2e%2e/api/me", "/api/auth/me", "/API/me", "/api/me?x=/health", "/api/me;/health", "/health/", "/health?/../api/me;"} {
		a := m.get(t, path, nil)
		isPublic := strings.HasPrefix(path, "/health?") && a.status == 200 // by its path, whatever the query
		// What is not the API's by its path is the front end's in the demo, and never comes to the backend, which would say what it misses.
		isFrontEnds := m.sample == "demo/envoy.yaml" && !strings.HasPrefix(path, "/api/") && a.status == 404 && !strings.Contains(a.body, "Not Found")
		if a.status != 401 && a.status != 400 && !isPublic && !isFrontEnds {
			t.Errorf("%s without a credential: %d %s", path, a.status, a.body)
		}
	}
}

func testCrossSite(t *testing.T, m *mesh, p person) {
	post := func(header map[string]string) answer { return m.send(t, "POST", "/api/notes", header, "{}") }
	if a := post(map[string]string{"Cookie": p.cookie, "Sec-Fetch-Site": "cross-site"}); a.status != 403 || a.body != `{"detail":"Cross-site request refused"}` {
		t.Errorf("cookie from another site: %d %s", a.status, a.body)
	}
	if a := post(map[string]string{"Cookie": p.cookie, "Origin": "https://evil.example"}); a.status != 403 {
		t.Errorf("cookie with another Origin: %d %s", a.status, a.body)
	}
	if a := post(map[string]string{"Cookie": p.cookie, "Origin": m.url}); a.status != 201 {
		t.Errorf("cookie from the same origin: %d %s", a.status, a.body)
	}
	if a := post(map[string]string{"Authorization": "Bearer " + p.jwt, "Sec-Fetch-Site": "cross-site"}); a.status != 201 {
		t.Errorf("Bearer from another site: %d %s", a.status, a.body)
	}
}

func testWebSocket(t *testing.T, m *mesh, p person) {
	dial := func(header http.Header) (string, error) {
		config, err := websocket.NewConfig("ws://"+m.address+"/api/echo", m.url)
		if err != nil {
			t.Fatal(err)
		}
		config.Header = header
		connection, err := websocket.DialConfig(config)
		if err != nil {
			return "", err
		}
		defer connection.Close()
		var first, second string
		err = errors.Join(websocket.Message.Receive(connection, &first), websocket.Message.Send(connection, "hello"), websocket.Message.Receive(connection, &second))
		if err == nil && second != "hello" {
			t.Errorf("the echo is %q", second)
		}
		return first, err
	}
	for title, header := range map[string]http.Header{
		"JWT":    {"Authorization": {"Bearer " + p.jwt}},
		"cookie": {"Cookie": {p.cookie}},
	} {
		if user, err := dial(header); err != nil || user != p.id {
			t.Errorf("%s: %q %v, want the user's id", title, user, err)
		}
	}
	if _, err := dial(nil); err == nil {
		t.Error("a WebSocket without a credential was opened")
	}
	upgrade := map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13", "Sec-Websocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
		"Cookie": p.cookie, "Origin": "https://evil.example",
	}
	if a := m.get(t, "/api/echo", upgrade); a.status != 403 {
		t.Errorf("a WebSocket from another site: %d %s", a.status, a.body)
	}
}

// A gRPC client gets its status from the denial's.
func testGRPC(t *testing.T, m *mesh) {
	if m.sample == "demo/envoy.yaml" {
		return // there a gRPC service's path is the front end's
	}
	connection, err := grpc.NewClient(m.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer forged")
	_, err = healthpb.NewHealthClient(connection).Check(ctx, &healthpb.HealthCheckRequest{})
	if code := status.Code(err); code != codes.Unauthenticated {
		t.Errorf("%v, want Unauthenticated", err)
	}
}

func testSignOut(t *testing.T, m *mesh, p person) {
	m.signOut(t, p)
	for title, header := range map[string]map[string]string{
		"raw": bearer(p.raw), "signed": bearer(p.signed), "cookie": {"Cookie": p.cookie},
	} {
		if a := m.get(t, "/api/me", header); a.status != 401 || a.body != `{"detail":"Invalid token"}` {
			t.Errorf("%s after sign-out: %d %s", title, a.status, a.body)
		}
	}
	// A JWT lives until its exp, as everywhere.
	if a := m.get(t, "/api/me", bearer(p.jwt)); a.status != 200 {
		t.Errorf("JWT after sign-out: %d %s", a.status, a.body)
	}
}

// Without extauthz nobody passes, and clients are told to come again.
func testDown(t *testing.T, m *mesh) {
	person := m.signUp(t, "Ana")
	m.extauthz.Stop()
	for title, header := range map[string]map[string]string{"JWT": bearer(person.jwt), "cookie": {"Cookie": person.cookie}, "nothing": nil} {
		if a := m.getOnce(t, "/api/me", header); a.status != 503 {
			t.Errorf("%s: %d %s, want 503", title, a.status, a.body)
		}
	}
	m.startExtauthz(t)
	eventually(t, "Envoy to find extauthz again", func() bool { return m.getOnce(t, "/api/me", bearer(person.jwt)).status == 200 })
}

// What public-routes.yaml has besides.
func TestPublicRoutes(t *testing.T) {
	for _, version := range envoyVersions {
		t.Run(version, func(t *testing.T) {
			m := startMesh(t, version, "public-routes.yaml")
			person := m.signUp(t, "Zoë Day")
			t.Run("public", func(t *testing.T) {
				if a := m.get(t, "/health", nil); a.status != 200 {
					t.Errorf("%d %s", a.status, a.body)
				}
				got := received(t, m.get(t, "/api/headers/public", map[string]string{"X-User-Id": "admin", "X-Auth-Method": "jwks"}))
				if got["x-user-id"] != "" || got["x-auth-method"] != "" {
					t.Errorf("the backend got %v", got)
				}
				for _, path := range []string{"/healthy", "/health/x", "/api/headers/public/x"} {
					if a := m.get(t, path, nil); a.status != 401 {
						t.Errorf("%s: %d %s, want 401", path, a.status, a.body)
					}
				}
			})
			t.Run("rules of a route's own", func(t *testing.T) {
				spoofed := map[string]string{"X-User-Id": "admin"}
				if got := received(t, m.get(t, "/api/headers/optional", spoofed)); got["x-user-id"] != "" {
					t.Errorf("without a credential the backend got %v", got)
				}
				if got := received(t, m.get(t, "/api/headers/optional", bearer(person.jwt))); got["x-user-id"] != person.id {
					t.Errorf("with a JWT the backend got %v", got)
				}
				if a := m.get(t, "/api/headers/optional", bearer(person.jwt+"A")); a.status != 401 {
					t.Errorf("with a forged JWT: %d %s, want 401", a.status, a.body)
				}
				for title, header := range map[string]map[string]string{"a JWT of an unverified address": bearer(person.jwt), "a session token": bearer(person.raw)} {
					if a := m.get(t, "/api/headers/verified", header); a.status != 403 || a.body != `{"detail":"Forbidden"}` {
						t.Errorf("%s: %d %s, want 403", title, a.status, a.body)
					}
				}
				m.execute(t, `update "user" set "emailVerified" = true where id = $1`, person.id)
				if got := received(t, m.get(t, "/api/headers/verified", bearer(m.freshJWT(t, person)))); got["x-user-id"] != person.id {
					t.Errorf("a JWT of a verified address: the backend got %v", got)
				}
			})
			t.Run("CORS", func(t *testing.T) {
				preflight := map[string]string{"Origin": frontEnd, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
				a := m.send(t, "OPTIONS", "/api/notes", preflight, "")
				if a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != frontEnd || a.header.Get("Access-Control-Allow-Credentials") != "true" {
					t.Errorf("preflight: %d %v", a.status, a.header)
				}
				preflight["Origin"] = "https://evil.example"
				if a := m.send(t, "OPTIONS", "/api/notes", preflight, ""); a.header.Get("Access-Control-Allow-Origin") != "" || a.status == 200 {
					t.Errorf("preflight from another origin: %d %v", a.status, a.header)
				}
				header := bearer(person.jwt)
				header["Origin"] = frontEnd
				if a := m.get(t, "/api/me", header); a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != frontEnd {
					t.Errorf("the call itself: %d %v", a.status, a.header)
				}
				// A browser shows a page the refusal only when it, too, carries the header.
				if a := m.get(t, "/api/me", map[string]string{"Origin": frontEnd}); a.status != 401 || a.header.Get("Access-Control-Allow-Origin") != frontEnd {
					t.Errorf("a refusal: %d %v", a.status, a.header)
				}
			})
			t.Run("RBAC", func(t *testing.T) {
				service := bearer(m.serviceToken(t, "billing"))
				if a := m.send(t, "POST", "/api/notes", service, "{}"); a.status != 403 {
					t.Errorf("a service writes: %d %s, want 403", a.status, a.body)
				}
				if a := m.get(t, "/api/me", service); a.status != 200 {
					t.Errorf("a service reads: %d %s", a.status, a.body)
				}
				if a := m.send(t, "POST", "/api/notes", bearer(person.raw), "{}"); a.status != 201 {
					t.Errorf("a person writes: %d %s", a.status, a.body)
				}
			})
			t.Run("access log", func(t *testing.T) {
				m.get(t, "/api/me?token=in-the-query", bearer(person.raw))
				m.get(t, "/api/me", bearer(strings.Repeat("b", 32)))
				var lines []map[string]any
				eventually(t, "the access log", func() bool {
					lines = nil
					for line := range strings.Lines(m.envoy.LogEnd()) {
						var record map[string]any
						if json.Unmarshal([]byte(line), &record) == nil {
							lines = append(lines, record)
						}
					}
					return len(lines) >= 2 && lines[len(lines)-1]["reason"] == "unknown_session"
				})
				allowed := lines[len(lines)-2]
				if allowed["user_id"] != person.id || allowed["auth_method"] != "session" || allowed["path"] != "/api/me" || allowed["check_ms"] == nil {
					t.Errorf("the line of an allowed request: %v", allowed)
				}
			})
		})
	}
}

// extauthz is ready by itself once its JWKS and database come, and says 503 through Envoy until then.
func TestStartsBeforeItsParts(t *testing.T) {
	m := startMesh(t, parts.EnvoyNewest, "http.yaml")
	person := m.signUp(t, "Ana")
	m.extauthz.Stop()
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	down := "127.0.0.1:" + itoa(port)
	m.settings = append(m.settings, "JWKS_URL=http://"+down+"/jwks", "DATABASE_URL=postgresql://postgres@"+down+"/app")
	process, err := parts.StartExtauthz(t.Context(), m.folder, m.binary, m.admin, m.settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Stop() })
	if a := send(t, "GET", "http://"+m.admin+"/readyz", nil, ""); a.status != 503 || !strings.Contains(a.body, "jwks, database") {
		t.Errorf("/readyz: %d %s", a.status, a.body)
	}
	want := `{"detail":"Authentication service unavailable"}`
	eventually(t, "an outage told by extauthz itself", func() bool { return m.getOnce(t, "/api/me", bearer(person.jwt)).body == want })
	for title, token := range map[string]string{"JWT": person.jwt, "session": person.raw} {
		if a := m.getOnce(t, "/api/me", bearer(token)); a.status != 503 || a.body != want || a.header.Get("Retry-After") != "1" {
			t.Errorf("%s: %d %s %v", title, a.status, a.body, a.header)
		}
	}
	if a := m.get(t, "/api/me", bearer(m.serviceToken(t, "billing"))); a.status != 200 {
		t.Errorf("HS256 needs neither: %d %s", a.status, a.body)
	}
}
