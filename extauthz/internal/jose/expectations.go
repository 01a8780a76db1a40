package jose

import (
	"slices"
	"strings"
	"time"

	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/show"
)

// Expectations are what a token's claims must meet, for one verifier.
type Expectations struct {
	Issuers   []string // any of them
	Audiences []string // any of them
	Leeway    time.Duration
}

// Check judges the claims at the given time. Expiry goes first: whatever else is wrong with it, a
// token that was genuine and is past its time is told so. The token's kind goes before its issuer and audience, which
// an operator could otherwise set to those of an OAuth client's tokens, one refusal after the other.
func (e *Expectations) Check(c *Claims, now time.Time) error {
	if err := e.CheckTimes(&c.Times, now); err != nil {
		return err
	}
	if err := c.Profile.Check(c.Subject); err != nil {
		return err
	}
	if err := e.CheckIssuer(c.Issuer, c.HasIssuer); err != nil {
		return err
	}
	if err := e.CheckAudience(c.Audience); err != nil {
		return err
	}
	return c.CheckUser(now)
}

// CheckUser wants a user who can be named, and who was not banned when the token was issued, or is so no longer.
func (c *Claims) CheckUser(now time.Time) error {
	if err := identity.CheckSubject(c.Subject); err != nil {
		return err
	}
	if now.Before(c.bannedUntil) {
		return reason.Differing(reason.UserBanned, "a claim banned, until "+show.Time(c.bannedUntil),
			"a user who is not banned")
	}
	return nil
}

// Recheck is check for a token that passed it before, in what may have changed since: the subject is
// still what it was.
func (e *Expectations) Recheck(t *Times, issuer string, audience []string, now time.Time) error {
	if err := e.CheckTimes(t, now); err != nil {
		return err
	}
	if err := e.CheckIssuer(issuer, true); err != nil {
		return err
	}
	return e.CheckAudience(audience)
}

// CheckTimes follows RFC 7519 §4.1.4 (exp: not on or after), §4.1.5 (nbf: not before) and §4.1.6 (iat).
func (e *Expectations) CheckTimes(t *Times, now time.Time) error {
	current, leeway := NumericDate(float64(now.UnixNano())/1e9), NumericDate(e.Leeway.Seconds())
	differ := func(code reason.Reason, date NumericDate) error {
		return reason.Differing(code, show.Time(date.Time()), "a time around "+show.Time(now)+", leeway "+e.Leeway.String())
	}
	switch {
	case !(current < t.Expires+leeway): // exp is required, so that absent would be expired
		return differ(reason.Expired, t.Expires)
	case current < t.notBefore-leeway:
		return differ(reason.NotYetValid, t.notBefore)
	case current < t.issuedAt-leeway:
		return differ(reason.IssuedInFuture, t.issuedAt)
	}
	return nil
}

// CheckIssuer compares iss octet by octet (RFC 7519 §4.1.1).
func (e *Expectations) CheckIssuer(issuer string, present bool) error {
	if present && slices.Contains(e.Issuers, issuer) {
		return nil
	}
	return reason.Differing(reason.WrongIssuer, show.Claim(issuer, present), show.List(e.Issuers))
}

// CheckAudience wants one of ours among the token's (RFC 7519 §4.1.3).
func (e *Expectations) CheckAudience(audience []string) error {
	for _, one := range audience {
		if slices.Contains(e.Audiences, one) {
			return nil
		}
	}
	return reason.Differing(reason.WrongAudience, show.Claim(strings.Join(audience, ", "), len(audience) > 0),
		show.List(e.Audiences))
}
