package envoy

import (
	"slices"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"

	"extauthz/cmd/extauthz/internal/doctor/identityheaders"
)

// judgeAllowedHeaders judges which of the client's headers extauthz gets to see.
func (e *examination) judgeAllowedHeaders(config *extauthzv3.ExtAuthz) {
	shown := func(name string) bool {
		return config.GetAllowedHeaders() == nil || identityheaders.MatchesList(config.GetAllowedHeaders(), name)
	}
	hidden := func(name string) bool {
		return config.GetDisallowedHeaders() != nil && identityheaders.MatchesList(config.GetDisallowedHeaders(), name)
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

// judgeMutationRules judges which of extauthz's header changes Envoy carries out. One that it drops leaves the client's
// own header in place.
func (e *examination) judgeMutationRules(rules *mutationv3.HeaderMutationRules) {
	if rules == nil {
		return
	}
	const tried = "decoder_header_mutation_rules"
	var dropped []string
	for _, name := range slices.Concat(identityheaders.Set, identityheaders.Spoofed) {
		if !identityheaders.MayChange(rules, name) {
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
		e.ok(tried, "allow extauthz to set and remove the identity headers")
	}
}
