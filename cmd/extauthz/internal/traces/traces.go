// Package traces makes the sender of spans that OpenTelemetry's own variables describe. It imports discreet alone and
// does not know what a span says.
package traces

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"

	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/extauthz/operator"
)

// EndTime bounds how long the last spans may take to be sent.
const EndTime = 2 * time.Second

// New makes the sender of spans that OpenTelemetry's own variables describe, or returns nil where these
// name nobody to send to. Its error is one line that names the variable and the fix.
func New(ctx context.Context, log *slog.Logger) (*trace.TracerProvider, error) {
	protocol, err := protocolOf(os.Getenv)
	if err != nil || protocol == "" {
		return nil, err
	}
	// What cannot be sent is told once a minute, and not for every batch of spans.
	otel.SetErrorHandler(&errorLog{log: log})
	var exporter *otlptrace.Exporter
	if protocol == "grpc" {
		exporter, err = otlptracegrpc.New(ctx, otlptracegrpc.WithDialOption(grpc.WithNoProxy()))
	} else {
		exporter, err = otlptracehttp.New(ctx,
			otlptracehttp.WithProxy(func(*http.Request) (*url.URL, error) { return nil, nil }))
	}
	if err != nil {
		return nil, fmt.Errorf("the OTEL_EXPORTER_OTLP_… variables cannot be used: %w", spanFault(err))
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "extauthz"),
			attribute.String("service.version", operator.Version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv()) // OTEL_SERVICE_NAME goes before ours
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES cannot be used: %w", err)
	}
	return trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(about)), nil
}

// protocolOf is how spans are sent: grpc, http/protobuf, or not at all when it is empty.
func protocolOf(getenv func(string) string) (string, error) {
	first := func(names ...string) (name, value string) {
		for _, name = range names {
			if value = getenv(name); value != "" {
				return name, value
			}
		}
		return name, ""
	}
	exporter := getenv("OTEL_TRACES_EXPORTER")
	endpointName, endpoint := first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
	switch {
	case getenv("OTEL_SDK_DISABLED") == "true" || exporter == "none" || exporter == "" && endpoint == "":
		return "", nil
	case exporter != "" && exporter != "otlp":
		return "", fmt.Errorf("OTEL_TRACES_EXPORTER is %q; write otlp or none", exporter)
	}
	if parsed, err := url.Parse(endpoint); endpoint != "" &&
		(err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" || parsed.User != nil) {
		return "", fmt.Errorf("%s is not a URL of a collector; write one like http://127.0.0.1:4317", endpointName)
	}
	name, protocol := first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
	switch protocol {
	case "":
		return "http/protobuf", nil // the specification's default
	case "grpc", "http/protobuf":
		return protocol, nil
	}
	return "", fmt.Errorf("%s is %q; write grpc or http/protobuf", name, protocol)
}

// End sends what is left, within traceEnd where the exporter heeds its context.
func End(provider *trace.TracerProvider, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), EndTime)
	defer cancel()
	if err := provider.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		log.Warn("the last spans were not sent", "error", spanFault(err))
	}
}

// errorLog logs what OpenTelemetry's library complains about, at most once a minute.
type errorLog struct {
	log  *slog.Logger
	mu   sync.Mutex
	last time.Time
}

// Handle implements [otel.ErrorHandler].
func (e *errorLog) Handle(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.last) > time.Minute {
		e.last = time.Now()
		e.log.Warn("spans cannot be sent", "error", spanFault(err))
	}
}

// spanFault is an error of OpenTelemetry's library, which may show the collector's URL with a key in its query.
func spanFault(err error) error {
	return errors.New(discreet.URLs(discreet.Message(err.Error())))
}
