// Package identityheaders says which headers tell a backend who somebody is, and what Envoy's rules do to them. It
// imports no other room and does not know where a rule stands.
package identityheaders

import (
	"regexp"
	"slices"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"extauthz/extauthz/operator"
)

// Set are the headers that extauthz sets, and removes where it has nothing to say.
var Set = []string{operator.HeaderUserID, operator.HeaderUserEmail, operator.HeaderUserName,
	operator.HeaderMethod,
	operator.HeaderIssuedAt, operator.HeaderExpiresAt}

// Spoofed are headers of a client's that extauthz removes beside those.
var Spoofed = []string{"x-user-role", "x-auth-request-user", "x_user_id", "x-user_id", "x_auth_method",
	"x.user.id"}

// MatchesList tells whether one of the patterns matches the name of a header, which is in lower case.
func MatchesList(list *matcherv3.ListStringMatcher, name string) bool {
	return slices.ContainsFunc(list.GetPatterns(),
		func(pattern *matcherv3.StringMatcher) bool { return MatchesText(pattern, name) })
}

// MatchesText tells whether the pattern matches, as Envoy reads it.
func MatchesText(pattern *matcherv3.StringMatcher, name string) bool {
	fold := func(text string) string {
		if pattern.GetIgnoreCase() {
			return strings.ToLower(text)
		}
		return text
	}
	switch {
	case pattern.GetExact() != "":
		return fold(pattern.GetExact()) == name
	case pattern.GetPrefix() != "":
		return strings.HasPrefix(name, fold(pattern.GetPrefix()))
	case pattern.GetSuffix() != "":
		return strings.HasSuffix(name, fold(pattern.GetSuffix()))
	case pattern.GetContains() != "":
		return strings.Contains(name, fold(pattern.GetContains()))
	case pattern.GetSafeRegex() != nil:
		return matchesWhole(pattern.GetSafeRegex(), name)
	}
	return false
}

// matchesWhole matches as Envoy does: the whole text, by RE2, whose syntax Go's has too. What Go cannot read matches
// nothing.
func matchesWhole(pattern *matcherv3.RegexMatcher, text string) bool {
	expression, err := regexp.Compile(`^(?:` + pattern.GetRegex() + `)$`)
	return err == nil && expression.MatchString(text)
}

// MayChange is Envoy's own order of the rules for a header that is neither a pseudo-header nor host.
func MayChange(rules *mutationv3.HeaderMutationRules, name string) bool {
	switch {
	case rules.GetDisallowExpression() != nil && matchesWhole(rules.GetDisallowExpression(), name):
		return false
	case rules.GetAllowExpression() != nil && matchesWhole(rules.GetAllowExpression(), name):
		return true
	}
	return !rules.GetDisallowAll().GetValue()
}

// IsIdentity tells whether a backend may take a header for one of ours, also in the spelling that WSGI and CGI
// servers fold into it.
func IsIdentity(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return (strings.HasPrefix(name, "x-user-") || strings.HasPrefix(name, "x-auth-")) &&
		name != "x-user-agent" // gRPC-Web's
}

// RemovedBy tells whether a list of mutations leaves no header of this name.
func RemovedBy(mutations []*mutationv3.HeaderMutation, name string) (removed bool) {
	for _, mutation := range mutations {
		switch action := mutation.GetAction().(type) {
		case *mutationv3.HeaderMutation_Remove:
			removed = removed || strings.EqualFold(action.Remove, name)
		case *mutationv3.HeaderMutation_RemoveOnMatch_:
			removed = removed || MatchesText(action.RemoveOnMatch.GetKeyMatcher(), name)
		case *mutationv3.HeaderMutation_Append:
			removed = removed && !strings.EqualFold(action.Append.GetHeader().GetKey(), name)
		}
	}
	return removed
}

// Mutated names the identity header that a mutation changes.
func Mutated(mutation *mutationv3.HeaderMutation) (name string, does bool) {
	switch action := mutation.GetAction().(type) {
	case *mutationv3.HeaderMutation_Remove:
		return action.Remove, IsIdentity(action.Remove)
	case *mutationv3.HeaderMutation_Append:
		key := action.Append.GetHeader().GetKey()
		return key, IsIdentity(key)
	case *mutationv3.HeaderMutation_RemoveOnMatch_:
		for _, name := range Set {
			if MatchesText(action.RemoveOnMatch.GetKeyMatcher(), name) {
				return name, true
			}
		}
	}
	return "", false
}
