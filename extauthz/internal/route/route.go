// Package route is what a route asks for beyond the server's own settings, by Envoy's context_extensions: ever narrower. It
// imports identity, jose, reason, request and show, and does not know how a credential was judged.
package route

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
	"extauthz/extauthz/internal/show"
)

// The names of the settings that a route may have. Each only narrows what this server allows.
const (
	routeAudience = "audience" // a JWT must be for one of these
	routeMethods  = "methods"  // as jwks, hs256, session: how the user must have been authenticated
	routeOptional = "optional" // true: a request without a credential passes, without identity headers
	routeClaim    = "claim."   // and the claim's name: it must be, or hold, exactly this value
)

// Rules is what the request's route wants beyond the server's own settings.
type Rules struct {
	audiences []string
	methods   []string
	Optional  bool
	claims    []request.Setting // name without its prefix
}

// Read reads a route's settings; ours are the audiences, and methods how a user may be authenticated at all. What it does
// not know it does not pass over: a misspelt restriction would be none.
func Read(settings []request.Setting, ours []string, methods []identity.Method) (wanted Rules, err error) {
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
		claim, isClaim := strings.CutPrefix(s.Name, routeClaim)
		switch {
		case s.Name == routeAudience && within(ours...):
			wanted.audiences = list
		case s.Name == routeMethods && within(known...):
			wanted.methods = list
		case s.Name == routeOptional && (s.Value == "true" || s.Value == "false"):
			wanted.Optional = s.Value == "true"
		case isClaim && claim != "" && s.Value != "":
			wanted.claims = append(wanted.claims, request.Setting{Name: claim, Value: s.Value})
		default:
			return Rules{}, reason.Differing(reason.BadRouteSettings, "context_extensions "+show.Quoted(s.Name)+": "+show.Quoted(s.Value),
				"audience (of Config.Audiences), methods (of "+strings.Join(known, ", ")+"), optional (true or false) or claim.NAME")
		}
	}
	return wanted, nil
}

// Check judges a credential that the server itself allows. The claims are read from the token anew: its signature is
// verified by now, and few routes ask. hasClaims is false for what is no JWT.
func (r *Rules) Check(method identity.Method, hasClaims bool, token string) error {
	if len(r.methods) > 0 && !slices.Contains(r.methods, string(method)) {
		return reason.Differing(reason.MethodRefused, string(method), strings.Join(r.methods, " or "))
	}
	if !hasClaims {
		if len(r.claims) > 0 {
			return reason.Differing(reason.ClaimRequired, "a "+string(method)+" token, which has no claims", shown(r.claims[0]))
		}
		return nil // an audience is a JWT's
	}
	if len(r.audiences) == 0 && len(r.claims) == 0 {
		return nil
	}
	parsed, err := jose.Parse(token)
	if err != nil {
		return err
	}
	if len(r.audiences) > 0 {
		claims, err := jose.ParseClaims(parsed.Payload)
		if err != nil {
			return err
		}
		if err := (&jose.Expectations{Audiences: r.audiences}).CheckAudience(claims.Audience); err != nil {
			return err
		}
	}
	return r.checkClaims(parsed.Payload)
}

func (r *Rules) checkClaims(payload []byte) error {
	missing := slices.Clone(r.claims)
	err := jose.ReadObject(payload, func(name string, value *jsontext.Decoder) error {
		raw, err := value.ReadValue()
		missing = slices.DeleteFunc(missing, func(wanted request.Setting) bool { return wanted.Name == name && holds(raw, wanted.Value) })
		return err
	})
	if err != nil {
		return reason.Deny(reason.MalformedClaims)
	}
	if len(missing) > 0 {
		return reason.Differing(reason.ClaimRequired, "claims without it", shown(missing[0]))
	}
	return nil
}

// holds tells whether a claim is exactly this text, number or truth value, or an array in which one is.
func holds(raw jsontext.Value, wanted string) bool {
	switch raw.Kind() {
	case '"':
		text, err := jsontext.AppendUnquote(nil, raw)
		return err == nil && string(text) == wanted
	case '0', 't', 'f':
		return string(raw) == wanted
	case '[':
		decoder := jsontext.NewDecoder(strings.NewReader(string(raw)))
		if _, err := decoder.ReadToken(); err != nil {
			return false
		}
		for decoder.PeekKind() != ']' {
			one, err := decoder.ReadValue()
			if err != nil {
				return false
			}
			if one.Kind() != '[' && holds(one, wanted) {
				return true
			}
		}
	}
	return false
}

func shown(s request.Setting) string {
	return "the claim " + show.Quoted(s.Name) + " with " + show.Quoted(s.Value)
}
