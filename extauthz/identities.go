package extauthz

import (
	"slices"

	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/session/postgres/tables"
)

// Identity is who a request comes from: Subject, the user's id, is never empty; Email and Name are empty when they
// are not known; Method is how it was proven, "jwks", "hs256" or "session"; IssuedAt and ExpiresAt are zero when
// there is no such time. It is a value; copies are independent.
type Identity = identity.Identity

// columnsOf are the columns that sessions have the facts in, in the table's order.
func columnsOf(facts *identity.Table) []tables.Fact {
	models := map[identity.Model]tables.Model{
		identity.OfUser: tables.OfUser, identity.OfSession: tables.OfSession, identity.OfMembership: tables.OfMember,
	}
	columns := make([]tables.Fact, len(facts.Asked))
	for i := range facts.Asked {
		asked := &facts.Asked[i]
		model, has := models[asked.Of]
		if !has {
			columns[i] = tables.Fact{Of: tables.OfNone, Optional: true}
			continue
		}
		columns[i] = tables.Fact{Of: model, Field: asked.Column, Optional: asked.Header == ""}
	}
	return columns
}

// readFacts reads what the issuers' users come with, and all headers that this may set. The error is a
// *[ConfigError].
func (a *Authorizer) readFacts(configs []IssuerConfig) (facts []*identity.Table, headers []string, err error) {
	for i := range configs {
		table, err := identity.NewTable(configs[i].Identity)
		if err != nil {
			return nil, nil, &ConfigError{Field: "Identity", Fault: err.Error()}
		}
		facts = append(facts, table)
		for _, header := range table.Headers() {
			switch {
			case a.kept.contains(header):
				return nil, nil, &ConfigError{Field: "Identity",
					Fault: "asks for " + header + ", which Config.KeepHeaders takes from the client; leave it out of one of them"}
			case !slices.Contains(headers, header):
				headers = append(headers, header)
			}
		}
	}
	return facts, headers, nil
}

// further are the headers that may be set beside those that always may.
func (a *Authorizer) further() []string {
	if inForce := a.decider.Issuers.Load(); inForce != nil {
		return inForce.Further
	}
	return nil
}
