package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"extauthz/extauthz"
)

const partBackend = "backend"

// backendPatience bounds one request to the backend, of which there are a few.
const backendPatience = 2 * time.Second

// spoofedUser is the user that doctor claims to be. It is no name that a backend would know.
const spoofedUser = "extauthz-doctor"

// backendFix is what closes a backend.
const backendFix = "Let only Envoy reach the backend: a Unix socket, a client certificate or a NetworkPolicy " +
	"(docs/backend.md)."

// attempts are what a client that reaches the backend past Envoy would send. The addresses are those from which a proxy
// on the same machine would come, and the fields those from which servers take the client's address and name.
var attempts = []struct {
	tried  string
	header http.Header
}{
	{"GET past Envoy", nil},
	{"GET with x-user-id", spoofedIdentity(nil)},
	{"GET with x-user-id and X-Forwarded-For", spoofedIdentity(forwardedFor("127.0.0.1"))},
	{"GET with x-user-id and X-Forwarded-For", spoofedIdentity(forwardedFor("127.0.0.2"))},
	{"GET with x-user-id and X-Forwarded-For", spoofedIdentity(forwardedFor("::1"))},
	{"GET with x-user-id and X-Forwarded-Client-Cert", spoofedIdentity(http.Header{
		"X-Forwarded-Client-Cert": {"URI=spiffe://cluster.local/ns/istio-ingress/sa/istio-ingressgateway"},
	})},
}

func spoofedIdentity(more http.Header) http.Header {
	header := http.Header{
		"X-User-Id": {spoofedUser}, "X-User-Email": {spoofedUser + "@example.com"}, "X-Auth-Method": {"jwks"},
	}
	for name, values := range more {
		header[name] = values
	}
	return header
}

func forwardedFor(address string) http.Header {
	forwarded := "for=" + address
	if strings.Contains(address, ":") {
		forwarded = `for="[` + address + `]"` // RFC 7239 §6
	}
	return http.Header{"X-Forwarded-For": {address}, "X-Real-Ip": {address}, "Forwarded": {forwarded}}
}

// backendAddress is where the backend is asked: over TCP, or at a Unix socket.
type backendAddress struct {
	socket string
	url    *url.URL
}

// readBackend reads --backend: http://HOST:PORT/PATH, https://…, or unix:///PATH/OF/SOCKET?path=/PATH.
func readBackend(text string) (backendAddress, error) {
	address, err := url.Parse(text)
	if err != nil {
		return backendAddress{}, errors.New("--backend is no URL")
	}
	switch {
	case address.User != nil:
		return backendAddress{}, errors.New("--backend holds a user or a password; leave it out: no credential is sent")
	case address.Scheme == "unix" && address.Host == "" && strings.HasPrefix(address.Path, "/"):
		path := address.Query().Get("path")
		if path == "" {
			path = "/"
		}
		target, err := url.Parse("http://localhost" + path)
		if err != nil || !strings.HasPrefix(path, "/") {
			return backendAddress{}, fmt.Errorf("--backend has the path %q; write ?path=/api/me", path)
		}
		return backendAddress{socket: address.Path, url: target}, nil
	case (address.Scheme == "http" || address.Scheme == "https") && address.Host != "":
		return backendAddress{url: address}, nil
	}
	return backendAddress{}, errors.New("--backend wants the backend's own address: http://HOST:PORT/PATH, " +
		"https://HOST:PORT/PATH or unix:///PATH/OF/SOCKET?path=/PATH")
}

// wire is a way in which a server may be spoken to. A backend that is closed is so for all of them.
type wire struct {
	name   string
	scheme string
	set    func(*http.Protocols)
}

// protocolsOf begins with the one that the URL names.
func protocolsOf(address backendAddress) []wire {
	plain := []wire{
		{"HTTP/1.1", "http", func(p *http.Protocols) { p.SetHTTP1(true) }},
		{"HTTP/2 without TLS", "http", func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }},
	}
	// Without a client certificate, and whatever the server's own says: nothing that is secret is sent.
	encrypted := wire{"TLS", "https", func(p *http.Protocols) { p.SetHTTP1(true); p.SetHTTP2(true) }}
	if address.url.Scheme == "https" {
		return append([]wire{encrypted}, plain...)
	}
	return append(plain, encrypted)
}

// diagnoseBackend asks the backend itself, as somebody does who is not Envoy. It must not let anybody in.
func diagnoseBackend(ctx context.Context, address backendAddress) (found []extauthz.Finding) {
	add := func(level extauthz.Level, tried, what, fix string) {
		for i := range found {
			if f := &found[i]; f.Tried == tried { // of several attempts of a kind the worst is shown
				if rank(level) > rank(f.Level) {
					f.Level, f.Found, f.Mend = level, what, fix
				}
				return
			}
		}
		found = append(found, extauthz.Finding{Part: partBackend, Tried: tried, Level: level, Found: what, Mend: fix})
	}
	var plain backendAnswer
	for i, attempt := range attempts {
		a := askBackend(ctx, address, attempt.header)
		if i == 0 {
			plain = a
		}
		level, what, fix := a.judge(plain)
		add(level, attempt.tried, what, fix)
		if a.saysNothing() {
			break
		}
	}
	return found
}

func rank(level extauthz.Level) int {
	return map[extauthz.Level]int{extauthz.LevelOK: 0, extauthz.LevelWarning: 1, extauthz.LevelFailure: 2}[level]
}

// backendAnswer is what came of one attempt, by the protocol that got furthest.
type backendAnswer struct {
	protocol  string
	status    int   // 0: no HTTP came back
	byUs      bool  // extauthz refused it, so that an Envoy stands there, too
	err       error // where status is 0
	connected bool  // below HTTP and TLS
}

// askBackend asks by each protocol until one gets an HTTP answer that is about the request, or none can connect.
func askBackend(ctx context.Context, address backendAddress, header http.Header) backendAnswer {
	var first backendAnswer
	for i, p := range protocolsOf(address) {
		a := askBy(ctx, address, p, header)
		if a.status != 0 && !(a.status == http.StatusBadRequest && p.scheme == "http") { // 400 may mean that TLS is wanted
			return a
		}
		if i == 0 || isAlert(a.err) || a.status != 0 && !isAlert(first.err) {
			first = a
		}
		if !a.connected {
			return first
		}
	}
	return first
}

func askBy(ctx context.Context, address backendAddress, p wire, header http.Header) (a backendAnswer) {
	ctx, cancel := context.WithTimeout(ctx, backendPatience)
	defer cancel()
	a.protocol = p.name
	var connected atomic.Bool // the transport may still dial when it has returned
	defer func() { a.connected = connected.Load() }()
	var protocols http.Protocols
	p.set(&protocols)
	transport := &http.Transport{
		Protocols: &protocols, // no proxy of the environment's: it is not the way that is asked about
		DialContext: func(ctx context.Context, network, target string) (net.Conn, error) {
			if address.socket != "" {
				network, target = "unix", address.socket
			}
			connection, err := new(net.Dialer).DialContext(ctx, network, target)
			if err == nil {
				connected.Store(true)
			}
			return connection, err
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	defer transport.CloseIdleConnections()
	target := *address.url
	target.Scheme = p.scheme
	if address.url.Port() == "" && address.socket == "" {
		port := map[string]string{"http": "80", "https": "443"}[address.url.Scheme]
		target.Host = net.JoinHostPort(address.url.Hostname(), port)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		a.err = err
		return a
	}
	maps.Copy(request.Header, header)
	response, err := transport.RoundTrip(request)
	if err != nil {
		a.err = err
		return a
	}
	io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16))
	response.Body.Close()
	a.status = response.StatusCode
	a.byUs = a.status == http.StatusUnauthorized && response.Header.Get("Cache-Control") == "no-store" &&
		strings.HasPrefix(response.Header.Get("Www-Authenticate"), `Bearer realm="api"`)
	return a
}

// isAlert tells whether the server ended TLS by an alert, as for a client without a certificate.
func isAlert(err error) bool {
	_, ok := errors.AsType[tls.AlertError](err)
	return ok || err != nil && strings.Contains(err.Error(), "remote error: tls: ")
}

// saysNothing tells whether other headers would change nothing about it: what is asked is not there, or never answers.
func (a backendAnswer) saysNothing() bool {
	return a.status == 0 && !a.isRefused() && !isAlert(a.err) && !(isTimeout(a.err) && !a.connected)
}

// isRefused tells whether the network or the system itself refused the connection, or it was closed without a word.
func (a backendAnswer) isRefused() bool {
	for _, refusal := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, syscall.EACCES, syscall.EPERM,
		syscall.EHOSTUNREACH, syscall.ENETUNREACH} {
		if errors.Is(a.err, refusal) {
			return true
		}
	}
	return a.connected && (errors.Is(a.err, io.EOF) || errors.Is(a.err, io.ErrUnexpectedEOF) ||
		// net/http's own word on a connection that ended before the request was written; it exports no value for it.
		a.err != nil && strings.Contains(a.err.Error(), "server closed idle connection"))
}

// judge says how closed the backend is by one answer; plain is what it says to a request without any spoofed header.
func (a backendAnswer) judge(plain backendAnswer) (level extauthz.Level, what, fix string) {
	const seeAddress = "See that --backend is the backend's own address, and not Envoy's."
	closed := "refused: "
	if a.connected {
		closed = "refused: connected, and then "
	}
	switch {
	case a.status == 0 && isAlert(a.err):
		return extauthz.LevelOK, "refused: " + withoutURL(a.err).Error(), ""
	case a.status == 0 && a.isRefused():
		return extauthz.LevelOK, closed + reasonOf(a.err), ""
	case a.status == 0 && !a.connected && isTimeout(a.err):
		return extauthz.LevelOK, fmt.Sprintf("refused: no connection within %v", backendPatience), ""
	case a.status == 0 && isTimeout(a.err):
		return extauthz.LevelWarning, fmt.Sprintf("took the connection, and gave no answer within %v", backendPatience),
			"Ask again, and give a path that the backend answers at once."
	case a.status == 0 && a.connected:
		return extauthz.LevelWarning, "took the connection, and then: " + withoutURL(a.err).Error(), seeAddress
	case a.status == 0:
		return extauthz.LevelFailure, withoutURL(a.err).Error() + ": nothing was asked", seeAddress
	case a.byUs:
		return extauthz.LevelOK, "401 by extauthz: an Envoy that asks it stands there", ""
	case plain.status != a.status:
		return extauthz.LevelFailure, fmt.Sprintf("%d over %s, and %s without these headers: they are believed",
			a.status, a.protocol, describeStatus(plain)), backendFix
	case a.status == http.StatusForbidden:
		return extauthz.LevelOK, "refused: 403", ""
	case a.status == http.StatusUnauthorized:
		return extauthz.LevelWarning, "401 by the backend itself, which can be reached past Envoy: if it reads another " +
			"header, that one is believed", backendFix
	}
	return extauthz.LevelFailure, fmt.Sprintf("let in: %d over %s", a.status, a.protocol), backendFix
}

func describeStatus(a backendAnswer) string {
	if a.status == 0 {
		return "no answer"
	}
	return fmt.Sprint(a.status)
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// reasonOf is the system's own word on a connection that failed, without addresses.
func reasonOf(err error) string {
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return number.Error()
	}
	return withoutURL(err).Error()
}
