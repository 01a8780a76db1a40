package issuer

import (
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/jose/jwk"
	"extauthz/extauthz/internal/secret"
)

// Proof is what stays true of a JWT whose signature was verified: whose signature it is and what the
// claims say. Whether that is enough now is judged at every use. There may be millions of them, so it
// holds nothing twice: the identity is read back from the answer when it is wanted.
type Proof struct {
	Answer Answer // the allow, for a request that brings no identity headers
	owner  *Owner
	signedBy
	issuer   *string  // shared with the configuration, like audience
	audience []string // those of the token's that are ours
	Times    jose.Times
	Kind     *Kind
}

// signedBy is what a signature was verified with: a key of the issuer's key set, or a shared secret.
type signedBy struct {
	key    *jwk.Key
	secret *secret.Shared
}

// proofOverhead is what a remembered token takes besides its answer, in bytes: the entry, its places in the memory, and
// allocation's own rounding. TestMemoryIsBounded holds it against what is measured.
const proofOverhead = 288

// Size is what a proof takes once it is remembered, in bytes.
func (p *Proof) Size() int { return proofOverhead + p.Answer.Size() }

// Identity reads back who the token is of.
func (p *Proof) Identity() identity.Identity { return p.Answer.Identity() }

// Owner stands for an issuer for as long as what was verified by it holds: it outlives a change of the secrets.
type Owner struct{ _ *byte } // not empty: two empty values may have one address

// Owner stands for the issuer that verified the token.
func (p *Proof) Owner() *Owner { return p.owner }

// Issuer is the token's iss.
func (p *Proof) Issuer() string { return *p.issuer }
