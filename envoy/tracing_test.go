package envoy

import (
	"context"
	"encoding/hex"
	"net"
	"sync"
	"testing"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// collector takes spans by OTLP over gRPC, as an OpenTelemetry collector does.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	address string
	port    int

	mu    sync.Mutex
	spans map[string][]*tracepb.Span // by service.name
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{address: listener.Addr().String(), port: listener.Addr().(*net.TCPAddr).Port, spans: map[string][]*tracepb.Span{}}
	server := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, c)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return c
}

// Export implements OTLP's TraceService.
func (c *collector) Export(_ context.Context, in *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range in.ResourceSpans {
		service := ""
		for _, a := range resource.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		for _, scope := range resource.ScopeSpans {
			c.spans[service] = append(c.spans[service], scope.Spans...)
		}
	}
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

// find returns the span of that service and name in a trace, nil when it has not come.
func (c *collector) find(service, name, trace string) *tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, span := range c.spans[service] {
		if (name == "" || span.Name == name) && hex.EncodeToString(span.TraceId) == trace {
			return span
		}
	}
	return nil
}

// spanOf returns the span with that id.
func (c *collector) spanOf(id []byte) *tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, spans := range c.spans {
		for _, span := range spans {
			if string(span.SpanId) == string(id) {
				return span
			}
		}
	}
	return nil
}

// One trace holds the client's span, Envoy's of the request and of its call, extauthz's of the check and, below it, the query.
func TestTracingSample(t *testing.T) {
	t.Parallel()
	for _, version := range envoyVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			m := startMesh(t, version, "tracing.yaml")
			p := m.signUp(t, "Zoë Day")
			const trace = "0af7651916cd43dd8448eb211c80319c"
			header := bearer(p.raw)
			header["Traceparent"] = "00-" + trace + "-b7ad6b7169203331-01"
			if a := m.get(t, "/api/me", header); a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			c := m.collector
			eventually(t, "the spans", func() bool {
				check := c.find("extauthz", "check", trace)
				return check != nil && c.find("extauthz", "SELECT session", trace) != nil && c.spanOf(check.ParentSpanId) != nil
			})
			check, query := c.find("extauthz", "check", trace), c.find("extauthz", "SELECT session", trace)
			if string(query.ParentSpanId) != string(check.SpanId) {
				t.Error("the query's span is not below the check's")
			}
			if call := c.spanOf(check.ParentSpanId); call.Kind != tracepb.Span_SPAN_KIND_CLIENT || hex.EncodeToString(call.TraceId) != trace {
				t.Errorf("the check's span is below %v, want Envoy's of its call", call)
			}
			attributes := map[string]string{}
			for _, a := range check.Attributes {
				attributes[a.Key] = a.Value.GetStringValue()
			}
			if attributes["extauthz.outcome"] != "allow" || attributes["extauthz.method"] != "session" {
				t.Errorf("%v", attributes)
			}

			// Envoy's choice not to sample is followed.
			const unsampled = "11111111111111111111111111111111"
			header["Traceparent"] = "00-" + unsampled + "-b7ad6b7169203331-00"
			m.get(t, "/api/me", header)
			const later = "22222222222222222222222222222222"
			header["Traceparent"] = "00-" + later + "-b7ad6b7169203331-01"
			m.get(t, "/api/me", header)
			eventually(t, "a later span", func() bool { return c.find("extauthz", "check", later) != nil })
			if c.find("extauthz", "check", unsampled) != nil {
				t.Error("a span of a trace that is not sampled")
			}
		})
	}
}
