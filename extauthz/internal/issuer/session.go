package issuer

import (
	"context"
	"errors"
	"strings"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/show"
)

// sessionVerifier judges session tokens by their row in PostgreSQL, asked anew for every check.
type sessionVerifier struct{ issuer *Issuer }

// Verify implements [Verifier].
func (v *sessionVerifier) Verify(ctx context.Context, credential credential.Credential) (identity.Identity, error) {
	if err := v.verifySignature(ctx, &credential); err != nil {
		return identity.Identity{}, err
	}
	if v.issuer.Sessions == nil {
		return identity.Identity{}, reason.Deny(reason.SessionsNotConfigured)
	}
	// A look-up may outlive its check, whose texts are gone then; so it gets its own.
	row, err := v.issuer.Sessions.Session(ctx, strings.Clone(credential.Token))
	switch {
	case err == nil:
	case errors.Is(err, session.ErrOverloaded):
		return identity.Identity{}, reason.Unavailable(reason.Overloaded, err).At(reason.StepRow)
	case err == ctx.Err():
		return identity.Identity{}, reason.GivenUp(ctx, "the database").At(reason.StepRow)
	default:
		return identity.Identity{}, reason.Unavailable(reason.DatabaseUnavailable, err)
	}
	if row == nil {
		return identity.Identity{}, reason.Deny(reason.UnknownSession)
	}
	who := identity.Identity{
		Subject: row.UserID, Email: row.Email, Name: row.Name,
		Method: identity.MethodSession, ExpiresAt: row.ExpiresAt,
	}
	if now := v.issuer.Now(); row.ExpiresAt.Before(now) {
		return who, reason.Differing(reason.Expired, show.Time(row.ExpiresAt), "a time after "+show.Time(now))
	}
	return who, identity.CheckSubject(who.Subject)
}

// verifySignature checks a signed token before PostgreSQL is asked. A raw token needs no signature unless that is
// asked for, a cookie always does.
func (v *sessionVerifier) verifySignature(ctx context.Context, credential *credential.Credential) error {
	switch {
	case credential.Signature == "" && v.issuer.RequireSignature:
		return reason.Deny(reason.UnsignedToken)
	case credential.Signature != "" && v.issuer.Secrets.IsConfigured():
		return v.issuer.Secrets.VerifySession(ctx, credential)
	case credential.Cookie || v.issuer.RequireSignature:
		return reason.Deny(reason.SecretNotConfigured)
	}
	return nil
}
