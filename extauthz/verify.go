package extauthz

import (
	"context"
	"fmt"
	"time"

	"extauthz/extauthz/internal/credential"
)

// A Verifier judges credentials of one sort.
//
// Verify returns the identity that the credential proves. An error that is a *[Denial] is the answer;
// any other error means that the credential could not be checked, and is answered with 503, never
// with 401 and never with allow. With an error, the identity says no more than what was
// proven before it (a subject whose token has expired), for the log.
//
// Verify may be called concurrently. It returns soon after ctx is done.
type Verifier interface {
	Verify(ctx context.Context, credential Credential) (Identity, error)
}

const (
	// timeBudget is what one check may take. Envoy's filter is given 0.5 s, so that the answer,
	// a 503 with its reason, always comes before Envoy gives up.
	timeBudget = 400 * time.Millisecond
	// maxDeadlineMargin bounds what is left of a caller's nearer deadline for the answer's own way back: a tenth
	// of what remains.
	maxDeadlineMargin = 50 * time.Millisecond
)

// withTimeBudget bounds ctx by the budget, or by the caller's gRPC deadline less a margin when that is nearer.
func withTimeBudget(ctx context.Context, budget time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		remaining := time.Until(deadline)
		budget = min(budget, remaining-min(remaining/10, maxDeadlineMargin))
	}
	return context.WithTimeout(ctx, budget)
}

// chain holds the verifier of each kind of credential.
type chain [credential.Kinds]Verifier

// Verify implements [Verifier]. A kind that is none is an error.
func (c *chain) Verify(ctx context.Context, presented Credential) (Identity, error) {
	if presented.Kind >= credential.Kinds {
		return Identity{}, fmt.Errorf("a credential of the unknown kind %d", presented.Kind)
	}
	return c[presented.Kind].Verify(ctx, presented)
}
