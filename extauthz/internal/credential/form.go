package credential

import (
	"strings"

	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/show"
)

// Form is what is presented, read as far as more than one kind of credential needs it. It is a value, and holds
// nothing that is not in the request's text.
type Form struct {
	Text   string // a cookie's without the quotes around it
	Cookie bool
	IsJWT  bool       // by its form, and no cookie
	JWT    jose.Token // where it is one
}

// Form reads the form of what is presented. Its error is a *Denial: no kind of credential has such a form.
func (p Presented) Form() (Form, error) {
	form := Form{Text: p.Text, Cookie: p.Cookie}
	switch {
	case len(p.Text) > maxCredential:
		return Form{}, reason.Deny(reason.OversizedCredential)
	case p.Cookie:
		if last := len(p.Text) - 1; last > 0 && p.Text[0] == '"' && p.Text[last] == '"' {
			form.Text = p.Text[1:last]
		}
		return form, nil
	case p.Text == "":
		return Form{}, reason.Deny(reason.MalformedCredential)
	case !IsCompactJWS(p.Text):
		return form, nil
	}
	var err error
	form.IsJWT = true
	form.JWT, err = jose.Parse(p.Text)
	return form, err
}

// Unrecognized is the denial of what is of no kind. It says what it looks like, where other parts of Better Auth have
// such.
func (f *Form) Unrecognized() *reason.Denial {
	switch {
	case f.Cookie:
	case f.IsJWT:
		return reason.Differing(reason.UnsupportedAlgorithm, show.Quoted(f.JWT.Algorithm),
			show.List(append(jose.AsymmetricAlgorithms[:len(jose.AsymmetricAlgorithms):len(jose.AsymmetricAlgorithms)],
				jose.AlgorithmHS256)))
	case isCompactJWE(f.Text):
		return reason.Deny(reason.EncryptedToken)
	case strings.HasPrefix(f.Text, CompactCache):
		return reason.Differing(reason.UnsupportedType, "a cookie cache", "a JWT or a session token")
	}
	return reason.Deny(reason.MalformedCredential)
}
