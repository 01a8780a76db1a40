package site

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"

	"extauthz/extauthz/internal/show"
)

// Trusted origins are patterns as Better Auth's trustedOrigins, so that one list serves both: an origin to the
// letter, or one with wildcards ("*" any text, "?" one character), or a host with wildcards and no scheme. What
// matches here matches there; the other way about, some do not: see ReadPattern and ParseOrigin.

// Pattern is one entry of the list.
type Pattern struct {
	scheme    string // of an application's own scheme, such as myapp; else empty
	authority string // of such: what stands behind the scheme; empty for any
	host      string // host[:port] with wildcards, of a pattern without a scheme; else empty
	origin    string // scheme://host[:port], with or without wildcards; else empty
	anyScheme bool   // the scheme is not given, or by a wildcard
	isAddress bool   // the wildcards stand in an IPv4 address, and match nothing else
}

// ReadPatterns reads the list. Its error completes the sentence "TrustedOrigins …".
func ReadPatterns(texts []string) (patterns []Pattern, err error) {
	for _, text := range texts {
		pattern, err := ReadPattern(text)
		if err != nil {
			return nil, err
		}
		patterns = append(patterns, pattern)
	}
	return patterns, nil
}

// ReadPattern reads a pattern. One that could never match, or that would match sites of anybody's, is a fault: it
// completes the sentence "… ".
func ReadPattern(text string) (Pattern, error) {
	fault := func(format string, args ...any) (Pattern, error) {
		return Pattern{}, fmt.Errorf("has %q, which "+format, append([]any{show.Clip(text)}, args...)...)
	}
	const write = "write one like https://app.example.com or https://*.example.com"
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' || strings.IndexByte(`"#%,<>@\^{|}`+"`", c) >= 0 {
			return fault("holds %q, as no origin does (a host beyond ASCII is written xn--…); %s", text[i:i+1], write)
		}
	}
	hasWildcard := strings.ContainsAny(text, "*?")
	scheme, rest, hasScheme := strings.Cut(text, "://")
	if !hasScheme || scheme == "" {
		if !hasWildcard || strings.Contains(text, "/") {
			return fault("has no scheme in front; %s", write)
		}
		scheme, rest = "", text
	}
	isWeb := scheme == "" || strings.ContainsAny(scheme, "*?") || scheme == "http" || scheme == "https"
	if !isWeb {
		if strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https") || !isScheme(scheme) {
			return fault("has no scheme that an origin may have, in lower case; %s", write)
		}
		authority, path, _ := strings.Cut(rest, "/")
		if strings.Trim(path, "*") != "" { // /** is any path, and also none
			return fault("has a path, which no origin has; leave it out")
		}
		p := Pattern{scheme: scheme, authority: strings.ToLower(authority)}
		p.isAddress = hasWildcard && isAddressPattern(p.authority)
		return p, nil
	}
	p := Pattern{origin: text, anyScheme: strings.ContainsAny(scheme, "*?")}
	if scheme == "" {
		p = Pattern{host: text, anyScheme: true}
	}
	switch name, port := splitPort(rest); {
	case strings.Contains(rest, "/"):
		return fault("has a slash or a path behind the host, which no origin has; leave it out")
	case rest != strings.ToLower(rest):
		return fault("has capital letters, which no browser sends in an origin; write it in lower case")
	case strings.Trim(rest, "*?.:") == "":
		return fault("would trust every site; name the sites, as in https://*.example.com")
	case port != "" && port == defaultPorts[scheme]:
		return fault("has the scheme's own port, which no browser sends in an origin; leave it out")
	case strings.ContainsAny(name, "*?") && isAddressPattern(name):
		p.isAddress = true
	case !isOwnable(name):
		return fault("would trust sites of anybody's; name the domain whole, as in https://*.example.com")
	}
	return p, nil
}

// splitPort parts host:port; the host may be an IPv6 address in brackets.
func splitPort(authority string) (host, port string) {
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.Contains(authority[i:], "]") {
		return authority[:i], authority[i+1:]
	}
	return authority, ""
}

// isOwnable tells whether what a host's pattern matches belongs to one owner: behind the label with the last wildcard
// there is more than a suffix under which anybody registers names.
func isOwnable(host string) bool {
	last := strings.LastIndexAny(host, "*?")
	if last < 0 {
		return host != ""
	}
	_, fixed, _ := strings.Cut(host[last:], ".")
	if fixed == "" {
		return false
	}
	suffix, isManaged := publicsuffix.PublicSuffix(fixed)
	return suffix != fixed || !isManaged
}

// isAddressPattern tells a range of IPv4 addresses, such as 192.168.*.*, from a name: it has digits and nothing else
// but dots and wildcards. It must not match a name, such as 192.168.evil.example.
func isAddressPattern(authority string) bool {
	host, _, _ := strings.Cut(authority, ":")
	return strings.ContainsAny(host, "0123456789") && strings.Trim(host, "0123456789*?.") == ""
}

// isScheme is scheme of RFC 3986 §3.1, in lower case.
func isScheme(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z':
		case i > 0 && ('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'):
		default:
			return false
		}
	}
	return text != ""
}

// origin is an Origin header taken apart.
type origin struct {
	scheme, authority string // in lower case, without the scheme's own port
	host              string // the authority, of an application's own scheme as it came
}

// ParseOrigin reads one Origin header as strictly as a browser writes it (RFC 6454 §6.2): scheme, host and port, and
// nothing else. Better Auth reads any URL there and takes its origin; a path or a user name is none of a browser's.
func ParseOrigin(text string) (o origin, ok bool) {
	scheme, host, found := strings.Cut(text, "://")
	scheme = strings.ToLower(scheme)
	if !found || !isScheme(scheme) {
		return origin{}, false // also null, which sandboxed pages send
	}
	authority := strings.ToLower(host)
	for i := range len(authority) {
		switch c := authority[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', strings.IndexByte("-._~:[]", c) >= 0:
		default:
			return origin{}, false
		}
	}
	name, port := splitPort(authority)
	if !isPort(port) || strings.HasSuffix(authority, ":") || port != "" && name == "" {
		return origin{}, false
	}
	if inside, isBracketed := strings.CutPrefix(name, "["); isBracketed || strings.ContainsAny(name, ":[]") {
		address, err := netip.ParseAddr(strings.TrimSuffix(inside, "]"))
		if err != nil || !address.Is6() || address.Is4In6() || name != "["+address.String()+"]" {
			return origin{}, false
		}
	}
	switch scheme {
	case "http", "https", "ws", "wss", "ftp", "file": // whose hosts a browser normalizes (WHATWG URL §3.1)
		if !isWebHost(name) && !(scheme == "file" && name == "") || scheme == "file" && port != "" {
			return origin{}, false
		}
		if port == defaultPorts[scheme] {
			authority = name
		}
		host = authority
	}
	return origin{scheme, authority, host}, true
}

// isWebHost tells a host as a browser writes it: one that ends in a number is an IPv4 address in its usual form, and a
// label of an international name decodes (WHATWG URL §3.5).
func isWebHost(name string) bool {
	last := strings.TrimSuffix(name, ".")
	last = last[strings.LastIndexByte(last, '.')+1:]
	if strings.HasPrefix(last, "0x") || last != "" && strings.Trim(last, "0123456789") == "" {
		address, err := netip.ParseAddr(name)
		return err == nil && address.Is4()
	}
	if strings.Contains(name, "xn--") {
		ascii, err := idna.New(idna.MapForLookup(), idna.Transitional(false)).ToASCII(name)
		return err == nil && ascii == name
	}
	return name != ""
}

func isPort(text string) bool {
	if text == "" {
		return true
	}
	number, err := strconv.ParseUint(text, 10, 16)
	return err == nil && strconv.FormatUint(number, 10) == text
}

// Matches tells whether the pattern trusts the origin. overTLS says that the request itself came over https.
func (p *Pattern) Matches(o origin, overTLS bool) bool {
	switch {
	case p.scheme != "":
		return o.scheme == p.scheme && (p.authority == "" || glob(p.authority, o.authority) && p.fitsAddress(o.authority))
	case o.authority == "" || p.anyScheme && overTLS && o.scheme == "http":
		return false // a page that anybody on the way can write, and that nobody asked for by name
	case p.host != "":
		return glob(p.host, o.host) && p.fitsAddress(o.host)
	}
	isWeb := o.scheme == "http" || o.scheme == "https"
	return isWeb && glob(p.origin, o.scheme+"://"+o.authority) && p.fitsAddress(o.authority)
}

func (p *Pattern) fitsAddress(authority string) bool {
	if !p.isAddress {
		return true
	}
	host, _ := splitPort(authority)
	address, err := netip.ParseAddr(host)
	return err == nil && address.Is4()
}

// glob matches the whole text: "*" is any text, also none, and "?" one character.
func glob(pattern, text string) bool {
	star, resume := -1, 0
	p, t := 0, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			resume++
			p, t = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
