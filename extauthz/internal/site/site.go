// Package site tells where a request comes from, and refuses what another site's page made a browser send. It reads
// origins as browsers write them and patterns as Better Auth's trustedOrigins. It imports reason, request and show, and
// does not know credentials.
package site

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/publicsuffix"

	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
	"extauthz/extauthz/internal/show"
)

// Check refuses a request that another site's page made the browser send (CSRF), where that
// could do something: an unsafe method (RFC 9110 §9.2.1), or a WebSocket, which browsers let any
// page open. It matters for cookies only, which browsers send unasked.
func Check(r *request.Request, trusted []Pattern) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		if !r.WebSocket {
			return nil
		}
	}
	var err error
	if len(r.SecFetchSite) > 0 {
		err = checkFetchSite(r.SecFetchSite, r.Origin)
	} else {
		err = checkOrigin(r)
	}
	if err != nil && comesFromTrusted(r, trusted) {
		return nil
	}
	return err
}

// comesFromTrusted tells whether the request names exactly one origin, and that one is trusted. It does not settle
// what a browser would not send: a Sec-Fetch-Site that is repeated or unknown.
func comesFromTrusted(r *request.Request, trusted []Pattern) bool {
	if len(trusted) == 0 || len(r.Origin) != 1 || len(r.SecFetchSite) > 1 ||
		len(r.SecFetchSite) == 1 && strings.Trim(r.SecFetchSite[0], " \t") != "cross-site" {
		return false
	}
	from, ok := ParseOrigin(r.Origin[0])
	if !ok {
		return false
	}
	for i := range trusted {
		if trusted[i].Matches(from, r.Scheme == "https") {
			return true
		}
	}
	return false
}

// checkFetchSite judges Sec-Fetch-Site, which a page cannot set. What is not known to be harmless, a
// repeated field among it, counts as cross-site.
func checkFetchSite(fields, origin []string) error {
	if len(fields) == 1 {
		switch strings.Trim(fields[0], " \t") {
		case "same-origin", "same-site", "none": // none: the user's own doing
			return nil
		}
	}
	got := "Sec-Fetch-Site " + show.Claim(strings.Join(fields, ", "), true)
	if len(origin) > 0 {
		got += ", Origin " + show.Claim(strings.Join(origin, ", "), true)
	}
	return reason.Differing(reason.CrossSite, got, "same-origin, same-site or none, or a trusted origin")
}

// checkOrigin is for browsers without Sec-Fetch-Site, and for plain http, where none sends it. No
// Origin means that no browser's script or form sent the request.
func checkOrigin(r *request.Request) error {
	if len(r.Origin) == 0 {
		return nil
	}
	refusal := reason.Differing(reason.CrossSite, "Origin "+show.Claim(strings.Join(r.Origin, ", "), true),
		"the site of "+show.Claim(r.Host, true)+", or a trusted origin")
	if len(r.Origin) > 1 {
		return refusal
	}
	origin, err := url.Parse(strings.Trim(r.Origin[0], " \t"))
	if err != nil || (origin.Scheme != "http" && origin.Scheme != "https") || origin.Host == "" {
		return refusal // also "null", which sandboxed pages send
	}
	if r.Scheme == "https" && origin.Scheme == "http" {
		return refusal // a page that anybody on the way can write
	}
	if site(origin.Host) == "" || site(origin.Host) != site(r.Host) {
		return refusal
	}
	return nil
}

// site is the registrable domain of a host, with or without port; for an address or a single label,
// such as localhost, the host itself.
func site(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if net.ParseIP(host) != nil {
		return host
	}
	if domain, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return domain
	}
	return host
}
