package backend

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"extauthz/extauthz/operator"
)

// answering is a backend with these statuses: to a plain request, to one with an identity, and to one that says, too,
// that it comes from Envoy's address.
func answering(plain, identity, forwarded int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-Forwarded-For") == "127.0.0.2":
			w.WriteHeader(forwarded)
		case r.Header.Get("X-User-Id") != "":
			w.WriteHeader(identity)
		default:
			w.WriteHeader(plain)
		}
	}
}

// A backend that lets anybody in is found, by whatever protocol and header; one that does not is none.
func TestDoctorAsksTheBackend(t *testing.T) {
	const header, forwarded = "GET with x-user-id", "GET with x-user-id and X-Forwarded-For"
	plain := func(handler http.Handler) func(t *testing.T) string {
		return func(t *testing.T) string {
			server := httptest.NewServer(handler)
			t.Cleanup(server.Close)
			return server.URL
		}
	}
	encrypted := func(handler http.Handler, clients tls.ClientAuthType, scheme string) func(t *testing.T) string {
		return func(t *testing.T) string {
			server := httptest.NewUnstartedServer(handler)
			server.TLS = &tls.Config{ClientAuth: clients, ClientCAs: x509.NewCertPool()}
			server.Config.ErrorLog = quiet
			server.StartTLS()
			t.Cleanup(server.Close)
			return scheme + strings.TrimPrefix(server.URL, "https")
		}
	}
	raw := func(serve func(net.Conn)) func(t *testing.T) string {
		return func(t *testing.T) string {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { listener.Close() })
			go func() {
				for {
					connection, err := listener.Accept()
					if err != nil {
						return
					}
					go serve(connection)
				}
			}()
			return "http://" + listener.Addr().String()
		}
	}
	onlyHTTP2 := func(t *testing.T) string {
		server := httptest.NewUnstartedServer(answering(200, 200, 200))
		server.Config.Protocols = new(http.Protocols)
		server.Config.Protocols.SetUnencryptedHTTP2(true)
		server.Config.ErrorLog = quiet
		server.Start()
		t.Cleanup(server.Close)
		return server.URL
	}
	byExtauthz := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Www-Authenticate", `Bearer realm="api"`)
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(401)
	}
	says := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	const noCertificate = "<center><h1>400 Bad Request</h1></center>\r\n" +
		"<center>No required SSL certificate was sent</center>"
	otherName := func(scheme string) func(t *testing.T) string {
		return func(t *testing.T) string {
			server := httptest.NewUnstartedServer(answering(200, 200, 200))
			server.TLS = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				return nil, errors.New("no certificate for " + hello.ServerName)
			}}
			server.Config.ErrorLog = quiet
			server.StartTLS()
			t.Cleanup(server.Close)
			return scheme + strings.TrimPrefix(server.URL, "https")
		}
	}
	wantsAll := func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{
			"User-Id", "User-Email", "User-Name", "Auth-Method", "Auth-Issued-At", "Auth-Expires-At",
		} {
			if r.Header.Get("X-"+name) == "" {
				w.WriteHeader(401)
				return
			}
		}
	}
	believed := all(operator.LevelFailure)
	believed["GET past Envoy"] = operator.LevelWarning // 401
	addressBelieved := all(operator.LevelWarning)
	addressBelieved[forwarded] = operator.LevelFailure
	for title, row := range map[string]struct {
		start func(t *testing.T) string
		want  map[string]operator.Level // of an attempt; all others are ok
	}{
		"open":                               {plain(answering(200, 200, 200)), all(operator.LevelFailure)},
		"a path that is not there":           {plain(answering(404, 404, 404)), all(operator.LevelFailure)},
		"an error":                           {plain(answering(500, 500, 500)), all(operator.LevelFailure)},
		"a redirect":                         {plain(answering(307, 307, 307)), all(operator.LevelFailure)},
		"a header is believed":               {plain(answering(401, 200, 200)), believed},
		"a header is believed, and may not":  {plain(answering(401, 403, 403)), believed},
		"an address in a header is believed": {plain(answering(403, 403, 200)), addressBelieved},
		"the same, and then it says 401":     {plain(answering(403, 403, 401)), addressBelieved},
		"every header is wanted":             {plain(http.HandlerFunc(wantsAll)), believed},
		"403 to all":                         {plain(answering(403, 403, 403)), all(operator.LevelWarning)},
		"403 by Envoy's RBAC":                {plain(says(403, "RBAC: access denied")), nil},
		"403 that quotes Envoy's RBAC":       {plain(says(403, "not RBAC: access denied")), all(operator.LevelWarning)},
		"401 to all":                         {plain(answering(401, 401, 401)), all(operator.LevelWarning)},
		"extauthz answers":                   {plain(http.HandlerFunc(byExtauthz)), all(operator.LevelWarning)},
		"IPv6": {func(t *testing.T) string {
			listener, err := net.Listen("tcp6", "[::1]:0")
			if err != nil {
				t.Skip("no IPv6 here: ", err)
			}
			server := &http.Server{Handler: answering(401, 200, 200)}
			go server.Serve(listener)
			t.Cleanup(func() { server.Close() })
			return "http://" + listener.Addr().String()
		}, believed},
		"HTTP/2 alone": {onlyHTTP2, all(operator.LevelFailure)},
		"TLS, given as http": {
			encrypted(answering(200, 200, 200), tls.NoClientCert, "http"), all(operator.LevelFailure)},
		"TLS that only asks for a certificate": {
			encrypted(answering(200, 200, 200), tls.VerifyClientCertIfGiven, "https"), all(operator.LevelFailure)},
		"mTLS":                {encrypted(answering(200, 200, 200), tls.RequireAndVerifyClientCert, "https"), nil},
		"mTLS, given as http": {encrypted(answering(200, 200, 200), tls.RequireAndVerifyClientCert, "http"), nil},
		"no TLS, given as https": {func(t *testing.T) string {
			return "https" + strings.TrimPrefix(plain(answering(200, 200, 200))(t), "http")
		}, all(operator.LevelFailure)},
		"mTLS by nginx": {encrypted(says(400, noCertificate), tls.RequestClientCert, "https"), nil},
		"its words without mTLS": {
			encrypted(says(400, noCertificate), tls.NoClientCert, "https"), all(operator.LevelFailure)},
		"TLS for another name":                {otherName("https"), all(operator.LevelWarning)},
		"TLS for another name, given as http": {otherName("http"), all(operator.LevelWarning)},
		"the same, and other protocols are closed at once": {raw(func(c net.Conn) {
			defer c.Close()
			record := make([]byte, 1<<16)
			if n, _ := c.Read(record); n > 0 && record[0] == 22 { // a handshake (RFC 8446 §5.1)
				c.Write([]byte{21, 3, 3, 0, 2, 2, 112}) // unrecognized_name, and fatal
			}
		}), all(operator.LevelWarning)},
		"connections are closed at once": {raw(func(c net.Conn) { c.Close() }), nil},
		"connections are left waiting": {raw(func(c net.Conn) {
			time.Sleep(time.Minute)
			c.Close()
		}), all(operator.LevelWarning)},
		"another protocol": {raw(func(c net.Conn) {
			fmt.Fprintln(c, "SSH-2.0-other")
			io.Copy(io.Discard, c)
		}), all(operator.LevelWarning)},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			address, err := Parse(row.start(t) + "/api/me")
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for _, f := range Diagnose(t.Context(), address) {
				seen[f.Tried] = true
				want, given := row.want[f.Tried]
				if !given {
					want = operator.LevelOK
				}
				if f.Level != want || (f.Level != operator.LevelOK) != (f.Fix != "") {
					t.Errorf("%s: %s %q, fix %q; want %s", f.Tried, f.Level, f.Found, f.Fix, want)
				}
			}
			saysNothing := slices.Contains([]string{"connections are left waiting", "another protocol", "TLS for another name",
				"TLS for another name, given as http", "the same, and other protocols are closed at once"}, title)
			if !seen["GET past Envoy"] || seen[header] == saysNothing || seen[forwarded] == saysNothing {
				t.Errorf("tried only %v", seen)
			}
		})
	}
}

// A Unix socket is asked where it is, and not at a TCP port.
func TestDoctorAsksAUnixSocket(t *testing.T) {
	folder, err := os.MkdirTemp("", "doctor-") // t.TempDir's path may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	path := filepath.Join(folder, "shop.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/me" {
			w.WriteHeader(404)
		}
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	address, err := Parse("unix://" + path + "?path=/api/me")
	if err != nil {
		t.Fatal(err)
	}
	found := fmt.Sprint(Diagnose(t.Context(), address))
	if !strings.Contains(found, "let in: 200 over HTTP/1.1") || strings.Contains(found, "404") {
		t.Error(found)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	server.Close() // which leaves the socket, at which nobody listens: that is no refusal
	if found := fmt.Sprint(Diagnose(t.Context(), address)); !strings.Contains(found, "no request was sent") {
		t.Error(found)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if found := fmt.Sprint(Diagnose(t.Context(), address)); !strings.Contains(found, "no request was sent") {
		t.Error(found)
	}
}

// What kept doctor from asking is no refusal.
func TestDoctorCouldNotAskTheBackend(t *testing.T) {
	server := httptest.NewServer(answering(200, 200, 200))
	t.Cleanup(server.Close)
	address, err := Parse(server.URL + "/api/me")
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer end()
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for title, ctx := range map[string]context.Context{"no time left": ended, "stopped": stopped} {
		for _, f := range Diagnose(ctx, address) {
			if f.Level != operator.LevelFailure || !strings.HasSuffix(f.Found, "no request was sent") {
				t.Errorf("%s: %s: %s %q", title, f.Tried, f.Level, f.Found)
			}
		}
	}
	dial := func(number syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", number)}
	}
	for title, a := range map[string]answer{
		"a resolver that is silent": {err: &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{
			Err: "i/o timeout", Name: "backend.example.com", IsTimeout: true, IsTemporary: true}}},
		"no route to that network":             {err: dial(syscall.ENETUNREACH)},
		"a firewall for what goes out":         {err: dial(syscall.EPERM)},
		"a socket at which nobody listens":     {err: dial(syscall.ECONNREFUSED), unix: true},
		"a name that there is not":             {err: &net.DNSError{Err: "no such host", IsNotFound: true}},
		"more sockets than this host may have": {err: dial(syscall.EMFILE)},
	} {
		if level, what, fix := a.judge(a); level != operator.LevelFailure || !a.saysNothing() || fix == "" {
			t.Errorf("%s: %s %q, fix %q", title, level, what, fix)
		}
	}
}

// quiet keeps refused handshakes out of the test's output.
var quiet = log.New(io.Discard, "", 0)

// levels are what is wanted of attempts.
type levels map[string]operator.Level

func all(level operator.Level) levels {
	all := levels{}
	for _, attempt := range attempts {
		all[attempt.tried] = level
	}
	return all
}
