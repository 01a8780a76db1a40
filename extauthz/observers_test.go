package extauthz

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"extauthz/extauthz/internal/bubble"
	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/keyset/jwks"
	"extauthz/extauthz/internal/observe"
	"extauthz/extauthz/internal/part"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
	"extauthz/extauthz/operator"
)

// broken is a handler and a provider, whose tracer and spans are like it, that panics in the one method that is named.
type broken struct {
	noop.TracerProvider
	slog.Handler
	in string
}

func (b broken) panics(in string) {
	if b.in == in {
		panic("a fault in " + in)
	}
}

func (b broken) Enabled(context.Context, slog.Level) bool          { b.panics("Enabled"); return true }
func (b broken) Handle(context.Context, slog.Record) error         { b.panics("Handle"); return nil }
func (b broken) Tracer(string, ...trace.TracerOption) trace.Tracer { return brokenTracer{broken: b} }

type brokenTracer struct {
	noop.Tracer
	broken broken
}

func (t brokenTracer) Start(ctx context.Context, _ string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	t.broken.panics("Start")
	switch t.broken.in {
	case "nil span":
		return ctx, nil
	case "nil pointer":
		return ctx, (*brokenSpan)(nil)
	case "nil context":
		return nil, nil
	}
	span := &brokenSpan{broken: t.broken}
	return trace.ContextWithSpan(ctx, span), span
}

type brokenSpan struct {
	noop.Span
	broken broken
}

func (s *brokenSpan) IsRecording() bool { s.broken.panics("IsRecording"); return true }
func (s *brokenSpan) End(...trace.SpanEndOption) {
	s.broken.panics("End")
}
func (s *brokenSpan) SetAttributes(...attribute.KeyValue) { s.broken.panics("SetAttributes") }

// An observer that panics is counted, and told once and not with each check. It ends nothing, and who is refused is
// refused for the same reason. Who is allowed is allowed where a line or a span is lost, and refused where the audit
// record is.
func TestObserverThatPanics(t *testing.T) {
	for _, row := range []struct {
		where, in string
		uncounted bool // it is handled without a panic
	}{
		{where: guard.InAudit, in: "Audit"},
		{where: guard.InLog, in: "Enabled"}, {where: guard.InLog, in: "Handle"},
		{where: guard.InTrace, in: "Start"}, {where: guard.InTrace, in: "IsRecording"}, {where: guard.InTrace, in: "SetAttributes"},
		{where: guard.InTrace, in: "End"}, {where: guard.InTrace, in: "nil pointer"},
		{where: guard.InTrace, in: "nil span", uncounted: true}, {where: guard.InTrace, in: "nil context", uncounted: true},
	} {
		t.Run(row.in, func(t *testing.T) {
			fault, told := broken{in: row.in}, new(lockedBuffer)
			config := Config{JWKSURL: serveKeys(t, testKeys()).URL, Logger: slog.New(slog.NewTextHandler(told, &slog.HandlerOptions{Level: slog.LevelDebug}))}
			switch row.where {
			case guard.InAudit:
				config.Audit = func(AuditRecord) { panic("a fault in Audit") }
			case guard.InLog:
				config.Logger = slog.New(fault)
			case guard.InTrace:
				config.TracerProvider = fault
			}
			a := startAuthorizer(t, config)
			before := testutil.ToFloat64(a.metrics.Panics.WithLabelValues(row.where))
			client := dialAuthorizer(t, a)
			isKept := func(response *authv3.CheckResponse) bool {
				if row.where == guard.InAudit {
					return response.GetDeniedResponse().GetStatus().GetCode() == 503
				}
				return response.GetOkResponse() != nil
			}
			good := signers()["ed"].issue(goodClaims(nil))
			for range 20 {
				for _, check := range []func(*authv3.CheckRequest) (*authv3.CheckResponse, error){
					func(in *authv3.CheckRequest) (*authv3.CheckResponse, error) { return a.Check(t.Context(), in) },
					func(in *authv3.CheckRequest) (*authv3.CheckResponse, error) { return client.Check(t.Context(), in) },
				} {
					response, err := check(bearerRequest(good))
					if err != nil || !isKept(response) {
						t.Fatalf("a good token: %v %v", response, err)
					}
					response, err = check(bearerRequest(good + "A"))
					if err != nil || response.GetDeniedResponse().GetStatus().GetCode() != 401 {
						t.Fatalf("a bad token: %v %v", response, err)
					}
				}
			}
			counted := testutil.ToFloat64(a.metrics.Panics.WithLabelValues(row.where)) - before
			if row.uncounted != (counted == 0) || !row.uncounted && counted < 80 {
				t.Errorf("%v panics counted in 80 checks", counted)
			}
			if row.where != guard.InLog && !row.uncounted {
				if lines := strings.Count(told.String(), "msg=panic"); lines < 1 || lines > 3 {
					t.Errorf("told %d times: %s", lines, told.String())
				}
			}
			unavailable := testutil.ToFloat64(a.metrics.Checks.WithLabelValues(decision.Unavailable, string(identity.MethodJWKS), string(ReasonInternalError)))
			if (row.where == guard.InAudit) != (unavailable == 40) {
				t.Errorf("%v checks counted as internal errors", unavailable)
			}
			if in := testutil.ToFloat64(a.metrics.Panics.WithLabelValues(guard.InCheck)); in != 0 {
				t.Errorf("%v panics of checks", in)
			}
		})
	}
}

// A provider that makes no tracer is a fault of the configuration.
func TestProviderWithoutATracer(t *testing.T) {
	for name, provider := range map[string]trace.TracerProvider{"panics": (*noProvider)(nil), "nil": &noProvider{}} {
		_, err := New(Config{Issuer: testIssuer, Audiences: []string{testAudience}, TracerProvider: provider})
		if fault, ok := err.(*ConfigError); !ok || fault.Field != "TracerProvider" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type noProvider struct {
	noop.TracerProvider
	tracer trace.Tracer
}

func (p *noProvider) Tracer(string, ...trace.TracerOption) trace.Tracer { return p.tracer }

// Under a flood the log has the first refusals and then a steady rate, tells how many it left out, and hides no other
// reason.
func TestFloodInTheLog(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		told := new(lockedBuffer)
		metrics := observe.NewMetrics(nil, operator.Version, jwks.Results())
		a := &Authorizer{decisions: observe.NewLog(guard.New(slog.New(slog.NewTextHandler(told, nil)), metrics.CountPanic), false)}
		refuse := func(code Reason) {
			a.decisions.Tell(t.Context(), &request.Request{}, &decision.Decision{Denial: reason.Deny(code)})
		}
		outage := func() {
			a.decisions.Tell(t.Context(), &request.Request{}, &decision.Decision{Denial: reason.Unavailable(ReasonDatabaseUnavailable, fmt.Errorf("a fault"))})
		}
		const seconds, each = 10, 600
		for range seconds * each {
			refuse(ReasonBadSignature)
			time.Sleep(time.Second / each)
		}
		outage()
		refuse(ReasonWrongAudience)
		lines := strings.Count(told.String(), "reason=bad_signature")
		if least, most := observe.DeniedBurst+(seconds-1)*observe.DeniedLines, observe.DeniedBurst+(seconds+1)*observe.DeniedLines; lines < least || lines > most {
			t.Errorf("%d lines of %d refusals, want %d to %d", lines, seconds*each, least, most)
		}
		for _, want := range []string{"reason=database_unavailable", "reason=wrong_audience"} {
			if strings.Count(told.String(), want) != 1 {
				t.Errorf("the flood hides %s", want)
			}
		}
		// What no line of a refusal has told of is told by itself.
		ctx, stop := context.WithCancel(t.Context())
		go a.decisions.TellLeftOut(ctx)
		time.Sleep(3 * observe.LeftOutInterval)
		stop()
		synctest.Wait()
		left := 0
		for line := range strings.Lines(told.String()) {
			var count int
			if _, number, found := strings.Cut(line, "left_out="); found {
				fmt.Sscan(number, &count)
				left += count
			}
		}
		if lines+left != seconds*each {
			t.Errorf("%d lines and %d left out of %d", lines, left, seconds*each)
		}
	})
}

// A line that is left out costs nothing, and neither does one that nobody wants.
func TestLinesThatAreLeftOutCostNothing(t *testing.T) {
	panics := guard.New(slog.New(slog.NewTextHandler(new(lockedBuffer), nil)), observe.NewMetrics(nil, operator.Version, jwks.Results()).CountPanic)
	a := &Authorizer{decisions: observe.NewLog(panics, false)}
	r, ctx := &request.Request{Method: "GET", Path: "/"}, t.Context()
	for name, d := range map[string]*decision.Decision{"left out": {Denial: reason.Deny(ReasonBadSignature)}, "allowed": {}} {
		for range 2 * observe.DeniedBurst {
			a.decisions.Tell(ctx, r, d)
		}
		if raceEnabled {
			continue
		}
		if allocations := testing.AllocsPerRun(20, func() { a.decisions.Tell(ctx, r, d) }); allocations > 0.5 {
			t.Errorf("%s: %v allocations", name, allocations)
		}
	}
}

// The cause of an outage that lasts is the latest one, since its beginning.
func TestPartTellsTheLatestCause(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		began := time.Now()
		state := part.State{Since: began}
		step := func(err error, want Part) {
			t.Helper()
			time.Sleep(time.Second)
			state.Note(err)
			want.Name = "part"
			if got := state.Part("part"); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		}
		at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
		step(fmt.Errorf("first"), Part{Since: at(1), Fault: "first"})
		step(fmt.Errorf("second"), Part{Since: at(1), Fault: "second"})
		step(nil, Part{OK: true, Since: at(3)})
		step(nil, Part{OK: true, Since: at(3)})
		step(fmt.Errorf("third"), Part{Since: at(5), Fault: "third"})
	})
}
