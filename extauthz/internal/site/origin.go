package site

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/idna"

	"extauthz/extauthz/internal/show"
)

// Origin is the URL's origin as a browser and Node write it: in lower case, without the scheme's own port, the
// host's letters in ASCII (WHATWG URL §4.7, RFC 6454 §6.1).
func Origin(u *url.URL) (string, error) {
	scheme, host, port := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()
	if address, err := netip.ParseAddr(host); err == nil {
		if host = address.String(); address.Is6() {
			host = "[" + host + "]"
		}
	} else if !isASCII(host) {
		if host, err = idna.New(idna.MapForLookup(), idna.Transitional(false)).ToASCII(host); err != nil {
			return "", fmt.Errorf("is %q, whose host is no name; write one like https://app.example.com",
				show.Clip(u.Redacted()))
		}
	}
	if port == defaultPorts[scheme] {
		port = ""
	}
	if port != "" {
		port = ":" + port
	}
	return scheme + "://" + host + port, nil
}

// defaultPorts are the ports that a URL leaves out.
var defaultPorts = map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21"}

func isASCII(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r > 0x7f }) < 0
}
