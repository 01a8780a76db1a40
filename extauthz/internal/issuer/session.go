package issuer

import (
	"context"
	"net/url"
	"strings"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/show"
)

const (
	// maxSessionToken bounds what is asked of PostgreSQL, in bytes. Better Auth's tokens have 32.
	maxSessionToken = 256
	// sessionSignatureLength is HMAC-SHA256 in standard base64 with its padding.
	sessionSignatureLength = 44
)

// sessionKind is one of Better Auth's opaque session tokens, raw or signed.
var sessionKind = &Kind{
	Method: identity.MethodSession, Part: "database", Read: readSession, Found: foundInSession,
	Verifier: func(i *Issuer) Verifier { return &sessionVerifier{i} },
	Steps: []string{
		reason.StepShape, reason.StepKey, reason.StepSignature, reason.StepRow, reason.StepTimes, reason.StepSubject,
	},
}

// readSession reads a session token, raw or signed. It decodes percent-encoding once, strictly; a "+" stays one, for it
// is a character of the signature. Anything but a signed token in a cookie is a *Denial: Better Auth never sets
// another.
func readSession(form credential.Form) (credential.Credential, bool, error) {
	if !form.Cookie && strings.HasPrefix(form.Text, credential.CompactCache) {
		return credential.Credential{}, false, nil
	}
	text := form.Text
	if strings.Contains(text, "%") {
		var err error
		if text, err = url.PathUnescape(text); err != nil {
			return credential.Credential{}, false, nil
		}
	}
	value, signature := text, ""
	if dot := strings.LastIndexByte(text, '.'); dot >= 0 {
		if value, signature = text[:dot], text[dot+1:]; !isSessionSignature(signature) {
			return credential.Credential{}, false, nil
		}
	}
	switch {
	case !isSessionToken(value):
		return credential.Credential{}, false, nil
	case form.Cookie && signature == "":
		return credential.Credential{}, false, reason.Deny(reason.UnsignedCookie)
	}
	return credential.Credential{Token: value, Signature: signature, Cookie: form.Cookie}, true, nil
}

// isSessionToken keeps out of PostgreSQL what cannot be a session token: Better Auth's are letters
// and digits, a project's own may hold any visible character that needs no quoting in a header.
func isSessionToken(value string) bool {
	if value == "" || len(value) > maxSessionToken {
		return false
	}
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c > '~' || strings.IndexByte(`.,;"%\`, c) >= 0 {
			return false
		}
	}
	return true
}

func isSessionSignature(signature string) bool {
	if len(signature) != sessionSignatureLength || signature[sessionSignatureLength-1] != '=' {
		return false
	}
	for i := range sessionSignatureLength - 1 {
		c := signature[i]
		if !(credential.IsBase64URL(c) || c == '+' || c == '/') || c == '-' || c == '_' {
			return false
		}
	}
	return true
}

// sessionVerifier judges session tokens by what a store has of them, asked anew for every check.
type sessionVerifier struct{ issuer *Issuer }

// Verify implements [Verifier].
func (v *sessionVerifier) Verify(ctx context.Context, credential credential.Credential) (identity.Identity, error) {
	if err := v.Admit(ctx, &credential); err != nil {
		return identity.Identity{}, err
	}
	// A look-up may outlive its check, whose texts are gone then; so it gets its own copy.
	row, err := v.issuer.Sessions.Session(ctx, v.issuer.Detach(credential.Token))
	if err != nil {
		return identity.Identity{}, session.Denied(ctx, err)
	}
	if row == nil {
		return identity.Identity{}, reason.Deny(reason.UnknownSession)
	}
	who := identity.Identity{
		Subject: row.UserID, Email: row.Email, Name: row.Name,
		Method: identity.MethodSession, ExpiresAt: row.ExpiresAt, Issuer: v.issuer.Told,
		Further: v.issuer.factsOfRow(row),
	}
	now := v.issuer.Now()
	if row.ExpiresAt.Before(now) {
		return who, reason.Differing(reason.Expired, show.Time(row.ExpiresAt), "a time after "+show.Time(now))
	}
	if now.Before(row.BannedUntil) {
		return who, reason.Differing(reason.UserBanned, "a ban until "+show.Time(row.BannedUntil), "a user who is not banned")
	}
	return who, identity.CheckSubject(who.Subject)
}

// Admit implements [Admitter]: a signature that does not fit, and where nobody can be asked.
func (v *sessionVerifier) Admit(ctx context.Context, credential *credential.Credential) error {
	if err := v.verifySignature(ctx, credential); err != nil {
		return err
	}
	if v.issuer.Sessions == nil {
		return reason.Deny(reason.SessionsNotConfigured)
	}
	return nil
}

// verifySignature checks a signed token before a store is asked. A raw token needs no signature unless that is
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

func foundInSession(i *Issuer, step string, read *credential.Credential, who *identity.Identity) string {
	isRaw := read.Signature == ""
	switch step {
	case reason.StepShape:
		switch {
		case read.Cookie:
			return "session token from a cookie, signed"
		case isRaw:
			return "session token, raw"
		}
		return "session token, signed"
	case reason.StepKey:
		if isRaw && !i.RequireSignature {
			return "not required for a raw token"
		}
		return i.foundSecret()
	case reason.StepSignature:
		switch {
		case isRaw:
			return "none; not required in a Bearer credential"
		case !i.Secrets.IsConfigured():
			return "not checked"
		}
		return "fits"
	case reason.StepRow:
		return "there, with its user"
	case reason.StepTimes:
		return i.foundExpiry(who)
	}
	return show.Quoted(who.Subject)
}
