// Package decide comes to a decision on one request, top to bottom: what the route asks for, the credential, the
// issuer's judgement, the site. It imports issuer, credential, route, site, decision, request, reason and guard. It
// does not know gRPC, protobuf, headers of the answer, or who is told of the decision.
package decide

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/issuers"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
	"extauthz/extauthz/internal/route"
	"extauthz/extauthz/internal/site"
)

const (
	// TimeBudget is what one check may take. Envoy's filter is given 0.5 s, so that the answer,
	// a 503 with its reason, always comes before Envoy gives up.
	TimeBudget = 400 * time.Millisecond
	// maxDeadlineMargin bounds what is left of a caller's nearer deadline for the answer's own way back: a tenth
	// of what remains.
	maxDeadlineMargin = 50 * time.Millisecond
)

// WithTimeBudget bounds ctx by the budget, or by the caller's gRPC deadline less a margin when that is nearer.
func WithTimeBudget(ctx context.Context, budget time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		remaining := time.Until(deadline)
		budget = min(budget, remaining-min(remaining/10, maxDeadlineMargin))
	}
	return context.WithTimeout(ctx, budget)
}

// counter counts by one, and does not wait.
type counter interface{ Inc() }

// Decider decides requests. Its methods are safe for concurrent use.
type Decider struct {
	// Issuers are those in force. A check reads them once, so that all of it is judged by the same.
	Issuers atomic.Pointer[issuers.Set]
	Budget  time.Duration // of one check
	Panics  *guard.Panics
	// Hits and Misses count the looks for a remembered token.
	Hits, Misses counter

	told sync.Map // of rules that no credential can meet, each once
	many atomic.Int32
}

// maxTold bounds how many rules that cannot be met are told.
const maxTold = 100

// tellNever logs, once, that a route's rule refuses everybody.
func (d *Decider) tellNever(never string) {
	if never == "" {
		return
	}
	if _, isTold := d.told.Load(never); isTold || d.many.Load() >= maxTold {
		return
	}
	if _, isTold := d.told.LoadOrStore(never, true); !isTold {
		d.many.Add(1)
		d.Panics.Logger().Warn("a route's rule refuses everybody", "why", never)
	}
}

// Decide fills in what the request comes to. It finds the credential, has it judged, and last asks what the route wants
// of it. A panic anywhere on the way is a denial.
func (d *Decider) Decide(ctx context.Context, r *request.Request, came *decision.Decision) {
	defer func() {
		if fault := recover(); fault != nil {
			d.Panics.Report(guard.InCheck, fault)
			came.Denial = reason.Unavailable(reason.InternalError, errors.New("panic"))
		}
	}()
	switch {
	case r.Unread != nil:
		came.Denial = r.Unread
		return
	case r.TooMany:
		came.Denial = reason.Deny(reason.TooManyHeaders)
		return
	}
	inForce := d.Issuers.Load()
	var wanted route.Rules
	if len(r.Route) > 0 {
		var err error
		if wanted, err = route.Read(r.Route, inForce.Audiences, inForce.Kinds.Methods(), inForce.Has); err != nil {
			came.Denial = reason.Of(err)
			return
		}
		inForce = inForce.Within(wanted.Issuers)
	}
	found, err := credential.Find(r, inForce.Cookies)
	switch {
	case err == nil:
		by := d.judgeCredential(ctx, r, inForce, found, came)
		if came.Denial == nil && len(r.Route) > 0 {
			var never string
			never, err = wanted.Check(came.Method, inForce.Kinds.HasClaims(came.Method), found.Text, &came.Identity, by.Facts)
			d.tellNever(never)
		}
	case wanted.Optional && reason.Of(err).IsMissing():
		return // passes, and brings nobody's identity
	}
	if err != nil {
		came.Denial = reason.Of(err)
	}
}

// judgeCredential has the credential judged, by what is remembered or anew. It returns the issuer whose it is, nil for
// nobody's.
func (d *Decider) judgeCredential(
	ctx context.Context, r *request.Request, inForce *issuers.Set, found credential.Presented, came *decision.Decision,
) *issuer.Issuer {
	if inForce.Remembers() && found.IsMemorable() {
		if by := d.recall(inForce, found.Text, came); by != nil {
			return by
		}
	}
	presented, err := inForce.Kinds.Recognize(found)
	if err != nil {
		came.Denial = reason.Of(err)
		return nil
	}
	ctx, cancel := WithTimeBudget(ctx, d.Budget)
	defer cancel()
	came.Method = presented.Kind.Method
	var by *issuer.Issuer
	if came.Identity, by, err = inForce.Verify(ctx, presented, found.Name, r.Host); by != nil {
		came.Issuer = by.As
	}
	if presented.Cookie {
		if err == nil {
			err = site.Check(r, by.Trusted)
		} else if isSessionUnknown(err) && credential.HasEncryptedCache(r.Cookies) {
			err = reason.Deny(reason.StatelessSession)
		}
	}
	if err != nil {
		came.Denial = reason.Of(err)
	}
	return by
}

// isSessionUnknown tells that a session's row was not there, or is nowhere to be looked up.
func isSessionUnknown(err error) bool {
	switch reason.Of(err).Reason() {
	case reason.UnknownSession, reason.SessionsNotConfigured:
		return true
	}
	return false
}

// recall judges a JWT whose signature was verified before. It returns nil when there is no such proof that still
// counts.
func (d *Decider) recall(inForce *issuers.Set, token string, came *decision.Decision) *issuer.Issuer {
	proof, by, err := inForce.Recall(token)
	if proof == nil {
		d.Misses.Inc()
		return nil
	}
	d.Hits.Inc()
	came.Remembered, came.Method, came.Issuer = proof, proof.Kind.Method, by.As
	if err != nil {
		came.Denial = reason.Of(err)
	}
	return by
}
