package extauthz

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/request"
	"extauthz/extauthz/internal/show"
)

// logDecision writes one record a decision: allow at debug, a refusal at info, an outage at warn. Under a flood most
// are left out, and the next one of the same reason says how many. It never holds a credential, and of the path no
// query, where people put them.
func (a *Authorizer) logDecision(ctx context.Context, r *request.Request, d *decision) {
	level := levelOfDecision(d)
	if !a.log.Enabled(ctx, level) {
		return
	}
	defer a.contain(guard.InLog)
	leftOut, isWritten := a.sampling.of(d).Pass()
	if !isWritten {
		return
	}
	message := "allowed"
	if d.denial != nil {
		message = messageOf(&d.denial.Fact)
	}
	if a.shadow != ShadowOff && d.denial != nil {
		message = "would be " + message + ", but shadow mode allows everything"
	}
	attributes := make([]slog.Attr, 0, 12)
	add := func(name, value string) {
		if value != "" {
			// A handler may keep a record past the check, whose texts are gone then.
			attributes = append(attributes, slog.String(name, strings.Clone(show.Clip(value))))
		}
	}
	if d.denial != nil {
		add("reason", string(d.denial.Reason))
		attributes = append(attributes, slog.Int("status", d.denial.Status))
	}
	add("auth_method", string(d.method))
	add("subject", d.who().Subject)
	add("method", r.Method)
	add("host", r.Host)
	add("path", withoutQuery(r.Path))
	add("request_id", r.RequestID)
	add("client", r.Client)
	if d.denial != nil {
		add("got", d.denial.Got)
		add("want", d.denial.Want)
		if cause := d.denial.Unwrap(); cause != nil {
			add("error", cause.Error())
		}
	}
	if leftOut > 0 {
		attributes = append(attributes, slog.Int64("left_out", leftOut))
	}
	a.log.LogAttrs(ctx, level, message, attributes...)
}

func levelOfDecision(d *decision) slog.Level {
	if d.denial == nil {
		return slog.LevelDebug
	}
	return levelOf(&d.denial.Fact)
}

// levelOf is the level of a denial.
func levelOf(fact *Fact) slog.Level {
	switch {
	case fact.Reason == ReasonCancelled:
		return slog.LevelDebug // nobody waits for the answer, so it is no outage
	case fact.Status == http.StatusServiceUnavailable:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

func messageOf(fact *Fact) string {
	if fact.Status == http.StatusServiceUnavailable {
		return "not checked"
	}
	return "denied"
}
