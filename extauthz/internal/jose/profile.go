package jose

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"extauthz/extauthz/internal/reason"
)

// Several kinds of JWT share one form, and one issuer signs them with one key (RFC 8725 §2.8). This file tells a
// user's own token from the others, by the header's typ and by the claims that only the others have.

// Profile is what the claims and the header say of a token's kind.
type Profile struct {
	isBound       bool   // cnf: good only together with a proof that the sender has a key (RFC 7800 §3.1)
	IsAccessToken bool   // typ at+jwt (RFC 9068 §2.1)
	hasParty      bool   // azp (OpenID Connect Core 1.0 §2): issued for an OAuth client
	hasClient     bool   // client_id, which a project's own claims may have, too
	hasScope      bool   // scope, likewise; both together are RFC 9068 §2.2
	clientID      string // client_id, where it is a string
	other         string // a claim of yet another kind; empty when there is none
}

// read takes in a claim if it tells of the token's kind, and returns false when it is another claim.
func (p *Profile) read(name string, value *jsontext.Decoder) (isRead bool, err error) {
	switch name {
	case "cnf": // of any value: one that is not understood is not proven either
		p.isBound = true
	case "azp":
		p.hasParty = true
	case "client_id": // a column that is empty in this row comes as null, and names no client
		p.hasClient = value.PeekKind() != 'n'
		if value.PeekKind() == '"' {
			p.clientID, err = readString(value)
			return true, err
		}
	case "scope":
		p.hasScope = value.PeekKind() != 'n'
	case "at_hash", "c_hash":
		// of an ID token, which is for its client alone (OpenID Connect Core 1.0 §3.1.3.6, §3.3.2.11)
		p.other = name
	case "events":
		return true, p.readEvents(value)
	default:
		return false, nil
	}
	return true, value.SkipValue()
}

// readEvents tells a security event, such as a logout token, from a project's own claim of the name: its events are
// named by URIs (RFC 8417 §2.2).
func (p *Profile) readEvents(value *jsontext.Decoder) error {
	if value.PeekKind() != '{' {
		return value.SkipValue()
	}
	if _, err := value.ReadToken(); err != nil {
		return err
	}
	for value.PeekKind() != '}' {
		name, err := value.ReadToken()
		if err != nil {
			return err
		}
		if uri := name.String(); strings.Contains(uri, "://") || strings.HasPrefix(uri, "urn:") {
			p.other = "events"
		}
		if err := value.SkipValue(); err != nil {
			return err
		}
	}
	_, err := value.ReadToken()
	return err
}

// Check refuses what is no user's own token. A bound token is refused as one, whatever else it is: it must not be
// tried again as plain Bearer where OAuth is on.
func (p *Profile) Check(subject string) error {
	switch {
	case p.isBound:
		return reason.Differing(reason.ProofRequired, "a claim cnf, and no proof", "a token that is bound to no key")
	case p.IsAccessToken:
		return reason.Differing(reason.OAuthNotConfigured, "typ at+jwt", "a token of Better Auth's jwt plugin")
	case p.hasParty:
		return reason.Differing(reason.OAuthNotConfigured, "a claim azp", "a token of Better Auth's jwt plugin")
	case p.hasClient && p.hasScope:
		return reason.Differing(reason.OAuthNotConfigured, "claims client_id and scope",
			"a token of Better Auth's jwt plugin")
	case p.clientID != "" && p.clientID == subject: // RFC 9068 §2.2: where no user is involved, sub is the client
		return reason.Differing(reason.OAuthNotConfigured, "a subject that is the client_id",
			"a token of Better Auth's jwt plugin")
	case p.other != "":
		return reason.Differing(reason.UnsupportedType, "a claim "+p.other, "a user's own token")
	}
	return nil
}
