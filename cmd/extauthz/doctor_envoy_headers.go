package main

import (
	"regexp"
	"slices"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"extauthz/extauthz/operator"
)

// setHeaders are the headers that extauthz sets, and removes where it has nothing to say.
var setHeaders = []string{operator.HeaderUserID, operator.HeaderUserEmail, operator.HeaderUserName,
	operator.HeaderMethod,
	operator.HeaderIssuedAt, operator.HeaderExpiresAt}

// spoofedHeaders are headers of a client's that extauthz removes beside those.
var spoofedHeaders = []string{"x-user-role", "x-auth-request-user", "x_user_id", "x-user_id", "x_auth_method",
	"x.user.id"}

// judgeAllowedHeaders judges which of the client's headers extauthz gets to see.
func (e *envoyConfig) judgeAllowedHeaders(config *extauthzv3.ExtAuthz) {
	shown := func(name string) bool {
		return config.GetAllowedHeaders() == nil || matchesList(config.GetAllowedHeaders(), name)
	}
	hidden := func(name string) bool {
		return config.GetDisallowedHeaders() != nil && matchesList(config.GetDisallowedHeaders(), name)
	}
	var missing []string
	for _, name := range []string{"authorization", "cookie", "origin", "sec-fetch-site", "upgrade"} {
		if !shown(name) || hidden(name) {
			missing = append(missing, name)
		}
	}
	switch {
	case len(missing) > 0:
		found := "hides " + strings.Join(missing, ", ") + " from extauthz"
		if slices.Contains(missing, "upgrade") {
			found += "; without upgrade it does not know a WebSocket, which any site's page may open with the user's cookies"
		}
		e.fail("allowed_headers", found, "Leave allowed_headers and disallowed_headers out, or let these through.")
	case !shown("x-user-anything") || hidden("x-user-anything") || !shown("x_auth_anything") || hidden("x_auth_anything"):
		e.warn("allowed_headers", "hides the client's own x-user-… headers from extauthz, which can only take away those "+
			"that it sees and the six that it sets",
			"Let the prefixes x-user-, x-auth-, x_user_ and x_auth_ through, or remove such headers before the filter.")
	}
}

func matchesList(list *matcherv3.ListStringMatcher, name string) bool {
	return slices.ContainsFunc(list.GetPatterns(), func(pattern *matcherv3.StringMatcher) bool { return matchesText(pattern, name) })
}

func matchesText(pattern *matcherv3.StringMatcher, name string) bool {
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

// judgeMutationRules judges which of extauthz's header changes Envoy carries out. One that it drops leaves the client's
// own header in place.
func (e *envoyConfig) judgeMutationRules(rules *mutationv3.HeaderMutationRules) {
	if rules == nil {
		return
	}
	const tried = "decoder_header_mutation_rules"
	var dropped []string
	for _, name := range slices.Concat(setHeaders, spoofedHeaders) {
		if !mayChange(rules, name) {
			dropped = append(dropped, name)
		}
	}
	const fix = "Set disallow_all: true and allow_expression: { regex: \"x[^a-z0-9](user|auth)[^a-z0-9].*\" }, as in " +
		"envoy/http.yaml."
	switch {
	case len(dropped) > 0 && rules.GetDisallowIsError().GetValue():
		e.fail(tried, "refuse "+strings.Join(dropped, ", ")+", and a check that changes one becomes an error", fix)
	case len(dropped) > 0:
		e.fail(tried, "drop what extauthz does to "+strings.Join(dropped, ", ")+": the client's own reach the backend",
			fix)
	default:
		e.ok(tried, "let extauthz set and remove the identity headers")
	}
}

// mayChange is Envoy's own order of the rules for a header that is neither a pseudo-header nor host.
func mayChange(rules *mutationv3.HeaderMutationRules, name string) bool {
	switch {
	case rules.GetDisallowExpression() != nil && matchesWhole(rules.GetDisallowExpression(), name):
		return false
	case rules.GetAllowExpression() != nil && matchesWhole(rules.GetAllowExpression(), name):
		return true
	}
	return !rules.GetDisallowAll().GetValue()
}
