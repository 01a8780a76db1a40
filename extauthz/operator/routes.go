package operator

import (
	"context"
	"maps"
	"slices"

	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
	"extauthz/extauthz/internal/route"
)

// JudgeRoutes judges what routes ask for by Envoy's context_extensions, by the settings and, for sessions, by the
// database as it is now: what cannot be read, and rules that nobody can meet. The findings are in the order of the
// routes, none for one that is as it should be; their Tried is empty.
func (v *View) JudgeRoutes(ctx context.Context, routes []map[string]string) [][]Finding {
	parts := v.parts()
	var audiences []string
	absent := make([][]bool, len(parts))
	for i, of := range parts {
		audiences = append(audiences, of.Checks.Audiences...)
		if of.Database == nil {
			continue
		}
		var err error
		if absent[i], err = of.Database.Absent(ctx); err != nil {
			absent[i] = nil // which is told by Diagnose
		}
	}
	isIssuer := func(name string) bool {
		return slices.ContainsFunc(parts, func(of Parts) bool { return of.Issuer == name })
	}
	found := make([][]Finding, len(routes))
	for n, extensions := range routes {
		var settings []request.Setting
		for _, name := range slices.Sorted(maps.Keys(extensions)) {
			settings = append(settings, request.Setting{Name: name, Value: extensions[name]})
		}
		rules, err := route.Read(settings, audiences, parts[0].Checks.Kinds.Methods(), isIssuer)
		if err != nil {
			denial := reason.Of(err)
			found[n] = []Finding{{Level: LevelFailure, Found: "every request is refused with 503: " + denial.Error(),
				Fix: denial.Fix()}}
			continue
		}
		for i, of := range parts {
			if len(rules.Issuers) > 0 && !slices.Contains(rules.Issuers, of.Issuer) {
				continue
			}
			sessions, tokens := rules.Never(of.Checks.Facts, absent[i])
			if of.Database == nil {
				sessions = "" // there are none
			}
			for _, never := range []string{sessions, tokens} {
				if never != "" {
					found[n] = append(found[n], Finding{Issuer: of.Issuer, Level: LevelWarning,
						Found: "refuses everybody of one kind: " + never,
						Fix:   "Name the column or the claim in Config.Identity, or leave the rule out."})
				}
			}
		}
	}
	return found
}
