package doctor

import (
	"context"
	"slices"

	"extauthz/cmd/extauthz/internal/doctor/envoy"
	"extauthz/extauthz/operator"
)

// Rules judges what routes ask for: what cannot be read, and what nobody can meet.
func Rules(ctx context.Context, view *operator.View, asked []envoy.Asked) (found []operator.Finding) {
	if len(asked) == 0 {
		return nil
	}
	const tried = "route rules"
	// Envoy's dump hides every value of context_extensions, so the rules of such a route cannot be checked.
	if shown := slices.DeleteFunc(slices.Clone(asked), isHidden); len(shown) < len(asked) {
		found = append(found, operator.Finding{Part: "envoy", Tried: tried, Level: operator.LevelOK,
			Found: "not checked: Envoy's admin address hides their values; --envoy FILE checks them"})
		if asked = shown; len(asked) == 0 {
			return found
		}
	}
	routes := make([]map[string]string, len(asked))
	for i := range asked {
		routes[i] = asked[i].Rules
	}
	for i, judged := range view.JudgeRoutes(ctx, routes) {
		for _, f := range judged {
			f.Part, f.Tried, f.Found = "envoy", tried, asked[i].Route+": "+f.Found
			if !slices.Contains(found, f) {
				found = append(found, f)
			}
		}
	}
	if len(found) == 0 {
		found = []operator.Finding{{Part: "envoy", Tried: tried, Level: operator.LevelOK, Found: "each can be met"}}
	}
	return found
}

// isHidden tells whether Envoy has put a placeholder in the place of a rule's value.
func isHidden(asked envoy.Asked) bool {
	for _, value := range asked.Rules {
		if value == "[redacted]" {
			return true
		}
	}
	return false
}
