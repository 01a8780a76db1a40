package extauthz

import (
	"maps"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// request is what a check needs of Envoy's CheckRequest, and nothing else: no body, no path rules.
type request struct {
	method string
	scheme string
	host   string
	path   string // raw, with its query; for the log, which cuts the query off
	client string // the downstream's address

	authorization []string // every Authorization field, in order
	cookies       []string // every Cookie field, in order
	secFetchSite  []string
	origin        []string
	apiKey        bool // an API key of Better Auth's came, of whatever value
	requestID     string
	hostHeader    string
	websocket     bool // the request asks to become a WebSocket
	traceparent   string
	tracestate    string

	headers   int // how many fields there were, until finish
	tooMany   bool
	everyName bool    // until finish: identityNames is to have all of them, also of a request with too many fields
	unread    *Denial // why nothing else is known of the request; nil when it was read

	route []routeSetting // the route's own settings: Envoy's context_extensions

	// identityNames are the names of the client's own headers that a backend could take for ours,
	// as they came. They never reach the backend.
	identityNames []string
}

// readRequest reads the fields from headers and from header_map; Envoy sends one of the two
// (encode_raw_headers). A field that stands in both counts as repeated, which is the safe reading.
func readRequest(in *authv3.CheckRequest) request {
	attributes := in.GetAttributes()
	http := attributes.GetRequest().GetHttp()
	r := request{
		method: http.GetMethod(),
		scheme: http.GetScheme(),
		host:   http.GetHost(),
		path:   http.GetPath(),
		client: attributes.GetSource().GetAddress().GetSocketAddress().GetAddress(),

		everyName: true,
	}
	headers := http.GetHeaders()
	for _, name := range slices.Sorted(maps.Keys(headers)) { // in an order that is always the same
		r.readHeader(name, headers[name])
	}
	for _, header := range http.GetHeaderMap().GetHeaders() {
		r.readHeader(header.GetKey(), headerValue(header))
	}
	extensions := attributes.GetContextExtensions()
	for _, name := range slices.Sorted(maps.Keys(extensions)) {
		r.route = append(r.route, routeSetting{name, extensions[name]})
	}
	r.finish()
	return r
}

func headerValue(header *corev3.HeaderValue) string {
	if raw := header.GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return header.GetValue()
}

// readHeader files one header. Names are compared without regard to case (RFC 9110 §5.1), though
// Envoy sends them in lower case; the length goes first, since most names are none of these.
func (r *request) readHeader(name, value string) {
	if r.headers++; r.headers > maxHeaders { // it is refused for that alone
		if r.everyName && isIdentityName(name) {
			r.identityNames = append(r.identityNames, name)
		}
		return
	}
	switch len(name) {
	case len("host"):
		if strings.EqualFold(name, "host") {
			r.hostHeader = value
		}
	case len("x-api-key"):
		if strings.EqualFold(name, "x-api-key") {
			r.apiKey = r.apiKey || value != ""
		}
	case len("cookie"): // and of origin
		if strings.EqualFold(name, "cookie") {
			r.cookies = append(r.cookies, value)
		} else if strings.EqualFold(name, "origin") {
			r.origin = append(r.origin, value)
		}
	case len("upgrade"):
		if strings.EqualFold(name, "upgrade") {
			r.websocket = r.websocket || strings.Contains(strings.ToLower(value), "websocket")
		}
	case len(":authority"): // and of tracestate
		if name == ":authority" {
			r.hostHeader = value
		} else if strings.EqualFold(name, headerTracestate) {
			r.tracestate = value
		}
	case len(headerTraceparent):
		if strings.EqualFold(name, headerTraceparent) {
			r.traceparent = value
		}
	case len("x-request-id"):
		if strings.EqualFold(name, "x-request-id") {
			r.requestID = value
		}
	case len("authorization"):
		if strings.EqualFold(name, "authorization") {
			r.authorization = append(r.authorization, value)
		}
	case len("sec-fetch-site"):
		if strings.EqualFold(name, "sec-fetch-site") {
			r.secFetchSite = append(r.secFetchSite, value)
		}
	}
	if isIdentityName(name) {
		r.identityNames = append(r.identityNames, name)
	}
}

// maxHeaders is how many fields a request may have; Envoy's own default is 100.
const maxHeaders = 1000

// finish settles what all headers together decide.
func (r *request) finish() {
	r.tooMany, r.headers, r.everyName = r.headers > maxHeaders, 0, false
	if r.host == "" {
		r.host = r.hostHeader
	}
}

// isIdentityName tells whether a backend could take the header for one of ours. Whatever is no letter or digit counts
// as a hyphen: CGI and WSGI servers fold x_user_id and x-user-id into one (CVE-2025-64484), PHP and older web servers
// x.user.id, too.
func isIdentityName(name string) bool {
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
