package extauthz

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/metadata"

	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/observe"
	"extauthz/extauthz/internal/request"
)

func newRecorder(t *testing.T) (*tracetest.SpanRecorder, *sdktrace.TracerProvider) {
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	t.Cleanup(func() { provider.Shutdown(context.Background()) })
	return recorder, provider
}

// attributesOf is a span's attributes as text.
func attributesOf(span sdktrace.ReadOnlySpan) map[attribute.Key]string {
	found := map[attribute.Key]string{}
	for _, a := range span.Attributes() {
		found[a.Key] = a.Value.String()
	}
	return found
}

const (
	traceOfEnvoy   = "00-11111111111111111111111111111111-2222222222222222-01"
	traceOfRequest = "00-33333333333333333333333333333333-4444444444444444-01"
)

// A span a check: below Envoy's own where there is one, else below the request's, with reason and method; and below it
// what the check waited for.
func TestSpans(t *testing.T) {
	recorder, provider := newRecorder(t)
	ed := signers()["ed"]
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: sessionsDatabase(t), TracerProvider: provider})
	check := func(ctx context.Context, token, traceparent string) (span sdktrace.ReadOnlySpan, below []sdktrace.ReadOnlySpan) {
		t.Helper()
		before := len(recorder.Ended())
		if _, err := a.Check(ctx, wire["headers"]("GET", []header{{"authorization", "Bearer " + token}, {"traceparent", traceparent}, {"tracestate", "k=v"}})); err != nil {
			t.Fatal(err)
		}
		for _, s := range recorder.Ended()[before:] {
			if s.Name() == "check" {
				span = s
			} else {
				below = append(below, s)
			}
		}
		if span == nil {
			t.Fatal("no span of the check")
		}
		for _, s := range below {
			if s.Parent().SpanID() != span.SpanContext().SpanID() {
				t.Errorf("%s is not below the check", s.Name())
			}
		}
		return span, below
	}

	token := ed.issue(goodClaims(nil))
	span, below := check(t.Context(), token, traceOfRequest)
	if got := span.Parent(); got.TraceID().String() != traceOfRequest[3:35] || got.SpanID().String() != traceOfRequest[36:52] || got.TraceState().Get("k") != "v" {
		t.Errorf("the span is below %v, want the request's", got)
	}
	if got := attributesOf(span); got["extauthz.outcome"] != "allow" || got["extauthz.method"] != "jwks" || got["http.response.status_code"] != "200" || got["extauthz.remembered"] != "false" {
		t.Errorf("%v", got)
	}
	if len(below) != 0 {
		t.Errorf("%d spans below a check that waited for nothing", len(below))
	}

	ofEnvoy := metadata.NewIncomingContext(t.Context(), metadata.Pairs("traceparent", traceOfEnvoy))
	span, _ = check(ofEnvoy, token, traceOfRequest)
	if got := span.Parent(); got.SpanID().String() != traceOfEnvoy[36:52] {
		t.Errorf("the span is below %v, want Envoy's", got)
	}
	if got := attributesOf(span); got["extauthz.remembered"] != "true" {
		t.Errorf("%v", got)
	}

	_, below = check(t.Context(), liveToken, traceOfRequest)
	if len(below) != 1 || below[0].Name() != "SELECT session" || attributesOf(below[0])["db.operation.batch.size"] != "1" {
		t.Errorf("below a session's check: %v", below)
	}
	span, below = check(t.Context(), signer{"EdDSA", "made-up", ed.private}.issue(goodClaims(nil)), "nonsense")
	if len(below) != 1 || below[0].Name() != "GET JWKS" || !strings.HasPrefix(attributesOf(below[0])["url.full"], "http://127.0.0.1:") {
		t.Errorf("below the check of a token by an unknown key: %v", below)
	}
	if got := attributesOf(span); span.Parent().IsValid() || got["extauthz.reason"] != string(ReasonUnknownKey) || got["extauthz.outcome"] != "deny" || span.Status().Code == codes.Error {
		t.Errorf("%v, below %v, status %v", got, span.Parent(), span.Status())
	}
	for _, s := range recorder.Ended() {
		for key, value := range attributesOf(s) {
			if strings.Contains(value, "user-") || strings.Contains(value, "in-the-query") || strings.Contains(value, liveToken) || strings.Contains(value, token[:20]) {
				t.Errorf("%s holds %s", key, value)
			}
		}
	}
}

// An outage is an error in the trace, and so is what the check waited for in vain.
func TestSpanOfAnOutage(t *testing.T) {
	ed := signers()["ed"]
	issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
	recorder, provider := newRecorder(t)
	a := startAuthorizer(t, Config{JWKSURL: "https://issuer.test/jwks", Client: &http.Client{Transport: issuer}, TracerProvider: provider, budget: 50 * time.Millisecond})
	issuer.setAnswer(hang)
	if reason := checkToken(t, a, signer{"EdDSA", "made-up", ed.private}.issue(goodClaims(nil))); reason != ReasonTimeBudgetSpent {
		t.Fatalf("reason %q", reason)
	}
	ended := recorder.Ended()
	if len(ended) != 2 || ended[0].Name() != "GET JWKS" || ended[0].Status().Code != codes.Error || ended[1].Status().Code != codes.Error ||
		attributesOf(ended[1])["extauthz.reason"] != string(ReasonTimeBudgetSpent) {
		t.Errorf("%v", ended)
	}
}

// Without a provider there is nothing to pay for.
func TestNoSpansCostNothing(t *testing.T) {
	var none *observe.Tracing
	r, d, ctx := request.Request{Traceparent: traceOfRequest}, decision.Decision{}, t.Context()
	if allocations := testing.AllocsPerRun(100, func() {
		ctx, span := none.Begin(ctx, &r)
		none.Queried(ctx, none.Now(), none.Now(), 1, nil)
		none.Fetched(ctx, none.Now(), none.Now(), "", nil)
		none.End(span, &d)
	}); allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}
