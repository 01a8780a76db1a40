package extauthz

import (
	"net/url"
	"slices"
	"strings"

	"extauthz/extauthz/internal/issuers"
	"extauthz/extauthz/internal/site"
)

// issuerNames says whose tokens are accepted and where their keys are.
type issuerNames struct {
	accepted []string // values of iss, compared octet by octet (RFC 7519 §4.1.1)
	jwksURL  string
	host     string // where Better Auth is, as cookies know it
}

// readIssuer reads the base URL as Better Auth reads its own. Better Auth derives iss from it: its origin, with or
// without a path. A project that names the issuer itself (jwt.issuer) mostly writes its base URL there, so a URL
// without a path counts as it was given, too, with and without its trailing slash. One with a path does not: what
// follows the origin there is the issuer of Better Auth's OAuth tokens.
func readIssuer(config *IssuerConfig) (issuerNames, error) {
	var derived []string
	jwksURL := config.JWKSURL
	if config.Issuer != "" || jwksURL == "" || len(config.Issuers) == 0 {
		if err := checkURL("Issuer", config.Issuer); err != nil {
			return issuerNames{}, err
		}
		base, _ := url.Parse(config.Issuer)
		origin, err := site.Origin(base)
		if err != nil {
			return issuerNames{}, &ConfigError{Field: "Issuer", Fault: err.Error()}
		}
		path := strings.TrimRight(withoutDots(base.EscapedPath()), "/")
		given, _, _ := strings.Cut(config.Issuer, "://")
		given += "://" + base.Host
		derived = []string{origin}
		if path == "" {
			derived = []string{given, origin, config.Issuer}
			path = "/api/auth"
		}
		if jwksURL == "" {
			jwksURL = given + path + "/jwks"
		}
	}
	if config.JWKSURL != "" {
		if err := checkURL("JWKSURL", config.JWKSURL); err != nil {
			return issuerNames{}, err
		}
	}
	accepted := derived
	if len(config.Issuers) > 0 {
		accepted = config.Issuers
	}
	var unique []string
	for _, one := range accepted {
		if strings.TrimSpace(one) == "" {
			return issuerNames{}, &ConfigError{Field: "Issuers",
				Fault: "has an empty entry, which no token should have as iss; leave it out"}
		}
		if !slices.Contains(unique, one) {
			unique = append(unique, one)
		}
	}
	at := config.Issuer
	if at == "" {
		at = jwksURL
	}
	host := ""
	if parsed, err := url.Parse(at); err == nil {
		host = issuers.Hostname(parsed.Host)
	}
	return issuerNames{unique, jwksURL, host}, nil
}

// withoutDots resolves the segments . and .. of a path (RFC 3986 §5.2.4), also where they are escaped, as Node does.
func withoutDots(path string) string {
	var kept []string
	for _, segment := range strings.Split(strings.TrimPrefix(path, "/"), "/") {
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, segment)
		}
	}
	return "/" + strings.Join(kept, "/")
}
