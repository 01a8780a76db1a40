// Package issuers are those that are in force side by side, and whose of them a credential is: by a JWT's iss, by a
// cookie's name, host or signature, else by who knows it. It imports issuer, credential, dryrun, identity, jose,
// reason, show and verified. It does not know how a credential is judged, nor how issuers are configured.
package issuers

import (
	"context"
	"slices"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/dryrun"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/verified"
)

// Set is the issuers that are in force at one time, or those of them that a route names. It is never changed, only
// replaced, so that one check is judged by one state of them.
type Set struct {
	List      []*issuer.Issuer // in the order of the configuration
	Cookies   []string         // their session cookies' names, each once
	Audiences []string         // of all of them
	// headers of further facts that any of the issuers in force may set; of the set of all alone
	Further []string
	Kinds   issuer.Chain // of credentials, which all of them take
	// byIss finds whose a JWT is. It is nil where one issuer is all that there is: its tokens' iss is a claim like the
	// others.
	byIss   map[string]*issuer.Issuer
	isWhole bool // all that are in force, and not a route's choice

	memory *verified.Memory[issuer.Proof]   // nil where nothing is remembered
	owners map[*issuer.Owner]*issuer.Issuer // of all issuers in force, like byName
	byName map[string]*Set                  // one issuer each
}

// NewSet puts the issuers in force. Their names and all that they accept as iss differ.
func NewSet(list []*issuer.Issuer, memory *verified.Memory[issuer.Proof]) *Set {
	s := &Set{memory: memory, owners: make(map[*issuer.Owner]*issuer.Issuer, len(list)),
		byName: make(map[string]*Set, len(list))}
	for _, i := range list {
		s.owners[i.Owner] = i
		s.byName[i.Name] = s.of([]*issuer.Issuer{i}, len(list) > 1)
	}
	all := s.of(list, len(list) > 1)
	all.isWhole = true
	return all
}

// of is a set of these issuers, which are among several in force.
func (s *Set) of(list []*issuer.Issuer, several bool) *Set {
	made := &Set{List: list, Kinds: list[0].Kinds, memory: s.memory, owners: s.owners, byName: s.byName}
	if several {
		made.byIss = make(map[string]*issuer.Issuer)
	}
	for _, i := range list {
		if !slices.Contains(made.Cookies, i.Cookie) {
			made.Cookies = append(made.Cookies, i.Cookie)
		}
		made.Audiences = append(made.Audiences, i.Audiences...)
		if several {
			for _, iss := range i.Accepted {
				made.byIss[iss] = i
			}
		}
	}
	return made
}

// Has tells whether an issuer of that name is in force.
func (s *Set) Has(name string) bool { return s.byName[name] != nil }

// Within is the set of the issuers of these names, all of which are in force; without names it is the set itself.
func (s *Set) Within(names []string) *Set {
	switch len(names) {
	case 0:
		return s
	case 1:
		return s.byName[names[0]]
	}
	var list []*issuer.Issuer
	for _, i := range s.List {
		if slices.Contains(names, i.Name) {
			list = append(list, i)
		}
	}
	return s.of(list, s.byIss != nil)
}

// Remembers tells whether verified tokens are remembered.
func (s *Set) Remembers() bool { return s.memory != nil }

// Recall judges a JWT whose signature was verified before: everything but the signature anew, by the issuer that
// verified it. It returns nil when the token is not remembered, its issuer is not in the set, or its key or secret is
// no longer in force; then it is judged like a new one.
func (s *Set) Recall(token string) (*issuer.Proof, *issuer.Issuer, error) {
	remembered := s.memory.Find(s.List[0].Digest(token))
	if remembered == nil {
		return nil, nil, nil
	}
	p := &remembered.Value
	i := s.owners[p.Owner()]
	if i == nil || !i.HasSignerOf(p) {
		s.memory.Forget(remembered)
		return nil, nil, nil
	}
	if !s.isWhole && !slices.Contains(s.List, i) {
		return nil, nil, nil // it is another issuer's than the route's
	}
	return p, i, i.Recheck(p)
}

// Explain judges a credential step by step, and leaves no trace. What no kind of credential looks like has one step.
// With several issuers it is explained by the one whose it is; a cookie by the one whose signature it has.
func (s *Set) Explain(ctx context.Context, presented credential.Presented) issuer.Explanation {
	read, err := s.Kinds.Recognize(presented)
	if err != nil {
		denial := reason.Of(err)
		return issuer.Explanation{Denial: denial,
			Steps: []issuer.Step{{Name: denial.Step(), Denial: denial.Copied(), Reached: true}}}
	}
	if s.byIss == nil {
		return s.List[0].ExplainRecognized(ctx, read)
	}
	_, by, err := s.Verify(dryrun.With(ctx), read, "", "")
	if by == nil {
		denial := reason.Of(err)
		e := issuer.Explanation{Denial: denial.Copied(), Steps: []issuer.Step{{Name: reason.StepShape, Reached: true,
			Found: read.Kind.Found(s.List[0], reason.StepShape, &read.Credential, new(identity.Identity))}}}
		e.Steps = append(e.Steps, issuer.Step{Name: denial.Step(), Denial: denial.Copied(), Reached: true})
		return e
	}
	e := by.ExplainRecognized(ctx, read)
	e.Issuer = by.Name
	return e
}
