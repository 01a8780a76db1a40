package doctor

import (
	"context"

	"extauthz/cmd/extauthz/internal/explain"
	"extauthz/extauthz"
	"extauthz/extauthz/operator"
)

// Credential judges a credential step by step.
func Credential(
	ctx context.Context, authorizer *extauthz.Authorizer, text string, isCookie bool,
) (found []operator.Finding) {
	add := func(level operator.Level, tried, what, fix string) {
		found = append(found, operator.Finding{Part: partCredential, Tried: tried, Level: level, Found: what, Fix: fix})
	}
	ctx, cancel := context.WithTimeout(ctx, explain.Timeout)
	defer cancel()
	for _, step := range explain.Credential(ctx, authorizer, text, isCookie).Steps {
		switch {
		case step.Denial != nil:
			add(operator.LevelFailure, step.Name, step.Denial.Error(), step.Denial.Fix())
		case step.Reached:
			add(operator.LevelOK, step.Name, step.Found, "")
		}
	}
	return found
}
