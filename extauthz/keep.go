package extauthz

import (
	"fmt"
	"slices"
	"strings"

	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/request"
	"extauthz/extauthz/internal/show"
)

// reservedHeaders are the names that say who the user is or how that is known: those that are set today, and those that
// further facts will have. A client's own never reaches the backend, whatever Config.KeepHeaders says.
var reservedHeaders = identity.Reserved()

// maxKeptHeaders bounds the list, since each of a request's own identity headers is compared with it.
const maxKeptHeaders = 64

// keptHeaders are the client's headers that begin with x-user- or x-auth- and reach the backend all the same, in lower
// case. It is never changed after it was made.
type keptHeaders []string

// newKeptHeaders reads Config.KeepHeaders. A name is kept only as it is listed, with hyphens: a spelling with
// underscores, which some servers take for the same, is still removed.
func newKeptHeaders(names []string) (keptHeaders, error) {
	fault := func(format string, arguments ...any) (keptHeaders, error) {
		return nil, &ConfigError{Field: "KeepHeaders", Fault: fmt.Sprintf(format, arguments...)}
	}
	kept := keptHeaders{identity.HeaderWebUserAgent}
	for _, name := range names {
		lower := strings.ToLower(strings.TrimSpace(name))
		shown := show.Quoted(name)
		switch folded := foldName(lower); {
		case slices.Contains(reservedHeaders, folded):
			return fault("lists %s, which says who the user is: a client's own never passes; leave it out", shown)
		case !request.IsIdentityName(folded):
			return fault("lists %s, which does not begin with x-user- or x-auth-: such a header passes anyway; "+
				"leave it out", shown)
		case folded != lower || strings.HasSuffix(lower, "-"):
			return fault("lists %s; write whole names of letters, digits and hyphens, as in x-auth-tenant, "+
				"without wildcards", shown)
		}
		if !slices.Contains(kept, lower) {
			kept = append(kept, lower)
		}
	}
	if len(kept) > maxKeptHeaders {
		return fault("lists %d names; list at most %d", len(kept)-1, maxKeptHeaders-1)
	}
	return kept, nil
}

// foldName reads a name in lower case as the most careless server would: all that is no letter or digit as a hyphen.
func foldName(name string) string {
	return strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' {
			return c
		}
		return '-'
	}, name)
}

// without takes the kept ones out of the names of the client's own identity headers, in place.
func (k keptHeaders) without(names []string) []string {
	return slices.DeleteFunc(names, k.contains)
}

func (k keptHeaders) contains(name string) bool {
	for _, kept := range k {
		if len(name) == len(kept) && strings.EqualFold(name, kept) {
			return true
		}
	}
	return false
}
