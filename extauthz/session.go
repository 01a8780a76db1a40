package extauthz

import (
	"context"
	"errors"
	"strings"

	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/show"
)

// sessionVerifier judges session tokens by their row in PostgreSQL, asked anew for every check.
type sessionVerifier struct{ issuer *issuer }

// Verify implements [Verifier].
func (v *sessionVerifier) Verify(ctx context.Context, credential Credential) (Identity, error) {
	if err := v.verifySignature(ctx, &credential); err != nil {
		return Identity{}, err
	}
	if v.issuer.Sessions == nil {
		return Identity{}, reason.Deny(ReasonSessionsNotConfigured)
	}
	// A look-up may outlive its check, whose texts are gone then; so it gets its own.
	row, err := v.issuer.Sessions.Session(ctx, strings.Clone(credential.Token))
	switch {
	case err == nil:
	case errors.Is(err, session.ErrOverloaded):
		return Identity{}, reason.Unavailable(ReasonOverloaded, err).At(StepRow)
	case err == ctx.Err():
		return Identity{}, reason.GivenUp(ctx, "the database").At(StepRow)
	default:
		return Identity{}, reason.Unavailable(ReasonDatabaseUnavailable, err)
	}
	if row == nil {
		return Identity{}, reason.Deny(ReasonUnknownSession)
	}
	who := Identity{
		Subject: row.UserID, Email: row.Email, Name: row.Name,
		Method: MethodSession, ExpiresAt: row.ExpiresAt,
	}
	if now := v.issuer.Now(); row.ExpiresAt.Before(now) {
		return who, reason.Differing(ReasonExpired, show.Time(row.ExpiresAt), "a time after "+show.Time(now))
	}
	return who, identity.CheckSubject(who.Subject)
}

// verifySignature checks a signed token before PostgreSQL is asked. A raw token needs no signature unless that is
// asked for, a cookie always does.
func (v *sessionVerifier) verifySignature(ctx context.Context, credential *Credential) error {
	switch {
	case credential.Signature == "" && v.issuer.RequireSignature:
		return reason.Deny(ReasonUnsignedToken)
	case credential.Signature != "" && v.issuer.Secrets.IsConfigured():
		return v.issuer.Secrets.VerifySession(ctx, credential)
	case credential.Cookie || v.issuer.RequireSignature:
		return reason.Deny(ReasonSecretNotConfigured)
	}
	return nil
}
