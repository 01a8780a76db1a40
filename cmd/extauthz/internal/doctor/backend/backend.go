// Package backend asks a backend itself, past Envoy, as somebody does who is not Envoy. It imports discreet alone and
// does not know Envoy's configuration.
package backend

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
	"time"

	"extauthz/extauthz/operator"
)

const part = "backend"

// requestTime bounds one request to the backend, of which there are a few.
const requestTime = 2 * time.Second

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

// spoofedIdentity has every header that extauthz sets, so that a backend that wants several of them is found, too.
func spoofedIdentity(more http.Header) http.Header {
	header := http.Header{}
	for name, value := range map[string]string{
		operator.HeaderUserID: spoofedUser, operator.HeaderUserEmail: spoofedUser + "@example.com",
		operator.HeaderUserName: spoofedUser, operator.HeaderMethod: string(operator.MethodJWKS),
		operator.HeaderIssuedAt: "1767225600", operator.HeaderExpiresAt: "4102444800", // 2026, 2100
	} {
		header.Set(name, value)
	}
	maps.Copy(header, more)
	return header
}

func forwardedFor(address string) http.Header {
	forwarded := "for=" + address
	if strings.Contains(address, ":") {
		forwarded = `for="[` + address + `]"` // RFC 7239 §6
	}
	return http.Header{"X-Forwarded-For": {address}, "X-Real-Ip": {address}, "Forwarded": {forwarded}}
}

// Address is where the backend is asked: over TCP, or at a Unix socket.
type Address struct {
	socket string
	url    *url.URL
}

// Parse reads --backend: http://HOST:PORT/PATH, https://…, or unix:///PATH/OF/SOCKET?path=/PATH.
func Parse(text string) (Address, error) {
	address, err := url.Parse(text)
	if err != nil {
		return Address{}, errors.New("--backend is not a URL")
	}
	switch {
	case address.User != nil:
		return Address{}, errors.New("--backend holds a user or a password; leave it out: no credential is sent")
	case address.Scheme == "unix" && address.Host == "" && strings.HasPrefix(address.Path, "/"):
		path := address.Query().Get("path")
		if path == "" {
			path = "/"
		}
		target, err := url.Parse("http://localhost" + path)
		if err != nil || !strings.HasPrefix(path, "/") {
			return Address{}, fmt.Errorf("--backend has the path %q; write ?path=/api/me", path)
		}
		return Address{socket: address.Path, url: target}, nil
	case (address.Scheme == "http" || address.Scheme == "https") && address.Host != "":
		return Address{url: address}, nil
	}
	return Address{}, errors.New("--backend needs the backend's own address: http://HOST:PORT/PATH, " +
		"https://HOST:PORT/PATH or unix:///PATH/OF/SOCKET?path=/PATH")
}

// wire is a way in which a server may be spoken to. A backend that is closed is so for all of them.
type wire struct {
	name   string
	scheme string
	set    func(*http.Protocols)
}

// protocolsOf begins with the one that the URL names.
func protocolsOf(address Address) []wire {
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

// Diagnose asks the backend itself, as somebody does who is not Envoy. It must not let anybody in.
func Diagnose(ctx context.Context, address Address) (found []operator.Finding) {
	add := func(level operator.Level, tried, what, fix string) {
		for i := range found {
			if f := &found[i]; f.Tried == tried { // of several attempts of a kind the worst is shown
				if rank(level) > rank(f.Level) {
					f.Level, f.Found, f.Fix = level, what, fix
				}
				return
			}
		}
		found = append(found, operator.Finding{Part: part, Tried: tried, Level: level, Found: what, Fix: fix})
	}
	var plain answer
	for i, attempt := range attempts {
		a := ask(ctx, address, attempt.header)
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

func rank(level operator.Level) int {
	return map[operator.Level]int{operator.LevelOK: 0, operator.LevelWarning: 1, operator.LevelFailure: 2}[level]
}

// ask asks by each protocol until one gets an HTTP answer that is about the request, or none can connect.
func ask(ctx context.Context, address Address, header http.Header) answer {
	var furthest answer
	for i, p := range protocolsOf(address) {
		a := askBy(ctx, address, p, header)
		if a.status != 0 && !(a.status == http.StatusBadRequest && p.scheme == "http") { // 400 may mean that TLS is wanted
			return a
		}
		if i == 0 || a.reach() > furthest.reach() {
			furthest = a
		}
		if !a.connected {
			return furthest
		}
	}
	return furthest
}

func askBy(whole context.Context, address Address, p wire, header http.Header) (a answer) {
	ctx, cancel := context.WithTimeout(whole, requestTime)
	defer cancel()
	defer func() { // what has no time left was not refused
		if a.err != nil && whole.Err() != nil {
			a.err, a.connected = errors.New("doctor was stopped"), false
		}
	}()
	a.protocol, a.unix = p.name, address.socket != ""
	var connected atomic.Bool // the transport may still dial when it has returned
	var asked atomic.Bool
	defer func() { a.connected, a.asked = connected.Load(), asked.Load() }()
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
		TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				asked.Store(true)
				return new(tls.Certificate), nil // none
			},
		},
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
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, 1<<16)) // its beginning says who wrote it
	a.status, a.by = response.StatusCode, AuthorOf(response, asked.Load(), string(body))
	return a
}
