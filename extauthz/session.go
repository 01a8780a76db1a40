package extauthz

import (
	"context"
	"errors"
	"strings"
	"time"

	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/secret"
	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/session/postgres"
	"extauthz/extauthz/internal/show"
)

// sessionVerifier judges session tokens by their row in PostgreSQL, asked anew for every check.
type sessionVerifier struct {
	secrets          *secret.Set
	requireSignature bool
	database         *postgres.Store // nil when not configured
	now              func() time.Time
}

// Verify implements [Verifier].
func (v *sessionVerifier) Verify(ctx context.Context, credential Credential) (Identity, error) {
	if err := v.verifySignature(ctx, &credential); err != nil {
		return Identity{}, err
	}
	if v.database == nil {
		return Identity{}, reason.Deny(ReasonSessionsNotConfigured)
	}
	// A look-up may outlive its check, whose texts are gone then; so it gets its own.
	row, err := v.database.Session(ctx, strings.Clone(credential.Token))
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
	if now := v.now(); row.ExpiresAt.Before(now) {
		return who, reason.Differing(ReasonExpired, show.Time(row.ExpiresAt), "a time after "+show.Time(now))
	}
	return who, identity.CheckSubject(who.Subject)
}

// verifySignature checks a signed token before PostgreSQL is asked. A raw token needs no signature unless that is
// asked for, a cookie always does.
func (v *sessionVerifier) verifySignature(ctx context.Context, credential *Credential) error {
	switch {
	case credential.Signature == "" && v.requireSignature:
		return reason.Deny(ReasonUnsignedToken)
	case credential.Signature != "" && v.secrets.IsConfigured():
		return v.secrets.VerifySession(ctx, credential)
	case credential.Cookie || v.requireSignature:
		return reason.Deny(ReasonSecretNotConfigured)
	}
	return nil
}
