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
	routes := make([]map[string]string, len(asked))
	for i := range asked {
		routes[i] = asked[i].Rules
	}
	const tried = "route rules"
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
