package extauthz

import (
	"context"
	"log/slog"
	"strings"
)

// logDecision writes one record a decision: allow at debug, a refusal at info, an outage at warn. It
// never holds a credential, and of the path no query, where people put them.
func (a *Authorizer) logDecision(ctx context.Context, r *request, d *decision) {
	level, message := slog.LevelDebug, "allowed"
	switch d.outcome() {
	case outcomeDeny:
		level, message = slog.LevelInfo, "denied"
	case outcomeUnavailable:
		level, message = slog.LevelWarn, "not checked"
		if d.denial.Reason == ReasonCancelled {
			level = slog.LevelDebug // nobody waits for the answer, so it is no outage
		}
	}
	if a.shadow != ShadowOff && d.denial != nil {
		message = "would be " + message + ", but shadow mode allows everything"
	}
	if !a.log.Enabled(ctx, level) {
		return
	}
	attributes := make([]slog.Attr, 0, 10)
	add := func(name, value string) {
		if value != "" {
			// A handler may keep a record past the check, whose texts are gone then.
			attributes = append(attributes, slog.String(name, strings.Clone(clip(value))))
		}
	}
	if d.denial != nil {
		add("reason", string(d.denial.Reason))
		attributes = append(attributes, slog.Int("status", d.denial.Status))
	}
	add("auth_method", string(d.method))
	add("subject", d.who().Subject)
	add("method", r.method)
	add("host", r.host)
	add("path", withoutQuery(r.path))
	add("request_id", r.requestID)
	add("client", r.client)
	if d.denial != nil {
		add("got", d.denial.Got)
		add("want", d.denial.Want)
		if d.denial.cause != nil {
			add("error", d.denial.cause.Error())
		}
	}
	a.log.LogAttrs(ctx, level, message, attributes...)
}
