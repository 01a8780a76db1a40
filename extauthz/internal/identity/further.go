package identity

import (
	"fmt"
	"slices"
	"strings"
)

// The headers of the further facts that have names of their own.
const (
	HeaderRole             = "x-user-role"
	HeaderOrganization     = "x-user-organization"
	HeaderOrganizationRole = "x-user-organization-role"
	HeaderEmailVerified    = "x-user-email-verified"
	HeaderImpersonator     = "x-auth-impersonator"
	HeaderSessionID        = "x-auth-session-id"
)

const (
	// MaxFactBytes bounds one further fact. What is longer is left out, as if it were not known: users may write into
	// their own columns.
	MaxFactBytes = 4 << 10
	// maxAsked bounds how many further facts may be asked for.
	maxAsked = 32
	// maxHeaderBytes bounds a further fact's header name.
	maxHeaderBytes = 64
)

// Further is one fact beside those that are always told, as it is of one user.
type Further struct {
	Header string // that tells it to the backend; empty where only a route's rules may ask for it
	Value  string // empty where there is none
	Absent bool   // the store has no column for it
}

// Metadata is a further header's name in the dynamic metadata: x-user-role is user_role there.
func Metadata(header string) string {
	return strings.ReplaceAll(strings.TrimPrefix(header, "x-"), "-", "_")
}

// Model is one of Better Auth's tables.
type Model uint8

const (
	NoModel      Model = iota
	OfUser             // the session's user
	OfSession          // the session itself
	OfMembership       // the user's row in "member" of the organization that is active in the session
)

// Asked is one further fact that is asked for, and where it is. A session has it in a column, a JWT in a claim.
type Asked struct {
	Header string // empty where only a route's rules may ask for it
	Of     Model  // whose column; NoModel where sessions do not have it
	Column string // by Better Auth's name of the field, or by the column's own
	Claim  string // dots reach into objects; empty where JWTs do not have it

	isDefault bool // the claim was not named by the operator
}

// Table is the further facts that the users of one issuer come with. It is never changed once it is made.
type Table struct{ Asked []Asked }

// named are the facts that have names of their own, with the claims in which Better Auth's jwt plugin has them. An
// organization has none: the plugin would copy what the session says, also of a member who was removed.
var named = map[string][]Asked{
	"role": {{HeaderRole, OfUser, "role", "role", true}},
	"organization": {
		{HeaderOrganization, OfMembership, "organizationId", "", true},
		{HeaderOrganizationRole, OfMembership, "role", "", true},
	},
	"email-verified": {{HeaderEmailVerified, OfUser, "emailVerified", "emailVerified", true}},
	"impersonator":   {{HeaderImpersonator, OfSession, "impersonatedBy", "impersonatedBy", true}},
	"session-id":     {{HeaderSessionID, OfSession, "id", "sid", true}},
}

const form = "role, organization, email-verified, impersonator, session-id, " +
	"user.COLUMN=x-user-…, session.COLUMN=x-auth-… or claim.NAME=x-user-…"

// NewTable reads what is asked for. Its error completes a sentence that begins with the setting's name.
func NewTable(list []string) (*Table, error) {
	t := new(Table)
	for _, one := range list {
		one = strings.TrimSpace(one)
		facts, isNamed := named[one]
		if !isNamed {
			fact, err := readAsked(one)
			if err != nil {
				return nil, err
			}
			facts = []Asked{fact}
		}
		for _, fact := range facts {
			if err := t.add(fact, one); err != nil {
				return nil, err
			}
		}
	}
	if len(t.Asked) > maxAsked {
		return nil, fmt.Errorf("asks for %d facts; ask for at most %d", len(t.Asked), maxAsked)
	}
	if t.byHeader(HeaderRole) < 0 { // a route's rules may ask for it all the same
		t.Asked = append(t.Asked, Asked{Of: OfUser, Column: "role", Claim: "role", isDefault: true})
	}
	return t, nil
}

// add takes in a fact. One header may be told by a column for sessions and by a claim for JWTs; the operator's own
// claim goes before that of a name.
func (t *Table) add(fact Asked, text string) error {
	at := t.byHeader(fact.Header)
	if at < 0 {
		t.Asked = append(t.Asked, fact)
		return nil
	}
	known := &t.Asked[at]
	switch {
	case fact.Of != NoModel && known.Of != NoModel:
		return fmt.Errorf("has %.100q, and %s is told by another column already; give it another header", text, fact.Header)
	case fact.Claim != "" && known.Claim != "" && !fact.isDefault && !known.isDefault:
		return fmt.Errorf("has %.100q, and %s is told by another claim already; give it another header", text, fact.Header)
	}
	if fact.Of != NoModel {
		known.Of, known.Column = fact.Of, fact.Column
	}
	if fact.Claim != "" && (known.Claim == "" || known.isDefault) {
		known.Claim, known.isDefault = fact.Claim, fact.isDefault
	}
	return nil
}

// readAsked reads user.COLUMN=header, session.COLUMN=header or claim.NAME=header.
func readAsked(text string) (Asked, error) {
	at := strings.LastIndexByte(text, '=')
	if at < 0 {
		return Asked{}, fmt.Errorf("has %.100q, which is no fact; write %s", text, form)
	}
	source, header := strings.TrimSpace(text[:at]), strings.ToLower(strings.TrimSpace(text[at+1:]))
	model, name, _ := strings.Cut(source, ".")
	fact := Asked{Header: header}
	switch {
	case name == "":
		return Asked{}, fmt.Errorf("has %.100q, which names no column and no claim; write %s", text, form)
	case model == "user":
		fact.Of, fact.Column = OfUser, name
	case model == "session" && isField(name, "activeTeamId"):
		return Asked{}, fmt.Errorf("has %.100q, which stays in the session when a member is removed; "+
			"ask for organization, or have the backend look up the team", text)
	case model == "session" && isField(name, "activeOrganizationId"): // only while the membership says so, under any name
		fact.Of, fact.Column = OfMembership, "organizationId"
	case model == "session" && isField(name, "token"):
		return Asked{}, fmt.Errorf("has %.100q, which would hand the session itself to the backend; leave it out", text)
	case model == "session":
		fact.Of, fact.Column = OfSession, name
	case model == "claim":
		fact.Claim = name
	default:
		return Asked{}, fmt.Errorf("has %.100q, which begins with none of user., session. and claim.; write %s", text, form)
	}
	return fact, checkHeader(header, text)
}

// checkHeader wants a name that is removed from the client, and that nothing else tells.
func checkHeader(header, text string) error {
	rest, isUser := strings.CutPrefix(header, "x-user-")
	rest, isAuth := strings.CutPrefix(rest, "x-auth-")
	isPlain := !strings.ContainsFunc(rest,
		func(c rune) bool { return c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') })
	switch {
	case isUser == isAuth || !isPlain || rest == "" || rest[0] == '-' || rest[len(rest)-1] == '-' ||
		strings.Contains(rest, "--"):
		return fmt.Errorf("has %.100q, whose header is not x-user-… or x-auth-… of letters, digits and single hyphens; "+
			"only those are taken from the client", text)
	case len(header) > maxHeaderBytes:
		return fmt.Errorf("has %.100q, whose header is longer than %d characters; give it a shorter one",
			text, maxHeaderBytes)
	case slices.Contains(Headers(), header) || slices.Contains(reserved, header) || header == HeaderWebUserAgent:
		return fmt.Errorf("has %.100q, whose header is told otherwise; give it another name", text)
	}
	return nil
}

// reserved are headers of facts to come. HeaderWebUserAgent is the client's own, of gRPC-Web.
var reserved = []string{"x-auth-client-id", "x-auth-scope", "x-auth-api-key-id", "x-auth-issuer"}

// HeaderWebUserAgent is the one header below our prefixes that belongs to a protocol: gRPC-Web clients send their
// library's name in it (PROTOCOL-WEB of gRPC), since a browser does not let them set User-Agent.
const HeaderWebUserAgent = "x-user-agent"

// Reserved are the names that say who the user is or how that is known, whatever is asked for: those of all facts that
// have names of their own, and of facts to come.
func Reserved() []string {
	return append([]string{
		HeaderRole, HeaderOrganization, HeaderOrganizationRole, HeaderEmailVerified, HeaderImpersonator, HeaderSessionID,
	}, append(slices.Clone(reserved), Headers()...)...)
}

// Headers are the names of the headers that are asked for.
func (t *Table) Headers() []string {
	var names []string
	for i := range t.Asked {
		if t.Asked[i].Header != "" {
			names = append(names, t.Asked[i].Header)
		}
	}
	return names
}

// IsTold tells whether there is anything to tell the backend beside what is always told.
func (t *Table) IsTold() bool {
	return slices.ContainsFunc(t.Asked, func(a Asked) bool { return a.Header != "" })
}

func (t *Table) byHeader(header string) int {
	return slices.IndexFunc(t.Asked, func(a Asked) bool { return a.Header == header })
}

// Claims are the names of the claims in which JWTs have the facts, in the table's order; empty where they have none.
func (t *Table) Claims() []string {
	claims := make([]string, len(t.Asked))
	for i := range t.Asked {
		claims[i] = t.Asked[i].Claim
	}
	return claims
}

// ClaimOf is the claim that tells a header to the backend, empty where there is none. A role has one also where it is
// not asked for.
func (t *Table) ClaimOf(header string) string {
	claim := ""
	if at := t.byHeader(header); at >= 0 {
		claim = t.Asked[at].Claim
	}
	if claim == "" && header == HeaderRole {
		claim = "role"
	}
	return claim
}

// OfSession finds what a session has in place of a claim, by the claim's name or the column's; -1 where it has none.
func (t *Table) OfSession(claim string) int {
	for _, fits := range []func(*Asked) bool{
		func(a *Asked) bool { return a.Claim == claim },
		func(a *Asked) bool { return a.Of == OfUser && isField(a.Column, claim) },
		func(a *Asked) bool { return a.Of == OfSession && isField(a.Column, claim) },
		func(a *Asked) bool {
			return a.Of == OfMembership && a.Column == "organizationId" && isField("activeOrganizationId", claim)
		},
	} {
		for i := range t.Asked {
			if a := &t.Asked[i]; a.Of != NoModel && fits(a) {
				return i
			}
		}
	}
	return -1
}

// ByHeader finds what a session has of a header's fact; -1 where it has none. A role need not be asked for.
func (t *Table) ByHeader(header string) int {
	at := t.byHeader(header)
	if at < 0 && header == HeaderRole {
		return t.OfSession("role")
	}
	if at >= 0 && t.Asked[at].Of == NoModel {
		return -1
	}
	return at
}

// isField tells whether two names are of one field: camelCase and snake_case are.
func isField(one, other string) bool {
	return one == other || strings.EqualFold(strings.ReplaceAll(one, "_", ""), strings.ReplaceAll(other, "_", ""))
}
