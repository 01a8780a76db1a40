package route

import (
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/show"
)

// Never tells which of the rules no session, and which no JWT, can meet, whoever comes. absent tells which facts the
// store has no column for; nil where it has all.
func (r *Rules) Never(facts *identity.Table, absent []bool) (sessions, tokens string) {
	for i := range r.needs {
		n := &r.needs[i]
		if at, isAlways := n.column(facts); sessions == "" && !isAlways && (at < 0 || at < len(absent) && absent[at]) {
			sessions = n.noColumn()
		}
		if tokens == "" && n.claimName(facts) == "" {
			tokens = n.noClaim()
		}
	}
	return sessions, tokens
}

// column finds a session's fact that the rule asks for, -1 where there is none. isAlways is true for what every session
// has.
func (n *need) column(facts *identity.Table) (at int, isAlways bool) {
	switch {
	case n.header != "":
		return facts.ByHeader(n.header), false
	case n.claim == "sub" || n.claim == "id" || n.claim == "email" || n.claim == "name":
		return -1, true
	}
	return facts.OfSession(n.claim), false
}

// claimName is the claim that the rule asks for, empty where JWTs have none.
func (n *need) claimName(facts *identity.Table) string {
	if n.header != "" {
		return facts.ClaimOf(n.header)
	}
	return n.claim
}

func (n *need) noColumn() string {
	return "no session has a column for the rule " + show.Quoted(n.setting) + ", or it may not be read; " +
		"add it to Config.Identity, and see extauthz doctor for the grant"
}

func (n *need) noClaim() string {
	return "no JWT has a claim for the rule " + show.Quoted(n.setting) + "; Config.Identity says which claim it is, " +
		"as in claim.NAME=" + n.header
}
