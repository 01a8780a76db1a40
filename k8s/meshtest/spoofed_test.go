package meshtest

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
)

// spoofedHeaders are identity headers that a client makes up, in every spelling that HTTP allows (RFC 9110 §5.6.2): some
// server takes each of these separators for a hyphen.
func spoofedHeaders() (headers []string) {
	const separators = "-_!#$%&'*+.^`|~"
	for _, first := range separators {
		for _, name := range []string{"x%cuser-id", "X-User%cId", "x%cUSER%[1]cname", "x%cauth%[1]cmethod", "x-auth%cx"} {
			headers = append(headers, fmt.Sprintf(name, first)+": spoofed")
		}
	}
	for _, name := range []string{"x-user-email", "x-user-role", "x-user-", "x-auth-issued-at", "x-auth-expires-at", "X.User.Role",
		"x-auth-issuer", "x-auth-scope", "x-auth-session-id", "x-auth-request-user"} {
		headers = append(headers, name+": spoofed")
	}
	return headers
}

var isOurs = regexp.MustCompile(`(?i)^x[^a-z0-9](user|auth)[^a-z0-9]`)

// spoofed are the names of the headers of ours that reached the backend with a client's own value.
func spoofed(received http.Header) (names []string) {
	for name, values := range received {
		if isOurs.MatchString(name) && (slices.Contains(values, "spoofed") || slices.Contains(values, "admin")) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
