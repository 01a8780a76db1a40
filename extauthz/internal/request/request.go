// Package request is what a check needs of a request, and nothing else: no body, no path rules. It imports reason. It
// does not know how Envoy sends a request, nor what any of its headers is worth.
package request

import (
	"strings"

	"extauthz/extauthz/internal/reason"
)

// Request is one request. Its strings may lie in the message that brought it, and are gone when the answer is.
type Request struct {
	Method string
	Scheme string
	Host   string
	Path   string // raw, with its query; for the log, which cuts the query off
	Client string // the downstream's address

	Authorization []string // every Authorization field, in order
	Cookies       []string // every Cookie field, in order
	SecFetchSite  []string
	Origin        []string
	APIKey        bool // an API key of Better Auth's came, of whatever value
	RequestID     string
	HostHeader    string
	WebSocket     bool // the request asks to become a WebSocket
	Traceparent   string
	Tracestate    string

	Headers   int // how many fields there were, until Finish
	TooMany   bool
	EveryName bool           // until Finish: IdentityNames is to have all of them, also of a request with too many fields
	Unread    *reason.Denial // why nothing else is known of the request; nil when it was read

	Route []Setting // the route's own settings: Envoy's context_extensions

	// IdentityNames are the names of the client's own headers that a backend could take for ours,
	// as they came. They never reach the backend.
	IdentityNames []string
}

// ReadHeader files one header. Names are compared without regard to case (RFC 9110 §5.1), though
// Envoy sends them in lower case; the length goes first, since most names are none of these.
func (r *Request) ReadHeader(name, value string) {
	if r.Headers++; r.Headers > MaxHeaders { // it is refused for that alone
		if r.EveryName && IsIdentityName(name) {
			r.IdentityNames = append(r.IdentityNames, name)
		}
		return
	}
	switch len(name) {
	case len("host"):
		if strings.EqualFold(name, "host") {
			r.HostHeader = value
		}
	case len("x-api-key"):
		if strings.EqualFold(name, "x-api-key") {
			r.APIKey = r.APIKey || value != ""
		}
	case len("cookie"): // and of origin
		if strings.EqualFold(name, "cookie") {
			r.Cookies = append(r.Cookies, value)
		} else if strings.EqualFold(name, "origin") {
			r.Origin = append(r.Origin, value)
		}
	case len("upgrade"):
		if strings.EqualFold(name, "upgrade") {
			r.WebSocket = r.WebSocket || strings.Contains(strings.ToLower(value), "websocket")
		}
	case len(":authority"): // and of tracestate
		if name == ":authority" {
			r.HostHeader = value
		} else if strings.EqualFold(name, HeaderTracestate) {
			r.Tracestate = value
		}
	case len(HeaderTraceparent):
		if strings.EqualFold(name, HeaderTraceparent) {
			r.Traceparent = value
		}
	case len("x-request-id"):
		if strings.EqualFold(name, "x-request-id") {
			r.RequestID = value
		}
	case len("authorization"):
		if strings.EqualFold(name, "authorization") {
			r.Authorization = append(r.Authorization, value)
		}
	case len("sec-fetch-site"):
		if strings.EqualFold(name, "sec-fetch-site") {
			r.SecFetchSite = append(r.SecFetchSite, value)
		}
	}
	if IsIdentityName(name) {
		r.IdentityNames = append(r.IdentityNames, name)
	}
}

// MaxHeaders is how many fields a request may have; Envoy's own default is 100.
const MaxHeaders = 1000

// Finish settles what all headers together decide.
func (r *Request) Finish() {
	r.TooMany, r.Headers, r.EveryName = r.Headers > MaxHeaders, 0, false
	if r.Host == "" {
		r.Host = r.HostHeader
	}
}

// IsIdentityName tells whether a backend could take the header for one of ours. Whatever is no letter or digit counts
// as a hyphen: CGI and WSGI servers fold x_user_id and x-user-id into one (CVE-2025-64484), PHP and older web servers
// x.user.id, too.
func IsIdentityName(name string) bool {
	const length = len("x-user-") // and of x-auth-
	if len(name) < length || name[0]|0x20 != 'x' || !separates(name[1]) || !separates(name[6]) {
		return false
	}
	return strings.EqualFold(name[2:6], "user") || strings.EqualFold(name[2:6], "auth")
}

// separates tells a byte of a header's name that is no letter or digit.
func separates(c byte) bool {
	return c == '-' || (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9')
}

// Setting is one entry of Envoy's context_extensions, which a route or a virtual host sets for its requests and no
// client can.
type Setting struct{ Name, Value string }

// Headers of W3C Trace Context.
const (
	HeaderTraceparent = "traceparent"
	HeaderTracestate  = "tracestate"
)
