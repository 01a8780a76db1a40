package extauthz

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/reason"
)

// outageBound is how long a test that is not about availability asks again after a 503.
const outageBound = 2 * time.Minute

// isOutage tells whether a check got no verdict, as happens on a busy machine. An internal error or bad route settings
// are 503, too, and are told by asking once.
func isOutage(reason Reason) bool {
	switch reason {
	case ReasonDatabaseUnavailable, ReasonRedisUnavailable, ReasonJWKSUnavailable, ReasonTimeBudgetSpent, ReasonOverloaded, ReasonCancelled:
		return true
	}
	return false
}

// decided asks until there is a verdict and returns it. A 503 is nobody's verdict and nobody's identity: it is printed
// with its cause and asked again, and fails the test when it lasts. Tests that are about availability ask once, by
// checkToken.
func decided(t testing.TB, check func() (*authv3.CheckResponse, error)) *authv3.CheckResponse {
	t.Helper()
	for deadline := time.Now().Add(outageBound); ; time.Sleep(20 * time.Millisecond) {
		response, err := check()
		if err != nil {
			t.Error(err)
			return response
		}
		reason := reasonIn(response)
		switch {
		case !isOutage(reason):
			return response
		case time.Now().After(deadline):
			t.Errorf("no verdict within %s: %s; %s", outageBound, reason, outages.last())
			return response
		}
		t.Logf("503 %s, asked again; %s", reason, outages.last())
	}
}

// decidedByCheck is decided for one request that is asked of the Authorizer itself.
func decidedByCheck(t testing.TB, a *Authorizer, in *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	return decided(t, func() (*authv3.CheckResponse, error) { return a.Check(context.Background(), in) })
}

// expectToken checks a Bearer token until there is a verdict, and wants that reason; empty for an allow.
func expectToken(t testing.TB, a *Authorizer, token string, want Reason) {
	t.Helper()
	if got := reasonIn(decidedByCheck(t, a, bearerRequest(token))); got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
}

// judgeUntilDecided is judgeOne until there is a verdict.
func judgeUntilDecided(t *testing.T, a *Authorizer, text string, cookie bool) decision.Decision {
	t.Helper()
	pause := time.Millisecond // twice as long each time: many that ask again at once keep each other from an answer
	for deadline := time.Now().Add(outageBound); ; time.Sleep(pause) {
		pause = min(2*pause, 100*time.Millisecond)
		d := judgeOne(t, a, text, cookie)
		switch {
		case d.Denial == nil || !isOutage(d.Denial.Reason()):
			return d
		case time.Now().After(deadline):
			t.Errorf("no verdict within %s: %v", outageBound, d.Denial)
			return d
		case d.Denial.Reason() != ReasonOverloaded: // which a flood brings about on purpose
			t.Logf("503, asked again: %v", d.Denial)
		}
	}
}

func reasonIn(response *authv3.CheckResponse) Reason {
	return Reason(response.GetDynamicMetadata().GetFields()[checkwire.MetadataReason].GetStringValue())
}

// outages keeps the last warning of the Authorizers that have no Logger of their own: it says why a check was
// answered with 503.
var outages = &lastWarning{}

type lastWarning struct {
	mu   sync.Mutex
	text string
}

func (l *lastWarning) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text
}

func (l *lastWarning) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn
}

func (l *lastWarning) Handle(ctx context.Context, record slog.Record) error {
	var text bytes.Buffer
	err := slog.NewTextHandler(&text, nil).Handle(ctx, record)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = strings.TrimSpace(text.String())
	return err
}

func (l *lastWarning) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *lastWarning) WithGroup(string) slog.Handler      { return l }

// A check that got no verdict is asked again; a verdict and a fault of ours are not.
func TestDecidedAsksAgainAfterAnOutage(t *testing.T) {
	allowed := &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}}
	for _, row := range []struct {
		title   string
		answers []*authv3.CheckResponse
		asked   int
		want    Reason
	}{
		{"an allow", []*authv3.CheckResponse{allowed}, 1, ""},
		{"a refusal", []*authv3.CheckResponse{checkwire.DenyResponse(reason.Deny(ReasonUnknownSession)), allowed}, 1, ReasonUnknownSession},
		{"two outages and an allow", []*authv3.CheckResponse{checkwire.DenyResponse(reason.Deny(ReasonDatabaseUnavailable)),
			checkwire.DenyResponse(reason.Deny(ReasonTimeBudgetSpent)), allowed}, 3, ""},
		{"an internal error", []*authv3.CheckResponse{checkwire.DenyResponse(reason.Deny(ReasonInternalError)), allowed}, 1,
			ReasonInternalError},
	} {
		asked := 0
		got := decided(t, func() (*authv3.CheckResponse, error) { asked++; return row.answers[asked-1], nil })
		if asked != row.asked || reasonIn(got) != row.want {
			t.Errorf("%s: reason %q after %d questions, want %q after %d", row.title, reasonIn(got), asked, row.want, row.asked)
		}
	}
}
