package issuer

import (
	"context"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/verified"
)

// Set is the issuers that are in force at one time. It is never changed, only replaced, so that one check is judged by one
// state of them.
type Set struct {
	List    []*Issuer
	Further []string                // headers of further facts that any of them may set
	memory  *verified.Memory[Proof] // nil where nothing is remembered
	owners  map[*Owner]*Issuer
}

// Owner stands for an issuer for as long as what was verified by it holds: it outlives a change of the secrets.
type Owner struct{ _ *byte } // not empty: two empty values may have one address

// NewSet puts the issuers in force.
func NewSet(list []*Issuer, memory *verified.Memory[Proof]) *Set {
	s := &Set{List: list, memory: memory, owners: make(map[*Owner]*Issuer, len(list))}
	for _, i := range list {
		s.owners[i.Owner] = i
	}
	return s
}

// Remembers tells whether verified tokens are remembered.
func (s *Set) Remembers() bool { return s.memory != nil }

// Recall judges a JWT whose signature was verified before: everything but the signature anew. It returns nil when the token
// is not remembered, or its issuer, key or secret is no longer in force; then it is judged like a new one.
func (s *Set) Recall(token string) (*Proof, error) {
	remembered := s.memory.Find(s.List[0].Digest(token))
	if remembered == nil {
		return nil, nil
	}
	p := &remembered.Value
	i := s.owners[p.owner]
	if i == nil || !i.hasSignerOf(p) {
		s.memory.Forget(remembered)
		return nil, nil
	}
	expected := i.expectations(p.Kind)
	return p, expected.Recheck(&p.Times, *p.issuer, p.audience, i.Now())
}

// Explain judges a credential step by step, and leaves no trace.
func (s *Set) Explain(ctx context.Context, presented credential.Presented) Explanation {
	return s.List[0].Explain(ctx, presented)
}
