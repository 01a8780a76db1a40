package envoy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"extauthz/envoy/parts"
)

// tells is a backend that tells all that came, trailers too, which some servers file with the headers.
func tells(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body) // the trailers stand behind it
	var all [][2]string
	for _, fields := range []http.Header{r.Header, r.Trailer} {
		for name, values := range fields {
			for _, value := range values {
				all = append(all, [2]string{strings.ToLower(name), value})
			}
		}
	}
	json.NewEncoder(w).Encode(all)
}

// Headers that come by another way than among the others: named by Connection, so that a proxy drops what extauthz set,
// behind the body as trailers, or within another header's value. None of them changes who the user is.
func TestIdentityByOtherWays(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(tells))
	t.Cleanup(backend.Close)
	_, port, err := net.SplitHostPort(backend.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	const trailers = "Trailer: X-User-Id\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"1\r\nx\r\n0\r\nX-User-Id: admin\r\nX-Auth-Method: jwks\r\n"
	for _, version := range envoyVersions {
		m := startMeshWith(t, version, "public-routes.yaml", func(config string) string {
			return strings.Replace(config, parts.BackendPipe, "{ socket_address: { address: 127.0.0.1, port_value: "+port+" } }", 1)
		})
		p := m.signUp(t, "Ana")
		if a := m.get(t, "/api/me", bearer(p.jwt)); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		authorization := "Authorization: Bearer " + p.jwt + "\r\n"
		for title, row := range map[string]struct{ path, lines, user string }{
			"named by Connection":    {"/api/me", authorization + "Connection: x-user-id, x-auth-method\r\n", p.id},
			"named, and spoofed":     {"/api/me", authorization + "X-User-Id: admin\r\nConnection: close, x-user-id\r\n", p.id},
			"named on a public path": {"/health", "X-User-Id: admin\r\nConnection: x-user-id\r\n", ""},
			"trailers":               {"/api/me", authorization + trailers, p.id},
			"trailers, public":       {"/health", trailers, ""},
			"folded":                 {"/health", "X-Other: a\r\n X-User-Id: admin\r\n", ""},
			"a carriage return":      {"/health", "X-Other: a\rX-User-Id: admin\r\n", ""},
			"a line feed":            {"/health", "X-Other: a\nX-User-Id: admin\r\n", ""},
			"a space before a colon": {"/health", "X-User-Id : admin\r\n", ""},
			"a NUL":                  {"/health", "X-User-Id\x00: admin\r\n", ""},
		} {
			t.Run(version+"/"+title, func(t *testing.T) {
				a := m.rawly(t, row.path, row.lines)
				if a.status == http.StatusBadRequest {
					return
				}
				got := received(t, a)
				for name, value := range got {
					if isOurs.MatchString(name) && value == "admin" {
						t.Errorf("the backend got %s: %s", name, value)
					}
				}
				if got["x-user-id"] != row.user {
					t.Errorf("the user is %q, want %q", got["x-user-id"], row.user)
				}
			})
		}
	}
}

// rawly sends a request of these lines as they are.
func (m *mesh) rawly(t *testing.T, path, lines string) answer {
	t.Helper()
	connection, err := net.DialTimeout("tcp", m.address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: api\r\n%s\r\n", path, lines)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(content)}
}
