package issuer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/dryrun"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/show"
	"extauthz/extauthz/internal/verified"
)

// What the kinds of JWTs have in common.

// stepsOfJWT are the steps of every JWT.
var stepsOfJWT = []string{
	reason.StepShape, reason.StepKey, reason.StepSignature, reason.StepClaims, reason.StepTimes, reason.StepIssuer,
	reason.StepAudience, reason.StepSubject,
}

// jwtOf is the credential of a JWT's form.
func jwtOf(form credential.Form) credential.Credential {
	return credential.Credential{Token: form.Text, JWT: form.JWT}
}

// expectations are what the claims of a kind must meet.
func (i *Issuer) expectations(kind *Kind) jose.Expectations {
	return jose.Expectations{Issuers: i.Accepted, Audiences: i.Audiences, Leeway: kind.Leeway}
}

// judgeClaims is what is left once a signature is verified; signer is what it is by. With
// a denial it returns the subject, which is proven by then. What is allowed is remembered.
func (i *Issuer) judgeClaims(
	ctx context.Context, kind *Kind, presented *credential.Credential, signer signedBy,
) (identity.Identity, error) {
	expected, now := i.expectations(kind), i.Now()
	claims, err := jose.ParseClaims(presented.JWT.Payload)
	if err != nil {
		return identity.Identity{Method: kind.Method}, err
	}
	claims.IsAccessToken = presented.JWT.IsAccessToken
	identity := claims.Identity(kind.Method)
	identity.Issuer = i.Told
	if err := expected.Check(&claims, now); err != nil {
		return identity, err
	}
	if identity.Further, err = i.factsOfClaims(presented.JWT.Payload); err != nil {
		return identity, reason.Deny(reason.MalformedClaims)
	}
	if i.Remembers() && !dryrun.Is(ctx) {
		proof := proofOf(&claims, &expected, kind, signer, i.Answer(identity))
		proof.Value.owner = i.Owner
		i.Memory.Add(proof, i.Digest(presented.Token), proof.Value.Size(), claims.Expires.Time().Add(Leeway), now)
	}
	return identity, nil
}

// proofOf is what is remembered of claims that passed the expectations, with no text that those have already.
func proofOf(
	c *jose.Claims, expected *jose.Expectations, kind *Kind, signer signedBy, answer Answer,
) *verified.Entry[Proof] {
	entry := new(verified.Entry[Proof])
	p := &entry.Value
	*p = Proof{
		Answer: answer, Kind: kind, signedBy: signer, Times: c.Times,
		issuer: &expected.Issuers[slices.Index(expected.Issuers, c.Issuer)],
	}
	for i, audience := range expected.Audiences {
		if slices.Contains(c.Audience, audience) {
			p.audience = expected.Audiences[i : i+1]
			break
		}
	}
	return entry
}

// foundSecret says what a step has found that looks for the shared secret.
func (i *Issuer) foundSecret() string {
	if !i.Secrets.IsConfigured() {
		return "no secret is configured, so the signature does not count"
	}
	return "the shared secret"
}

// foundInJWT says what a step has found that all JWTs have.
func (i *Issuer) foundInJWT(step string, read *credential.Credential, who *identity.Identity) string {
	switch step {
	case reason.StepShape:
		return fmt.Sprintf("JWT, alg %s, %d bytes", read.JWT.Algorithm, len(read.Token))
	case reason.StepSignature:
		return "fits"
	case reason.StepClaims:
		return "unique names, correct types"
	case reason.StepTimes:
		return i.foundExpiry(who)
	case reason.StepIssuer:
		claims, err := jose.ParseClaims(read.JWT.Payload)
		return show.Claim(claims.Issuer, err == nil)
	case reason.StepAudience:
		return "one of " + show.List(i.Audiences)
	}
	return show.Quoted(who.Subject)
}

// foundExpiry says when an identity ends.
func (i *Issuer) foundExpiry(who *identity.Identity) string {
	return fmt.Sprintf("expires %s, in %s", show.Time(who.ExpiresAt), who.ExpiresAt.Sub(i.Now()).Round(time.Second))
}
