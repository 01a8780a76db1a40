package backend

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/extauthz/operator"
)

// answer is what came of one attempt, by the protocol that got furthest.
type answer struct {
	protocol  string
	status    int    // 0: no HTTP came back
	by        Author // of the status
	err       error  // where status is 0
	connected bool   // below HTTP and TLS
	unix      bool   // at a Unix socket
	asked     bool   // the server asked for a client certificate
}

// Author is who wrote an answer: a proxy's own refusal never came to the backend.
type Author string

const (
	byBackend  Author = "" // or by whoever does not say otherwise
	ByExtauthz Author = "extauthz"
	byRBAC     Author = "Envoy's RBAC filter"
	byTLSProxy Author = "a proxy that wants a client certificate"
)

// AuthorOf knows extauthz by its challenge, and Envoy and nginx by the whole of what they say.
func AuthorOf(response *http.Response, askedForCertificate bool, body string) Author {
	switch response.StatusCode {
	case http.StatusUnauthorized:
		if response.Header.Get("Cache-Control") == "no-store" &&
			strings.HasPrefix(response.Header.Get("Www-Authenticate"), `Bearer realm="api"`) {
			return ByExtauthz
		}
	case http.StatusForbidden:
		if strings.TrimSpace(body) == "RBAC: access denied" {
			return byRBAC
		}
	case http.StatusBadRequest:
		if askedForCertificate && strings.Contains(body, "<center>No required SSL certificate was sent</center>") {
			return byTLSProxy
		}
	}
	return byBackend
}

// reach orders the answers of a server by how much they tell of it.
func (a answer) reach() int {
	switch {
	case a.wantsCertificate():
		return 3
	case isAlert(a.err): // it speaks TLS, whatever it makes of other protocols
		return 2
	case a.status != 0:
		return 1
	}
	return 0
}

// isAlert tells whether the server ended TLS by an alert.
func isAlert(err error) bool {
	_, ok := errors.AsType[tls.AlertError](err)
	return ok || err != nil && strings.Contains(err.Error(), "remote error: tls: ")
}

// wantsCertificate tells whether TLS ended by an alert after the server had asked for a certificate. Without that an
// alert may be about the server's name or TLS' version, and who knows these is let in.
func (a answer) wantsCertificate() bool { return a.status == 0 && a.asked && isAlert(a.err) }

// timedOut tells whether the network let no connection through. A resolver that is silent says nothing of the backend.
func (a answer) timedOut() bool {
	_, isLookup := errors.AsType[*net.DNSError](a.err)
	return a.status == 0 && !a.connected && !isLookup && isTimeout(a.err)
}

// saysNothing tells whether other headers would change nothing about it: what is asked is not there, or never answers.
func (a answer) saysNothing() bool {
	return a.status == 0 && !a.isRefused() && !a.wantsCertificate() && !a.timedOut()
}

// isRefused tells whether the network or the system itself refused the connection, or it was closed without a word.
// Errors of this host alone are none: no route to the backend's network, or a firewall for what goes out. At a Unix
// socket "connection refused" only means that nobody listens; who may not connect gets "permission denied".
func (a answer) isRefused() bool {
	refusals := []error{syscall.ECONNRESET, syscall.EPIPE}
	if a.unix {
		refusals = append(refusals, syscall.EACCES, syscall.EPERM)
	} else {
		refusals = append(refusals, syscall.ECONNREFUSED, syscall.EHOSTUNREACH)
	}
	for _, refusal := range refusals {
		if errors.Is(a.err, refusal) {
			return true
		}
	}
	return a.connected && (errors.Is(a.err, io.EOF) || errors.Is(a.err, io.ErrUnexpectedEOF) ||
		// net/http's own word on a connection that ended before the request was written; it exports no value for it.
		a.err != nil && strings.Contains(a.err.Error(), "server closed idle connection"))
}

// judge says how closed the backend is by one answer; plain is what it says to a request without any spoofed header.
func (a answer) judge(plain answer) (level operator.Level, what, fix string) {
	const seeAddress = "See that --backend is the backend's own address, by the name that its certificate has."
	closed := "refused: "
	if a.connected {
		closed = "refused: connected, and then "
	}
	switch {
	case a.wantsCertificate():
		return operator.LevelOK, "refused: it requires a client certificate: " + discreet.WithoutURL(a.err).Error(), ""
	case a.status == 0 && a.isRefused():
		return operator.LevelOK, closed + reasonOf(a.err), ""
	case a.timedOut():
		return operator.LevelOK, fmt.Sprintf("refused: no connection within %v", requestTime), ""
	case a.status == 0 && a.connected && isTimeout(a.err):
		return operator.LevelWarning, fmt.Sprintf("took the connection, and gave no answer within %v", requestTime),
			"Ask again, and give a path that the backend answers at once."
	case a.status == 0 && a.connected:
		return operator.LevelWarning, "took the connection, and then: " + discreet.WithoutURL(a.err).Error(), seeAddress
	case a.status == 0:
		return operator.LevelFailure, discreet.WithoutURL(a.err).Error() + ": no request was sent", seeAddress
	case a.by == byRBAC || a.by == byTLSProxy:
		return operator.LevelOK, fmt.Sprintf("refused: %d by %s", a.status, a.by), ""
	case a.by == ByExtauthz:
		return operator.LevelWarning, "401 by extauthz: an Envoy that asks it answers here",
			"If it is the sidecar of the backend's own pod, that is as it should be. " +
				"If not, this is Envoy's address, and nothing is known of the backend: give its own."
	case plain.status != a.status:
		return operator.LevelFailure, fmt.Sprintf("%d over %s, and %s without these headers: they are believed",
			a.status, a.protocol, describeStatus(plain)), backendFix
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		return operator.LevelWarning, fmt.Sprintf("%d by the backend itself, which can be reached past Envoy: it may "+
			"believe a user whom it knows, or another header", a.status), backendFix
	}
	return operator.LevelFailure, fmt.Sprintf("let in: %d over %s", a.status, a.protocol), backendFix
}

func describeStatus(a answer) string {
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
	return discreet.WithoutURL(err).Error()
}
