package extauthz

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

// issuer is one Better Auth: whose tokens are accepted, by which keys and secrets, and where its sessions are. Its methods
// are safe for concurrent use.
type issuer struct {
	issuerParts
	expected  [credential.Kinds]jose.Expectations
	verifiers chain
}

// issuerParts is what an issuer is made of. It is not changed once the issuer is made.
type issuerParts struct {
	Accepted  []string       // values of iss, compared octet by octet (RFC 7519 §4.1.1)
	Audiences []string       // values of aud, of which a token has one
	Cookie    string         // the session cookie's name
	Trusted   []site.Pattern // origins beside the API's own site
	Keys      *keyset.Set
	Secrets   *secret.Set
	Sessions  session.Store // nil where there are none

	RequireSignature bool // refuses session tokens without one

	Memory *verified.Memory[proof] // nil where nothing is remembered
	// Digest is of a whole token; it keeps nothing of it.
	Digest func(token string) verified.Digest
	// Answer makes what is remembered with a verified token to answer its next check with.
	Answer func(identity.Identity) answer
	Now    func() time.Time
}

// answer is an answer to an identity, made once and given often.
type answer interface {
	Identity() identity.Identity // that it is for
	Size() int                   // in bytes
}

// jwksLeeway is how far the issuer's clock and this one may differ.
const jwksLeeway = 60 * time.Second

func newIssuer(parts issuerParts) *issuer {
	i := &issuer{issuerParts: parts}
	i.expected[KindJWT] = jose.Expectations{Issuers: parts.Accepted, Audiences: parts.Audiences, Leeway: jwksLeeway}
	i.expected[KindHS256] = jose.Expectations{Issuers: parts.Accepted, Audiences: parts.Audiences}
	i.verifiers = chain{
		KindJWT:     &jwksVerifier{i, newGate()},
		KindHS256:   &secretVerifier{i},
		KindSession: &sessionVerifier{i},
	}
	return i
}

// verify judges a credential. An error that is a denial is the answer; any other error means that the credential could not
// be checked. With an error the identity says no more than what was proven before it.
func (i *issuer) verify(ctx context.Context, presented credential.Credential) (identity.Identity, error) {
	return i.verifiers.Verify(ctx, presented)
}

// recall judges a JWT whose signature was verified before: everything but the signature anew. It returns nil when the token
// is not remembered, or its key or secret is no longer in force; then it is judged like a new one.
func (i *issuer) recall(token string) (*proof, error) {
	remembered := i.Memory.Find(i.Digest(token))
	if remembered == nil {
		return nil, nil
	}
	p, now := &remembered.Value, i.Now()
	if p.key != nil && !i.Keys.IsCurrent(p.key, now) || p.secret != nil && !i.Secrets.IsInForce(p.secret) {
		i.Memory.Forget(remembered)
		return nil, nil
	}
	return p, i.expected[p.kind].Recheck(&p.times, p.issuer, p.audience, now)
}

// remembers tells whether verified tokens are remembered.
func (i *issuer) remembers() bool { return i.Memory != nil }
