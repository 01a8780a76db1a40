package extauthz

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"extauthz/extauthz/internal/keyset/jwks"
)

// nameServer answers each question for an A record over UDP with one address, which can be changed. It takes the place
// of the process's resolver for the test.
type nameServer struct{ address atomic.Value }

func startNameServer(t *testing.T, address string) *nameServer {
	t.Helper()
	server := &nameServer{}
	server.address.Store(address)
	connection, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, client, err := connection.ReadFrom(buffer)
			if err != nil {
				return
			}
			connection.WriteTo(server.answer(buffer[:n]), client)
		}
	}()
	earlier := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", connection.LocalAddr().String())
	}}
	t.Cleanup(func() { net.DefaultResolver = earlier })
	return server
}

// answer is a DNS message (RFC 1035 §4.1) that repeats the question and, where it is for an A record, answers it.
func (s *nameServer) answer(query []byte) []byte {
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5
	const typeA = 1
	reply := append([]byte{}, query[:end]...)
	reply[2], reply[3] = 0x85, 0x80 // a response, authoritative, recursion wanted and there
	binary.BigEndian.PutUint16(reply[6:], 0)
	binary.BigEndian.PutUint32(reply[8:], 0)
	if binary.BigEndian.Uint16(query[end-4:]) == typeA {
		binary.BigEndian.PutUint16(reply[6:], 1)
		reply = append(reply, 0xc0, 12, 0, typeA, 0, 1, 0, 0, 0, 0, 0, 4) // the question's name, class IN, no time to live
		reply = append(reply, net.ParseIP(s.address.Load().(string)).To4()...)
	}
	return reply
}

// twoHosts serve one JWKS each at the same port of two addresses.
func twoHosts(t *testing.T, secure bool) (port string, first, second *httptest.Server) {
	t.Helper()
	serve := func(address string, keys ...map[string]any) *httptest.Server {
		document, err := json.Marshal(map[string]any{"keys": keys})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if secure && r.ProtoMajor != 2 {
				t.Errorf("%s, want HTTP/2", r.Proto)
			}
			w.Write(document)
		}))
		server.Listener.Close()
		if server.Listener, err = net.Listen("tcp", address); err != nil {
			t.Fatal(err)
		}
		if secure {
			server.EnableHTTP2 = true
			server.StartTLS()
		} else {
			server.Start()
		}
		t.Cleanup(server.Close)
		return server
	}
	ed := signers()["ed"]
	first = serve("127.0.0.2:0", ed.jwk(nil))
	_, port, err := net.SplitHostPort(first.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port, first, serve("127.0.0.3:"+port, ed.jwk(nil), ed.jwk(map[string]any{"kid": "moved"}))
}

// A name whose address changes is asked at the new one with the next fetch, though the old host lives and would answer:
// over HTTP/1.1 and HTTP/2, by the product's own client and by an embedder's, for an unknown kid and by Refresh.
func TestMovedIssuerIsFound(t *testing.T) {
	for title, row := range map[string]struct{ secure, embedded, asked bool }{
		"HTTP/1.1, an unknown kid":                {asked: true},
		"HTTP/1.1, Refresh":                       {},
		"HTTP/1.1, an embedder's client":          {embedded: true, asked: true},
		"HTTP/1.1, an embedder's client, Refresh": {embedded: true},
		"HTTP/2, an embedder's client":            {embedded: true, secure: true, asked: true},
		"HTTP/2, an embedder's client, Refresh":   {embedded: true, secure: true},
	} {
		t.Run(title, func(t *testing.T) {
			port, first, _ := twoHosts(t, row.secure)
			names := startNameServer(t, "127.0.0.2")
			config := Config{JWKSURL: "http://issuer.example.test:" + port + "/jwks"}
			if row.embedded {
				config.Client = &http.Client{Transport: &http.Transport{}}
			}
			if row.secure {
				config.JWKSURL = strings.Replace(config.JWKSURL, "http", "https", 1)
				roots := first.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
				config.Client = &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}}}
			}
			a := startAuthorizer(t, config)
			if keys, _ := a.only().keys.List(); len(keys) != 1 {
				t.Fatalf("%+v, want the first host's", keys)
			}
			names.address.Store("127.0.0.3")
			if !row.asked {
				a.Refresh()
			}
			deadline := time.Now().Add(20 * time.Second)
			for keys, _ := a.only().keys.List(); len(keys) != 2; keys, _ = a.only().keys.List() {
				if time.Now().After(deadline) {
					t.Fatalf("%+v, want the second host's", keys)
				}
				if row.asked {
					token := signer{"EdDSA", "moved", signers()["ed"].private}.issue(goodClaims(nil))
					if d := judgeOne(t, a, token, false); d.Denial == nil {
						break
					} else if d.Denial.Reason() == ReasonUnknownKey {
						t.Fatal("the old host was asked")
					}
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
}

// What the issuer may answer leaves the keys as they were, within the bounds, and is told in words that name the fault.
func TestAnswersAreBoundedAndNamed(t *testing.T) {
	t.Parallel()
	bomb := func(size int) http.HandlerFunc { // made in advance: compressing it is no part of the answer's time
		var packed bytes.Buffer
		zip := gzip.NewWriter(&packed)
		zip.Write(bytes.Repeat([]byte(" "), size))
		zip.Write([]byte(`{"keys":[]}`))
		zip.Close()
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(packed.Bytes())
		}
	}
	for title, row := range map[string]struct {
		answer http.HandlerFunc
		want   string // empty for a JWKS
		result string
	}{
		"a gzip bomb": {bomb(sized(64<<20, 4<<20)), "the answer is longer than 1048576 bytes", jwks.ResultInvalid},
		"gzip":        {bomb(1 << 16), "", jwks.ResultFetched},
		"an encoding that was not asked for": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			w.Write([]byte("\x0b\x05\x80"))
		}, `content-encoding: "br"`, jwks.ResultInvalid},
		"a sign-in page": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Write([]byte("<!doctype html>"))
		}, `not a JWKS: an HTML or XML page (content-type: "text/html; charset=utf-8")`, jwks.ResultInvalid},
		"a JWKS called HTML": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Write([]byte(`{"keys":[]}`))
		}, "", jwks.ResultFetched},
		"a body that never ends": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				fmt.Fprint(w, " ")
				w.(http.Flusher).Flush()
				time.Sleep(50 * time.Millisecond)
			}
		}, "no complete answer within 3s: reading the answer: ", jwks.ResultUnreachable},
		"a header of 100 KiB": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("a", 100<<10))
		}, "server response headers exceeded", jwks.ResultUnreachable},
		"304": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, "status 304", jwks.ResultStatus},
		"204": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "status 204", jwks.ResultStatus},
		"206": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(206); w.Write([]byte(`{"keys":[]}`)) }, "status 206", jwks.ResultStatus},
		"a length that is not kept": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.Write([]byte(`{"keys":[]}`))
		}, "reading the answer: ", jwks.ResultUnreachable},
	} {
		t.Run(title, func(t *testing.T) {
			server := httptest.NewServer(row.answer)
			t.Cleanup(server.Close)
			got := jwks.New(server.URL, "extauthz-test", nil, nil).Get(t.Context())
			for row.result != jwks.ResultUnreachable && errors.Is(got.Err, context.DeadlineExceeded) && t.Context().Err() == nil {
				t.Logf("asked again: %v", got.Err) // a busy machine's
				got = jwks.New(server.URL, "extauthz-test", nil, nil).Get(t.Context())
			}
			switch {
			case got.Result != row.result:
				t.Errorf("result %q, want %q", got.Result, row.result)
			case row.want == "" && got.Err != nil:
				t.Error(got.Err)
			case row.want != "" && (got.Err == nil || !strings.Contains(got.Err.Error(), row.want)):
				t.Errorf("%v, want %q", got.Err, row.want)
			}
		})
	}
}

// The same origin may be spelt in more than one way.
func TestRedirectsToTheSameOrigin(t *testing.T) {
	for _, row := range []struct {
		from, to string
		same     bool
	}{
		{"https://app.example.com/jwks", "https://app.example.com:443/other", true},
		{"http://App.Example.com", "http://app.example.com:80", true},
		{"https://app.example.com", "http://app.example.com", false},
		{"https://app.example.com", "https://app.example.com:8443", false},
		{"https://app.example.com", "https://app.example.com.", false},
		{"http://[::1]:3000", "http://[::1]:3000/x", true},
		{"https://b\u00fccher.example", "https://xn--bcher-kva.example/x", true},
		{"http://[fe80::1%25eth0]:3000", "http://[fe80::1%25eth1]:3000", false},
	} {
		from, err1 := http.NewRequest(http.MethodGet, row.from, nil)
		to, err2 := http.NewRequest(http.MethodGet, row.to, nil)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if err := jwks.StayWithinOrigin(to, []*http.Request{from}); (err == nil) != row.same {
			t.Errorf("%s and %s: %v", row.from, row.to, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Now()
	for _, row := range []struct {
		header map[string]string
		want   time.Duration // within a second
	}{
		{map[string]string{}, 0},
		{map[string]string{"Retry-After": "7"}, 7 * time.Second},
		{map[string]string{"X-Retry-After": "7"}, 7 * time.Second},
		{map[string]string{"Retry-After": " 7 "}, 7 * time.Second},
		{map[string]string{"Retry-After": "2", "X-Retry-After": "9"}, 9 * time.Second},
		{map[string]string{"Retry-After": "soon", "X-Retry-After": "9"}, 9 * time.Second},
		{map[string]string{"Retry-After": "2.5"}, 2500 * time.Millisecond},
		{map[string]string{"Retry-After": "-5"}, 0},
		{map[string]string{"Retry-After": "0"}, 0},
		{map[string]string{"Retry-After": "NaN"}, 0},
		{map[string]string{"Retry-After": ""}, 0},
		{map[string]string{"Retry-After": "3600"}, jwks.MaxRetryAfter},
		{map[string]string{"Retry-After": "99999999999999999999"}, jwks.MaxRetryAfter},
		{map[string]string{"Retry-After": "1e999"}, jwks.MaxRetryAfter},
		{map[string]string{"Retry-After": now.Add(20 * time.Second).UTC().Format(http.TimeFormat)}, 20 * time.Second},
		{map[string]string{"Retry-After": now.Add(-time.Hour).UTC().Format(http.TimeFormat)}, 0},
		{map[string]string{"Retry-After": now.Add(time.Hour).UTC().Format(http.TimeFormat)}, jwks.MaxRetryAfter},
		{map[string]string{ // the issuer's clock is an hour behind
			"Retry-After": now.Add(20*time.Second - time.Hour).UTC().Format(http.TimeFormat), "Date": now.Add(-time.Hour).UTC().Format(http.TimeFormat)}, 20 * time.Second},
	} {
		header := http.Header{}
		for name, value := range row.header {
			header.Set(name, value)
		}
		if got := jwks.RetryAfter(header); got.Round(time.Millisecond) != row.want && (got > row.want || got < row.want-2*time.Second) {
			t.Errorf("%v: %s, want %s", row.header, got, row.want)
		}
	}
}

const proxyPassword = "p%40ss:w/rd"

// proxyFor is the URL of a proxy with a user and a password.
func proxyFor(scheme, address string) string {
	return (&url.URL{Scheme: scheme, User: url.UserPassword("ada", proxyPassword), Host: address}).String()
}

// startSOCKS runs a SOCKS5 proxy (RFC 1928, RFC 1929) that connects to one address, whatever is asked for, and counts.
func startSOCKS(t *testing.T, target string, count *atomic.Int64) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				in := bufio.NewReader(client)
				read := func(n int) []byte {
					b := make([]byte, n)
					io.ReadFull(in, b)
					return b
				}
				read(int(read(2)[1]))         // the methods
				client.Write([]byte{5, 2})    // user and password
				user := read(int(read(2)[1])) // version and user
				password := read(int(read(1)[0]))
				if string(user) != "ada" || string(password) != proxyPassword {
					client.Write([]byte{1, 1})
					return
				}
				client.Write([]byte{1, 0})
				if kind := read(4)[3]; kind == 3 {
					read(int(read(1)[0]))
				} else {
					read(4)
				}
				read(2)
				count.Add(1)
				client.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
				upstream, err := net.Dial("tcp", target)
				if err != nil {
					return
				}
				defer upstream.Close()
				go io.Copy(upstream, in)
				io.Copy(client, upstream)
			}()
		}
	}()
	return listener.Addr().String()
}

// The JWKS is fetched through the proxy that is set, with its user and password, which are in no message.
func TestJWKSProxy(t *testing.T) {
	issuer := serveKeys(t, testKeys())
	target := issuer.Listener.Addr().String()
	var asked atomic.Int64
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("ada:"+proxyPassword))
	serveProxy := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Proxy-Authorization") != want:
			w.WriteHeader(http.StatusProxyAuthRequired)
		case r.Method == http.MethodConnect:
			asked.Add(1)
			client, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer client.Close()
			fmt.Fprint(client, "HTTP/1.1 200 OK\r\n\r\n")
			upstream, err := net.Dial("tcp", target)
			if err != nil {
				return
			}
			defer upstream.Close()
			go io.Copy(upstream, client)
			io.Copy(client, upstream)
		default:
			asked.Add(1)
			issuer.Config.Handler.ServeHTTP(w, r)
		}
	}
	proxy := httptest.NewServer(http.HandlerFunc(serveProxy))
	t.Cleanup(proxy.Close)
	address := proxy.Listener.Addr().String()
	for _, url := range []string{proxyFor("http", address), proxyFor("socks5", startSOCKS(t, target, &asked)), proxyFor("socks5h", startSOCKS(t, target, &asked))} {
		before := asked.Load()
		startAuthorizer(t, Config{JWKSURL: "http://issuer.invalid/jwks", JWKSProxy: url})
		if asked.Load() == before {
			t.Error("the proxy was not asked")
		}
	}
	// An https issuer is asked through a tunnel; its certificate is the issuer's to show, so here it fails behind the
	// proxy.
	secure := httptest.NewTLSServer(issuer.Config.Handler)
	t.Cleanup(secure.Close)
	target = secure.Listener.Addr().String()
	text := findingsText(diagnoseTest(t, Config{JWKSURL: "https://issuer.invalid/jwks", JWKSProxy: proxyFor("http", address)}), "jwks")
	if !strings.Contains(text, "ok TCP: connected to the proxy, "+address) || !strings.Contains(text, "failed to verify certificate") {
		t.Errorf("doctor says\n%s", text)
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, bad := range []string{
		proxyFor("http", closed.Listener.Addr().String()), proxyFor("socks5", closed.Listener.Addr().String()),
		"http://ada:wr%2Fong@" + address, "socks5://ada:wr%2Fong@" + startSOCKS(t, target, &asked),
	} {
		log := &lockedBuffer{}
		a := runAuthorizer(t, Config{JWKSURL: "http://issuer.invalid/jwks", JWKSProxy: bad, Logger: slog.New(slog.NewTextHandler(log, nil))})
		awaitText(t, log.String, "JWKS fetch failed")
		text := log.String() + fmt.Sprint(a.Parts()) + findingsText(a.Operator().Diagnose(t.Context()), "jwks")
		if strings.Contains(text, "rd@") || strings.Contains(text, "w/rd") || strings.Contains(text, "wr%2F") || strings.Contains(text, "wr/") || strings.Contains(text, "ada") {
			t.Errorf("a password in\n%s", text)
		}
		if !strings.Contains(text, "through the proxy of Config.JWKSProxy") {
			t.Errorf("no word of the proxy in\n%s", text)
		}
	}
}

// awaitText waits until a text holds another.
func awaitText(t *testing.T, text func() string, want string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !strings.Contains(text(), want) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q in\n%s", want, text())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// What is no proxy's URL stops the start, in words that show nothing of it.
func TestProxyFaults(t *testing.T) {
	for value, want := range map[string]string{
		"proxy.s3cret:3128":                    "does not begin with http, https, socks5 or socks5h",
		"s3cret":                               "does not begin with http, https, socks5 or socks5h",
		"ftp://s3cret:3128":                    "does not begin with http, https, socks5 or socks5h",
		"socks4://s3cret:1080":                 "does not begin with http, https, socks5 or socks5h",
		"http://":                              "names no host",
		"http://ada:s3cret@":                   "names no host",
		"http://:3128":                         "names no host",
		"http://ada:s3cret@proxy:port":         "is not a URL",
		"http://ada:s3/cret@proxy:3128":        "is not a URL",
		"http://ada:12/s3cret@proxy:3128":      "has more than a host and a port",
		"http://ada:1#s3cret@proxy:3128":       "has more than a host and a port",
		"http://ada:s3%zzcret@proxy:3128":      "is not a URL",
		"http://proxy:99999":                   "has an invalid port",
		"http://proxy:0":                       "has an invalid port",
		"http://proxy:":                        "has an invalid port",
		"http://proxy:3128/s3cret":             "has more than a host and a port",
		"http://proxy:3128?s3cret":             "has more than a host and a port",
		"http://proxy:3128?":                   "has more than a host and a port",
		" http://proxy:3128":                   "is not a URL",
		"http://proxy:3128\n":                  "is not a URL",
		"http://ada:s3cret@proxy:3128/":        "",
		"HTTP://proxy:3128":                    "",
		"https://proxy.example.com":            "",
		"socks5h://ada@[2001:db8::1]:1080":     "",
		"http://ada:s3@cret@proxy.example:312": "",
	} {
		_, err := New(Config{Issuer: testIssuer, Audiences: []string{testAudience}, JWKSProxy: value})
		switch fault, ok := err.(*ConfigError); {
		case want == "" && err != nil:
			t.Errorf("%q: %v", value, err)
		case want != "" && (!ok || fault.Field != "JWKSProxy" || !strings.Contains(fault.Fault, want)):
			t.Errorf("%q: %v, want %q", value, err, want)
		case err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "cret@") || strings.Contains(err.Error(), "s3%")):
			t.Errorf("%q is shown: %v", value, err)
		}
	}
	if _, err := New(Config{Issuer: testIssuer, Audiences: []string{testAudience}, JWKSProxy: "http://proxy:3128", Client: &http.Client{}}); err == nil || !strings.Contains(err.Error(), "both set") {
		t.Errorf("a proxy and a client: %v", err)
	}
}

// Variables that are set, and not used or of no use, are told where the fetch fails: in the log, in /readyz?verbose and
// by doctor, by their names alone. SSL_CERT_FILE has to do with certificates only.
func TestEnvironmentIsTold(t *testing.T) {
	folder := t.TempDir()
	secure := httptest.NewTLSServer(serveKeys(t, testKeys()).Config.Handler)
	t.Cleanup(secure.Close)
	write := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	closed := httptest.NewServer(nil)
	closed.Close()
	page := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(page.Close)
	const proxy = "http://ada:s3cret@proxy.invalid:3128"
	for title, row := range map[string]struct {
		url         string
		environment map[string]string
		want        string
		not         string
	}{
		"a private authority":      {secure.URL, nil, "name a PEM file of it in SSL_CERT_FILE", "PROXY"},
		"SSL_CERT_FILE missing":    {secure.URL, map[string]string{"SSL_CERT_FILE": filepath.Join(folder, "missing.pem")}, "SSL_CERT_FILE names a file that cannot be used (stat ", ""},
		"SSL_CERT_FILE a folder":   {secure.URL, map[string]string{"SSL_CERT_FILE": folder}, "is not a regular file", ""},
		"SSL_CERT_FILE empty":      {secure.URL, map[string]string{"SSL_CERT_FILE": write("empty.pem", "")}, "holds no PEM certificate", ""},
		"SSL_CERT_FILE in DER":     {secure.URL, map[string]string{"SSL_CERT_FILE": write("der.pem", string(secure.Certificate().Raw))}, "holds no PEM certificate", ""},
		"SSL_CERT_FILE a key":      {secure.URL, map[string]string{"SSL_CERT_FILE": write("key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")}, "holds no PEM certificate", ""},
		"SSL_CERT_FILE of another": {secure.URL, map[string]string{"SSL_CERT_FILE": write("other.pem", certificate)}, "whose certificates (1) do not vouch for it", ""},
		"SSL_CERT_DIR empty":       {secure.URL, map[string]string{"SSL_CERT_DIR": t.TempDir() + ":/nowhere"}, "SSL_CERT_DIR is set, and the certificates there (0)", ""},
		"Node's variable":          {secure.URL, map[string]string{"NODE_EXTRA_CA_CERTS": "/etc/ca.pem"}, "NODE_EXTRA_CA_CERTS is set, and not read here", ""},
		"SSL_CERT_FILE over http":  {closed.URL, map[string]string{"SSL_CERT_FILE": filepath.Join(folder, "missing.pem")}, "connection refused", "SSL_CERT_FILE"},
		"HTTPS_PROXY":              {closed.URL, map[string]string{"HTTPS_PROXY": proxy}, "HTTPS_PROXY is set and not used for the JWKS", ""},
		"http_proxy and ALL_PROXY": {closed.URL, map[string]string{"http_proxy": proxy, "ALL_PROXY": proxy}, "http_proxy, ALL_PROXY are set and not used for the JWKS", ""},
		"all_proxy and a name":     {"http://issuer.invalid/jwks", map[string]string{"all_proxy": proxy}, "all_proxy is set and not used", ""},
		"a proxy and a status":     {page.URL, map[string]string{"HTTP_PROXY": proxy}, "HTTP_PROXY is set and not used", ""},
		"an empty variable":        {closed.URL, map[string]string{"HTTPS_PROXY": ""}, "connection refused", "HTTPS_PROXY"},
		"NO_PROXY alone":           {closed.URL, map[string]string{"NO_PROXY": "*"}, "connection refused", "PROXY"},
		"a proxy and an authority": {secure.URL, map[string]string{"HTTPS_PROXY": proxy, "SSL_CERT_FILE": "/nowhere"}, "HTTPS_PROXY is set and not used", ""},
	} {
		t.Run(title, func(t *testing.T) {
			for _, name := range append([]string{"SSL_CERT_FILE", "SSL_CERT_DIR", "NO_PROXY"}, append(jwks.UnusedProxies, jwks.UnusedAuthorities...)...) {
				t.Setenv(name, "")
			}
			for name, value := range row.environment {
				t.Setenv(name, value)
			}
			log := &lockedBuffer{}
			a := runAuthorizer(t, Config{JWKSURL: row.url, Logger: slog.New(slog.NewTextHandler(log, nil))})
			awaitText(t, log.String, "JWKS fetch failed")
			doctor := a.Operator().Diagnose(t.Context())
			for where, text := range map[string]string{
				"log": strings.ReplaceAll(log.String(), `\"`, `"`), "readyz": fmt.Sprint(a.Parts()), "doctor": findingsText(doctor, "jwks"),
			} {
				if !strings.Contains(strings.ToLower(text), strings.ToLower(row.want)) || row.not != "" && strings.Contains(strings.ReplaceAll(text, "trusts its certificate", ""), row.not) {
					t.Errorf("%s: want %q and not %q in\n%s", where, row.want, row.not, text)
				}
				if strings.Contains(text, "s3cret") || strings.Contains(text, "proxy.invalid") {
					t.Errorf("%s shows the proxy:\n%s", where, text)
				}
			}
			expectFindings(t, doctor, "jwks")
		})
	}
	// An embedder's client has a proxy and authorities of its own.
	t.Setenv("HTTPS_PROXY", proxy)
	got := jwks.New(secure.URL, "extauthz-test", &http.Client{Transport: &http.Transport{}}, nil).Get(t.Context())
	if got.Err == nil || strings.Contains(got.Err.Error(), "SSL_CERT_FILE") || strings.Contains(got.Err.Error(), "HTTPS_PROXY") {
		t.Errorf("an embedder's client: %v", got.Err)
	}
}
