package observe

import (
	"context"
	"log/slog"
	"net/http"

	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
)

// Log logs decisions.
type Log struct {
	log      *slog.Logger
	panics   *guard.Panics
	sampling *sampling
	shadowed bool // what is refused is allowed all the same
}

// NewLog logs decisions; shadowed tells that what is refused is allowed all the same.
func NewLog(panics *guard.Panics, shadowed bool) *Log {
	return &Log{log: panics.Logger(), panics: panics, sampling: newSampling(), shadowed: shadowed}
}

// Tell writes one record a decision: allow at debug, a refusal at info, an outage at warn. Under a flood most
// are left out, and the next one of the same reason says how many. It never holds a credential, and of the path no
// query, where people put them.
func (l *Log) Tell(ctx context.Context, r *request.Request, d *decision.Decision) {
	level := levelOfDecision(d)
	if !l.log.Enabled(ctx, level) {
		return
	}
	defer func() {
		if fault := recover(); fault != nil {
			l.panics.Report(guard.InLog, fault)
		}
	}()
	leftOut, isWritten := l.sampling.of(d).Pass()
	if !isWritten {
		return
	}
	message := "allowed"
	if d.Denial != nil {
		message = messageOf(reason.FactOf(d.Denial.Reason()))
	}
	if l.shadowed && d.Denial != nil {
		message = "would be " + message + ", but shadow mode allows everything"
	}
	attributes := make([]slog.Attr, 0, 12)
	add := func(name, value string) {
		if value != "" {
			// A handler may keep a record past the check, whose texts are gone then.
			attributes = append(attributes, slog.String(name, keep(value)))
		}
	}
	if d.Denial != nil {
		add("reason", string(d.Denial.Reason()))
		attributes = append(attributes, slog.Int("status", d.Denial.Status()))
	}
	add("auth_method", string(d.Method))
	add("issuer", d.Issuer.Called())
	add("subject", d.Who().Subject)
	add("method", r.Method)
	add("host", r.Host)
	add("path", withoutQuery(r.Path))
	add("request_id", r.RequestID)
	add("client", r.Client)
	if d.Denial != nil {
		add("got", d.Denial.Got())
		add("want", d.Denial.Want())
		if cause := d.Denial.Unwrap(); cause != nil {
			add("error", cause.Error())
		}
	}
	if leftOut > 0 {
		attributes = append(attributes, slog.Int64("left_out", leftOut))
	}
	l.log.LogAttrs(ctx, level, message, attributes...)
}

func levelOfDecision(d *decision.Decision) slog.Level {
	if d.Denial == nil {
		return slog.LevelDebug
	}
	return levelOf(reason.FactOf(d.Denial.Reason()))
}

// levelOf is the level of a denial.
func levelOf(fact *reason.Fact) slog.Level {
	switch {
	case fact.Reason == reason.Cancelled:
		return slog.LevelDebug // nobody waits for the answer, so it is no outage
	case fact.Status == http.StatusServiceUnavailable:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

func messageOf(fact *reason.Fact) string {
	if fact.Status == http.StatusServiceUnavailable {
		return "not checked"
	}
	return "denied"
}
