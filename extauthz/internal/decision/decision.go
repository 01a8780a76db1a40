// Package decision is what a check came to. It imports identity and reason, and does not know how that was found, told
// or answered.
package decision

import (
	"net/http"

	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/reason"
)

// Decision is what a check came to.
type Decision struct {
	Identity   identity.Identity // with a denial, no more than what was proven before it; see Who
	Denial     *reason.Denial    // nil means allow
	Method     identity.Method   // how the credential was judged; empty when there was none to judge
	Issuer     *Issuer           // whose the credential is; nil for nobody's
	Remembered Identifier        // of a remembered token; then identity is empty
}

// Issuer is how those who are told of a decision know an issuer.
type Issuer struct {
	Name    string
	IsNamed bool // there are several, or may be: who reads of a decision wants to know whose it is
	// Allowed, Denied and Unavailable count its decisions.
	Allowed, Denied, Unavailable interface{ Inc() }
}

// Called is its name where it is one of several; else, and for nobody, nothing.
func (i *Issuer) Called() string {
	if i == nil || !i.IsNamed {
		return ""
	}
	return i.Name
}

// Count counts an outcome. It may be called for nobody.
func (i *Issuer) Count(outcome string) {
	switch {
	case i == nil:
	case outcome == Allow:
		i.Allowed.Inc()
	case outcome == Deny:
		i.Denied.Inc()
	default:
		i.Unavailable.Inc()
	}
}

// Identifier is what an identity can be read back from.
type Identifier interface{ Identity() identity.Identity }

// Who is the identity, from wherever it is.
func (d *Decision) Who() identity.Identity {
	if d.Remembered != nil {
		return d.Remembered.Identity()
	}
	return d.Identity
}

// The outcomes; values of the metrics' label.
const (
	Allow       = "allow"
	Deny        = "deny"        // 401, 403 and 431
	Unavailable = "unavailable" // 503
)

// Outcome is one of the three.
func (d *Decision) Outcome() string {
	switch {
	case d.Denial == nil:
		return Allow
	case d.Denial.Status() == http.StatusServiceUnavailable:
		return Unavailable
	}
	return Deny
}
