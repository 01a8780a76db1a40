package issuers

import (
	"context"
	"net"
	"strings"

	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/show"
)

// Verify finds whose a credential is and has that issuer judge it; it returns nil for nobody's. cookie is the name of
// the cookie that brought it, and host the request's.
func (s *Set) Verify(
	ctx context.Context, presented issuer.Recognized, cookie, host string,
) (identity.Identity, *issuer.Issuer, error) {
	if s.byIss == nil {
		who, err := s.List[0].Verify(ctx, presented)
		return who, s.List[0], err
	}
	if presented.JWT.Algorithm != "" {
		i, err := s.ofToken(&presented)
		if err != nil {
			return identity.Identity{}, nil, err
		}
		who, err := i.Verify(ctx, presented)
		return who, i, err
	}
	among := s.List
	if presented.Cookie {
		among = s.ofCookie(cookie, host)
	}
	return ask(ctx, among, presented)
}

// ofToken finds the issuer that has a JWT's iss, compared octet by octet (RFC 7519 §4.1.1). Nobody else's key or secret
// is tried, and no key is fetched for a token of nobody's.
func (s *Set) ofToken(presented *issuer.Recognized) (*issuer.Issuer, error) {
	claims, err := jose.ParseClaims(presented.JWT.Payload)
	if err != nil {
		return nil, err
	}
	if i := s.byIss[claims.Issuer]; i != nil && claims.HasIssuer {
		return i, nil
	}
	var accepted []string
	for _, i := range s.List {
		accepted = append(accepted, i.Accepted...)
	}
	return nil, reason.Differing(reason.WrongIssuer, show.Claim(claims.Issuer, claims.HasIssuer), show.List(accepted))
}

// ofCookie finds the issuers that have a cookie of that name: of several the one at the request's host, where there is
// one. Else the cookie's signature tells whose it is.
func (s *Set) ofCookie(name, host string) []*issuer.Issuer {
	var named, here []*issuer.Issuer
	for _, i := range s.List {
		if name == "" || i.Cookie == name {
			named = append(named, i)
			if i.Host != "" && i.Host == Hostname(host) {
				here = append(here, i)
			}
		}
	}
	if len(named) > 1 && len(here) > 0 {
		return here
	}
	return named
}

// Hostname is a host as cookies know it: without its port (RFC 6265 §8.5), in lower case.
func Hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.Trim(strings.TrimSuffix(host, "."), "[]"))
}
