package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"extauthz/cmd/extauthz/internal/commandtest"
)

// Spans reach a collector by OTLP over HTTP, the default, the last of them at the end; a collector that is down harms no check.
func TestTracesOverHTTP(t *testing.T) {
	var (
		mu    sync.Mutex
		spans []*tracepb.Span
	)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var in collectorpb.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(body, &in) != nil || r.URL.Path != "/v1/traces" {
			http.Error(w, "not understood", http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, resource := range in.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				spans = append(spans, scope.Spans...)
			}
		}
	}))
	defer collector.Close()
	jwks, issue := newIssuer(t)
	for _, row := range []struct {
		endpoint string
		want     int
	}{{collector.URL, 20}, {"http://127.0.0.1:" + commandtest.ClosedPort(t), 0}} {
		checks, admin, stop := startServe(t, map[string]string{"BETTER_AUTH_URL": issuer, "API_AUDIENCE": audience, "JWKS_URL": jwks.URL,
			"OTEL_EXPORTER_OTLP_ENDPOINT": row.endpoint, "EXTAUTHZ_LISTEN": "127.0.0.1:" + commandtest.ClosedPort(t)})
		commandtest.Eventually(t, "readiness", func() bool { return get(admin+"/readyz") == 200 })
		token := issue(map[string]any{"iss": issuer, "aud": audience, "sub": "user-1", "exp": time.Now().Unix() + 60})
		for range 20 {
			response, err := decided(t, checks, token)
			if err != nil || response.GetOkResponse() == nil {
				t.Fatalf("%v %v, want an allow", response, err)
			}
		}
		if code := stop(); code != exitOK {
			t.Errorf("exit status %d", code)
		}
		mu.Lock()
		if len(spans) != row.want {
			t.Errorf("%d spans, want %d", len(spans), row.want)
		}
		spans = nil
		mu.Unlock()
	}
}
