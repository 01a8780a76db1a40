// Package issuer is one Better Auth: whose tokens are accepted, by which keys and secrets, where its sessions are, and
// how each kind of credential is judged by them. It imports credential, claim, decision, jose, jwk, keyset, secret,
// session, site, verified, gate, identity, reason, dryrun and show. It does not know requests, nor how an answer is
// encoded.
package issuer

import (
	"context"
	"slices"
	"time"

	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/gate"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/keyset"
	"extauthz/extauthz/internal/secret"
	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/site"
	"extauthz/extauthz/internal/verified"
)

// Issuer is one Better Auth at one time: whose tokens are accepted, by which keys and secrets, and where its sessions
// are. It is never changed, only replaced. Its methods are safe for concurrent use.
type Issuer struct {
	Parts
	verifiers verifiers
	claims    []string // those that tell further facts, in the order of these; nil where none do
}

// Parts is what an issuer is made of. It is not changed once the issuer is made.
type Parts struct {
	Name string // as the configuration has it
	Host string // where Better Auth is, as cookies know it; empty when that is not known
	Told string // what the backend is told; empty where there is one issuer
	// As is how observers of a decision tell it.
	As        *decision.Issuer
	Accepted  []string       // values of iss, compared octet by octet (RFC 7519 §4.1.1)
	Audiences []string       // values of aud, of which a token has one
	Cookie    string         // the session cookie's name
	Kinds     Chain          // of credentials; those of [Kinds] when nil
	Trusted   []site.Pattern // origins beside the API's own site
	Keys      *keyset.Set
	Secrets   *secret.Set
	Sessions  session.Store // nil where there are none
	// SessionsFail tells that they were not to be had when they were asked for last; nil where that is not known.
	SessionsFail func() bool

	// Facts are those that users come with beside what every check needs. Never nil.
	Facts *identity.Table

	RequireSignature bool // refuses session tokens without one

	Owner  *Owner                  // of what is remembered; a new one where it is nil
	Gate   *gate.Gate              // for verifications; shared with other issuers, or nil for one of its own
	Memory *verified.Memory[Proof] // nil where nothing is remembered
	// Digest is of a whole token; it keeps nothing of it.
	Digest func(token string) verified.Digest
	// Detach copies a text that outlives its check.
	Detach func(text string) string
	// Answer makes what is remembered with a verified token to answer its next check with.
	Answer func(identity.Identity) Answer
	Now    func() time.Time
}

// Answer is an answer to an identity, made once and given often.
type Answer interface {
	Identity() identity.Identity // that it is for
	Size() int                   // in bytes
}

// New makes an issuer of its parts.
func New(parts Parts) *Issuer {
	i := &Issuer{Parts: parts}
	if i.Owner == nil {
		i.Owner = &Owner{new(byte)}
	}
	if i.Gate == nil {
		i.Gate = gate.New()
	}
	if i.Facts == nil {
		i.Facts = new(identity.Table)
	}
	if claims := i.Facts.Claims(); slices.ContainsFunc(claims, func(claim string) bool { return claim != "" }) &&
		i.Facts.IsTold() {
		i.claims = claims
	}
	if i.Kinds == nil {
		i.Kinds = Kinds()
	}
	i.verifiers = make(verifiers, len(i.Kinds))
	for at, kind := range i.Kinds {
		i.verifiers[at].kind, i.verifiers[at].verifier = kind, kind.Verifier(i)
	}
	return i
}

// Verify judges a credential. An error that is a denial is the answer; any other error means that the credential could
// not be checked. With an error the identity says no more than what was proven before it.
func (i *Issuer) Verify(ctx context.Context, presented Recognized) (identity.Identity, error) {
	return i.verifiers.Verify(ctx, presented)
}

// HasSignerOf tells whether the key or secret that verified the token is in force.
func (i *Issuer) HasSignerOf(p *Proof) bool {
	if p.key != nil {
		return i.Keys.IsCurrent(p.key, i.Now())
	}
	return i.Secrets.IsInForce(p.secret)
}

// Recheck judges a token anew whose signature was verified: all that may have changed since.
func (i *Issuer) Recheck(p *Proof) error {
	expected := i.expectations(p.Kind)
	return expected.Recheck(&p.Times, *p.issuer, p.audience, i.Now())
}

// Remembers tells whether verified tokens are remembered.
func (i *Issuer) Remembers() bool { return i.Memory != nil }
