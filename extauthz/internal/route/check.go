package route

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"extauthz/extauthz/internal/claim"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/show"
)

// Check judges a credential that the server itself allows, by the facts that its issuer has. A JWT's claims are read
// from the token anew: its signature is verified by now, and few routes ask. never says of a rule that no credential of
// the sort can meet it. hasClaims is false for what is no JWT.
func (r *Rules) Check(
	method identity.Method, hasClaims bool, token string, who *identity.Identity, facts *identity.Table,
) (never string, err error) {
	if len(r.methods) > 0 && !slices.Contains(r.methods, string(method)) {
		return "", reason.Differing(reason.MethodRefused, string(method), strings.Join(r.methods, " or "))
	}
	if !hasClaims { // an audience is a JWT's
		return r.checkSession(who, facts)
	}
	if len(r.audiences) == 0 && len(r.needs) == 0 {
		return "", nil
	}
	parsed, err := jose.Parse(token)
	if err != nil {
		return "", err
	}
	if len(r.audiences) > 0 {
		claims, err := jose.ParseClaims(parsed.Payload)
		if err != nil {
			return "", err
		}
		if err := (&jose.Expectations{Audiences: r.audiences}).CheckAudience(claims.Audience); err != nil {
			return "", err
		}
	}
	return r.checkClaims(parsed.Payload, facts)
}

// checkClaims wants each fact in a claim.
func (r *Rules) checkClaims(payload []byte, facts *identity.Table) (never string, err error) {
	names := make([]string, len(r.needs))
	for i := range r.needs {
		n := &r.needs[i]
		if names[i] = n.claimName(facts); names[i] == "" {
			return n.noClaim(), n.unmet("a JWT, of which no claim tells it")
		}
	}
	found, err := claim.Find(payload, names...)
	if err != nil {
		return "", reason.Deny(reason.MalformedClaims)
	}
	for i := range r.needs {
		n := &r.needs[i]
		if !slices.ContainsFunc(n.values,
			func(value string) bool { return holds(found[i], value, separator(names[i], n.header)) }) {
			return "", n.unmet("claims without it")
		}
	}
	return "", nil
}

// checkSession wants each fact in the session's row.
func (r *Rules) checkSession(who *identity.Identity, facts *identity.Table) (never string, err error) {
	for i := range r.needs {
		n := &r.needs[i]
		value, isKnown := ofSession(n, who, facts)
		if !isKnown {
			return n.noColumn(), n.unmet("a session, of which no column tells it")
		}
		if !slices.ContainsFunc(n.values, func(wanted string) bool {
			return textHolds(value, wanted, separator(n.claim, n.header))
		}) {
			return "", n.unmet("a session without it")
		}
	}
	return "", nil
}

// ofSession is what a session has in place of a claim; isKnown is false where no session has it.
func ofSession(n *need, who *identity.Identity, facts *identity.Table) (value string, isKnown bool) {
	switch n.claim {
	case "sub", "id":
		return who.Subject, true
	case "email":
		return who.Email, true
	case "name":
		return who.Name, true
	}
	at, _ := n.column(facts)
	if at < 0 || at >= len(who.Further) || who.Further[at].Absent {
		return "", false
	}
	return who.Further[at].Value, true
}

// unmet is the refusal of who comes without it.
func (n *need) unmet(got string) error {
	shown := make([]string, len(n.values))
	for i, value := range n.values {
		shown[i] = show.Quoted(value)
	}
	wanted := "the " + n.setting
	if n.claim != "" {
		wanted = "the claim " + show.Quoted(n.claim)
	}
	return reason.Differing(reason.ClaimRequired, got, wanted+" with "+strings.Join(shown, " or "))
}

// separator is what separates the entries of a text that is a list: a comma for roles, as Better Auth writes them, and
// a space for scopes (RFC 6749 §3.3). It is 0 for all other texts, which are one value.
func separator(claim, header string) byte {
	switch strings.ToLower(claim[strings.LastIndexByte(claim, '.')+1:]) {
	case "role", "roles":
		return ','
	case "scope", "scopes", "scp":
		return ' '
	}
	if header == identity.HeaderRole {
		return ','
	}
	return 0
}

// textHolds tells whether a text is exactly this value, or a list that has it.
func textHolds(text, wanted string, separator byte) bool {
	if text == wanted {
		return true
	}
	if separator != 0 {
		for entry := range strings.SplitSeq(text, string(separator)) {
			if strings.TrimSpace(entry) == wanted {
				return true
			}
		}
	}
	return false
}

// holds tells whether a claim is exactly this text, number or truth value, a text that is a list with it, or an array
// in which one is exactly this.
func holds(raw jsontext.Value, wanted string, separator byte) bool {
	if len(raw) == 0 {
		return false
	}
	switch raw.Kind() {
	case '"':
		text, err := jsontext.AppendUnquote(nil, raw)
		return err == nil && textHolds(string(text), wanted, separator)
	case '0', 't', 'f':
		return string(raw) == wanted
	case '[':
		decoder := jsontext.NewDecoder(strings.NewReader(string(raw)))
		if _, err := decoder.ReadToken(); err != nil {
			return false
		}
		for decoder.PeekKind() != ']' {
			one, err := decoder.ReadValue()
			if err != nil {
				return false
			}
			if one.Kind() != '[' && holds(one, wanted, 0) {
				return true
			}
		}
	}
	return false
}
