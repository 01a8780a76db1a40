package extauthz

import (
	"context"
	"errors"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
)

// Check decides one request. It is the whole way, from Envoy's question to the answer; it never
// returns an error, since Envoy would answer one by its failure mode and not by ours. A server
// made by [ServerOptions] and [Authorizer.Register] goes the same way without the protobuf codec.
func (a *Authorizer) Check(ctx context.Context, in *authv3.CheckRequest) (response *authv3.CheckResponse, _ error) {
	defer func() {
		if fault := recover(); fault != nil {
			a.panics.Report(guard.InCheck, fault)
			response = checkwire.DenyResponse(reason.Deny(ReasonInternalError))
		}
	}()
	r := checkwire.ReadRequest(in)
	d := a.decide(ctx, &r)
	switch {
	case a.shadow != ShadowOff:
		return a.shadowResponse(&r, &d), nil
	case d.Denial != nil:
		return checkwire.DenyResponse(d.Denial), nil
	}
	return checkwire.AllowResponse(&r, d.Who(), a.further()...), nil
}

// decide judges the request, counts the decision and logs it. Of its observers only an audit function that panics
// changes it.
func (a *Authorizer) decide(ctx context.Context, r *request.Request) decision.Decision {
	started := time.Now()
	r.IdentityNames = a.kept.without(r.IdentityNames) // they are the client's, whatever the verdict
	ctx, span := a.tracing.Begin(ctx, r)
	var d decision.Decision
	a.judge(ctx, r, &d)
	took := time.Since(started)
	a.tracing.End(span, &d)
	a.audit.Write(r, &d, took)
	a.metrics.Count(&d, took)
	a.decisions.Tell(ctx, r, &d)
	return d
}

// judge has the request decided, unless the Authorizer is closed.
func (a *Authorizer) judge(ctx context.Context, r *request.Request, d *decision.Decision) {
	if a.life.closed.Load() {
		d.Denial = reason.Unavailable(ReasonClosed, errors.New("Close was called"))
		return
	}
	a.decider.Decide(ctx, r, d)
}
