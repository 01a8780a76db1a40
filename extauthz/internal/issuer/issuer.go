// Package issuer is one Better Auth: whose tokens are accepted, by which keys and secrets, where its sessions are, and how
// each kind of credential is judged by them. It imports credential, jose, keyset, secret, session, site, verified, identity,
// reason, dryrun and show. It does not know requests, nor how an answer is encoded.
package issuer

import (
	"context"
	"time"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/keyset"
	"extauthz/extauthz/internal/secret"
	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/site"
	"extauthz/extauthz/internal/verified"
)

// Issuer is one Better Auth: whose tokens are accepted, by which keys and secrets, and where its sessions are. Its methods
// are safe for concurrent use.
type Issuer struct {
	Parts
	expected  [credential.Kinds]jose.Expectations
	Verifiers chain
}

// Parts is what an issuer is made of. It is not changed once the issuer is made.
type Parts struct {
	Accepted  []string       // values of iss, compared octet by octet (RFC 7519 §4.1.1)
	Audiences []string       // values of aud, of which a token has one
	Cookie    string         // the session cookie's name
	Trusted   []site.Pattern // origins beside the API's own site
	Keys      *keyset.Set
	Secrets   *secret.Set
	Sessions  session.Store // nil where there are none

	RequireSignature bool // refuses session tokens without one

	Memory *verified.Memory[Proof] // nil where nothing is remembered
	// Digest is of a whole token; it keeps nothing of it.
	Digest func(token string) verified.Digest
	// Answer makes what is remembered with a verified token to answer its next check with.
	Answer func(identity.Identity) Answer
	Now    func() time.Time
}

// Answer is an answer to an identity, made once and given often.
type Answer interface {
	Identity() identity.Identity // that it is for
	Size() int                   // in bytes
}

// Leeway is how far the issuer's clock and this one may differ.
const Leeway = 60 * time.Second

// New makes an issuer of its parts.
func New(parts Parts) *Issuer {
	i := &Issuer{Parts: parts}
	i.expected[credential.KindJWT] = jose.Expectations{Issuers: parts.Accepted, Audiences: parts.Audiences, Leeway: Leeway}
	i.expected[credential.KindHS256] = jose.Expectations{Issuers: parts.Accepted, Audiences: parts.Audiences}
	i.Verifiers = chain{
		credential.KindJWT:     &JwksVerifier{i, NewGate()},
		credential.KindHS256:   &secretVerifier{i},
		credential.KindSession: &sessionVerifier{i},
	}
	return i
}

// Verify judges a credential. An error that is a denial is the answer; any other error means that the credential could not
// be checked. With an error the identity says no more than what was proven before it.
func (i *Issuer) Verify(ctx context.Context, presented credential.Credential) (identity.Identity, error) {
	return i.Verifiers.Verify(ctx, presented)
}

// Recall judges a JWT whose signature was verified before: everything but the signature anew. It returns nil when the token
// is not remembered, or its key or secret is no longer in force; then it is judged like a new one.
func (i *Issuer) Recall(token string) (*Proof, error) {
	remembered := i.Memory.Find(i.Digest(token))
	if remembered == nil {
		return nil, nil
	}
	p, now := &remembered.Value, i.Now()
	if p.key != nil && !i.Keys.IsCurrent(p.key, now) || p.secret != nil && !i.Secrets.IsInForce(p.secret) {
		i.Memory.Forget(remembered)
		return nil, nil
	}
	return p, i.expected[p.Kind].Recheck(&p.Times, p.issuer, p.audience, now)
}

// Remembers tells whether verified tokens are remembered.
func (i *Issuer) Remembers() bool { return i.Memory != nil }
