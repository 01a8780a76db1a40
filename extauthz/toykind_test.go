package extauthz

import (
	"context"
	"crypto/hmac"
	"encoding/hex"
	"strings"
	"time"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/secret"
)

// A kind of credential in one file, as CONTRIBUTING.md says: toy:USER:MAC, where MAC is HMAC-SHA256 of USER by the
// shared secret, in hexadecimal.

// toyPrefix is how such a credential begins. Its colon may stand in a session token too, so this kind is asked before
// that.
const toyPrefix = "toy:"

var toyKind = &issuer.Kind{
	Method: "toy", Read: readToy, Found: foundInToy,
	Verifier: func(i *issuer.Issuer) issuer.Verifier { return &toyVerifier{i} },
	Steps:    []string{reason.StepShape, reason.StepKey, reason.StepSignature, reason.StepSubject},
}

// readToy reads what begins like one. What does and is none is malformed, and no session token.
func readToy(form credential.Form) (credential.Credential, bool, error) {
	rest, is := strings.CutPrefix(form.Text, toyPrefix)
	if !is || form.Cookie {
		return credential.Credential{}, false, nil
	}
	user, mac, has := strings.Cut(rest, ":")
	if !has || user == "" || len(mac) != 64 {
		return credential.Credential{}, false, reason.Deny(reason.MalformedCredential)
	}
	return credential.Credential{Token: user, Signature: mac}, true, nil
}

// toyVerifier judges by the issuer's shared secret.
type toyVerifier struct{ issuer *issuer.Issuer }

// Verify implements [issuer.Verifier].
func (v *toyVerifier) Verify(ctx context.Context, presented credential.Credential) (identity.Identity, error) {
	_, err := v.issuer.Secrets.Signer(ctx, secret.ForSessions, func(value secret.Value) bool {
		return hmac.Equal([]byte(toyMac(value, presented.Token)), []byte(presented.Signature))
	})
	if err != nil {
		return identity.Identity{}, err
	}
	who := identity.Identity{
		Subject: strings.Clone(presented.Token), Method: toyKind.Method, ExpiresAt: v.issuer.Now().Add(time.Hour),
	}
	return who, identity.CheckSubject(who.Subject)
}

func toyMac(value secret.Value, user string) string {
	return hex.EncodeToString(value.Mac([]byte(user)))
}

func foundInToy(_ *issuer.Issuer, step string, read *credential.Credential, who *identity.Identity) string {
	switch step {
	case reason.StepShape:
		return "a toy"
	case reason.StepKey:
		return "the shared secret"
	case reason.StepSignature:
		return "fits"
	}
	return who.Subject
}
