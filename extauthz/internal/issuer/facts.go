package issuer

import (
	"extauthz/extauthz/internal/claim"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/session"
)

// factsOfRow are the further facts of a session, as many as were asked for.
func (i *Issuer) factsOfRow(row *session.Row) []identity.Further {
	if len(row.Facts) == 0 || len(row.Facts) != len(i.Facts.Asked) {
		return nil
	}
	facts := make([]identity.Further, len(row.Facts))
	for at := range facts {
		facts[at] = identity.Further{
			Header: i.Facts.Asked[at].Header, Value: bounded(row.Facts[at]), Absent: row.Absent != nil && row.Absent[at],
		}
	}
	return facts
}

// factsOfClaims are the further facts of a JWT whose claims were read: those that it has.
func (i *Issuer) factsOfClaims(payload []byte) ([]identity.Further, error) {
	if i.claims == nil {
		return nil, nil
	}
	found, err := claim.Find(payload, i.claims...)
	if err != nil {
		return nil, err
	}
	var facts []identity.Further
	for at, raw := range found {
		header := i.Facts.Asked[at].Header
		if value := bounded(claim.Text(raw)); header != "" && value != "" {
			facts = append(facts, identity.Further{Header: header, Value: value})
		}
	}
	return facts, nil
}

func bounded(value string) string {
	if len(value) > identity.MaxFactBytes {
		return ""
	}
	return value
}
