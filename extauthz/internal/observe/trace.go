package observe

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/request"
)

// Tracing makes OpenTelemetry spans: one a check, and below it one for a JWKS fetch or a query that it waited
// for. A nil tracing makes none, at no cost.
type Tracing struct {
	tracer trace.Tracer
	panics *guard.Panics
}

// NewTracing makes spans by a provider; without one it returns nil. Its error completes the sentence "TracerProvider
// …".
func NewTracing(provider trace.TracerProvider, version string, panics *guard.Panics) (t *Tracing, err error) {
	if provider == nil {
		return nil, nil
	}
	defer func() {
		if fault := recover(); fault != nil || err == nil && t.tracer == nil {
			t, err = nil, fmt.Errorf("makes no tracer (%v); give one that does, or nil", fault)
		}
	}()
	return &Tracing{provider.Tracer("extauthz", trace.WithInstrumentationVersion(version)), panics}, nil
}

// contain is deferred around what calls the provider's code: a check's answer does not depend on it.
func (t *Tracing) contain() {
	if fault := recover(); fault != nil {
		t.panics.Report(guard.InTrace, fault)
	}
}

// Begin starts a check's span below Envoy's own, which comes with the gRPC call, or, when Envoy traces nothing, below
// that of the request itself.
func (t *Tracing) Begin(ctx context.Context, r *request.Request) (below context.Context, span trace.Span) {
	if t == nil {
		return ctx, nil
	}
	below = ctx
	defer t.contain()
	carrier := propagation.MapCarrier{
		request.HeaderTraceparent: checkwire.Detach(r.Traceparent), request.HeaderTracestate: checkwire.Detach(r.Tracestate),
	}
	if values := metadata.ValueFromIncomingContext(ctx, request.HeaderTraceparent); len(values) == 1 {
		carrier[request.HeaderTraceparent] = values[0]
		carrier[request.HeaderTracestate] = strings.Join(
			metadata.ValueFromIncomingContext(ctx, request.HeaderTracestate), ",")
	}
	ctx = propagation.TraceContext{}.Extract(ctx, carrier)
	if started, made := t.tracer.Start(ctx, "check", trace.WithSpanKind(trace.SpanKindServer)); started != nil {
		below, span = started, made
	}
	return below, span
}

// End ends a check's span with what it came to. It holds no credential, no path and nobody's name.
func (t *Tracing) End(span trace.Span, d *decision.Decision) {
	if t == nil || span == nil {
		return
	}
	defer t.contain()
	defer span.End()
	if !span.IsRecording() {
		return
	}
	method, status := string(d.Method), http.StatusOK
	if method == "" {
		method = methodNone
	}
	span.SetAttributes(attribute.String("extauthz.outcome", d.Outcome()), attribute.String("extauthz.method", method),
		attribute.Bool("extauthz.remembered", d.Remembered != nil))
	if name := d.Issuer.Called(); name != "" {
		span.SetAttributes(attribute.String("extauthz.issuer", name))
	}
	if d.Denial != nil {
		status = d.Denial.Status()
		span.SetAttributes(attribute.String("extauthz.reason", string(d.Denial.Reason())))
		if status == http.StatusServiceUnavailable { // a refusal is a check that went well
			span.SetStatus(codes.Error, string(d.Denial.Reason()))
		}
	}
	span.SetAttributes(attribute.Int("http.response.status_code", status))
}

// Now is the time where it is wanted for a span.
func (t *Tracing) Now() (now time.Time) {
	if t != nil {
		now = time.Now()
	}
	return now
}

// Queried records the query that a check waited for; batch is how many checks it was for, where that is known.
func (t *Tracing) Queried(ctx context.Context, began, ended time.Time, batch int, err error) {
	if t == nil {
		return
	}
	attributes := []attribute.KeyValue{attribute.String("db.system.name", "postgresql")}
	if batch > 0 {
		attributes = append(attributes, attribute.Int("db.operation.batch.size", batch))
	}
	t.waited(ctx, "SELECT session", began, ended, err, attributes)
}

// AskedRedis records the round trip that a check waited for; batch is how many questions shared it, where that is known.
func (t *Tracing) AskedRedis(ctx context.Context, began, ended time.Time, batch int, err error) {
	if t == nil {
		return
	}
	attributes := []attribute.KeyValue{attribute.String("db.system.name", "redis")}
	if batch > 0 {
		attributes = append(attributes, attribute.Int("db.operation.batch.size", batch))
	}
	t.waited(ctx, "GET", began, ended, err, attributes)
}

// Fetched records the JWKS fetch that a check waited for.
func (t *Tracing) Fetched(ctx context.Context, began, ended time.Time, url string, err error) {
	if t == nil {
		return
	}
	t.waited(ctx, "GET JWKS", began, ended, err,
		[]attribute.KeyValue{attribute.String("http.request.method", "GET"), attribute.String("url.full", url)})
}

// waited records what a check waited for, once that is over: it is shared with other checks, so no one check's span
// can be above it while it runs.
func (t *Tracing) waited(
	ctx context.Context, name string, began, ended time.Time, err error, attributes []attribute.KeyValue,
) {
	defer t.contain()
	if began.IsZero() || !trace.SpanFromContext(ctx).IsRecording() {
		return
	}
	_, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(began),
		trace.WithAttributes(attributes...))
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End(trace.WithTimestamp(ended))
}
