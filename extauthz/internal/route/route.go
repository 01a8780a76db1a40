// Package route is what a route asks for beyond the server's own settings, by Envoy's context_extensions: ever
// narrower. It imports claim, identity, jose, reason, request and show, and does not know how a credential was judged.
package route

import (
	"slices"
	"strings"

	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
	"extauthz/extauthz/internal/show"
)

// The names of the settings that a route may have. Each only narrows what this server allows.
const (
	routeAudience     = "audience"     // a JWT must be for one of these
	routeMethods      = "methods"      // as jwks, hs256, session: how the user must have been authenticated
	routeOptional     = "optional"     // true: a request without a credential passes, without identity headers
	routeIssuer       = "issuer"       // the credential must be one of these issuers'
	routeRole         = "role"         // the user must have one of these
	routeOrganization = "organization" // one of these must be active in the session, by its id
	routeClaim        = "claim."       // and the claim's name: it must be, or hold, exactly this value
)

// Rules is what the request's route wants beyond the server's own settings.
type Rules struct {
	audiences []string
	methods   []string
	Issuers   []string // the names of those whose credentials pass; empty for all
	Optional  bool
	needs     []need
}

// need is a fact that the user must come with: by the name of a claim, or as a header tells it.
type need struct {
	setting       string   // for people
	claim, header string   // one of the two
	values        []string // any of them
}

// Read reads a route's settings; ours are the audiences, methods how a user may be authenticated at all, and
// isIssuer tells the issuers' names. What it does not know it does not pass over: a misspelt restriction would be none.
func Read(
	settings []request.Setting, ours []string, methods []identity.Method, isIssuer func(name string) bool,
) (wanted Rules, err error) {
	known := make([]string, len(methods))
	for i, method := range methods {
		known[i] = string(method)
	}
	for _, s := range settings {
		list := strings.Split(s.Value, ",")
		for i := range list {
			list[i] = strings.TrimSpace(list[i])
		}
		within := func(known ...string) bool {
			return !slices.ContainsFunc(list, func(one string) bool { return !slices.Contains(known, one) })
		}
		isWhole := !slices.Contains(list, "")
		name, isClaim := strings.CutPrefix(s.Name, routeClaim)
		switch {
		case s.Name == routeAudience && within(ours...):
			wanted.audiences = list
		case s.Name == routeMethods && within(known...):
			wanted.methods = list
		case s.Name == routeIssuer && !slices.ContainsFunc(list, func(name string) bool { return !isIssuer(name) }):
			wanted.Issuers = list
		case s.Name == routeOptional && (s.Value == "true" || s.Value == "false"):
			wanted.Optional = s.Value == "true"
		case s.Name == routeRole && isWhole:
			wanted.needs = append(wanted.needs, need{s.Name, "", identity.HeaderRole, list})
		case s.Name == routeOrganization && isWhole:
			wanted.needs = append(wanted.needs, need{s.Name, "", identity.HeaderOrganization, list})
		case isClaim && name != "" && s.Value != "":
			wanted.needs = append(wanted.needs, need{s.Name, name, "", []string{s.Value}})
		default:
			return Rules{}, reason.Differing(reason.BadRouteSettings,
				"context_extensions "+show.Quoted(s.Name)+": "+show.Quoted(s.Value),
				"audience (of Config.Audiences), methods (of "+strings.Join(known, ", ")+"), issuer (a name of one), "+
					"optional (true or false), role, organization or claim.NAME")
		}
	}
	return wanted, nil
}
