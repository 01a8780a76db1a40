package extauthz

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/protobuf/proto"

	"extauthz/extauthz/internal/session"
)

// kept is all that outlives a check: what a log, an audit, a trace and a store of sessions hold on to, as they were given.
type kept struct {
	mu      sync.Mutex
	texts   []string
	records []slog.Record
}

func (k *kept) Enabled(context.Context, slog.Level) bool { return true }
func (k *kept) WithAttrs([]slog.Attr) slog.Handler       { return k }
func (k *kept) WithGroup(string) slog.Handler            { return k }

func (k *kept) Handle(_ context.Context, record slog.Record) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.records = append(k.records, record)
	return nil
}

func (k *kept) add(texts ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.texts = append(k.texts, texts...)
}

// Session keeps what is asked for, as a query does that is still under way.
func (k *kept) Session(_ context.Context, token string) (*session.Row, error) {
	k.add(token)
	return nil, nil
}

// written is all of it as it reads now, in memory of its own.
func (k *kept) written() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all strings.Builder
	for _, text := range k.texts {
		all.WriteString(text + "\n")
	}
	for _, record := range k.records {
		record.Attrs(func(a slog.Attr) bool {
			all.WriteString(a.String() + "\n")
			return true
		})
	}
	return all.String()
}

// spansOf is what spans say, as it reads now.
func spansOf(spans []sdktrace.ReadOnlySpan) string {
	var all strings.Builder
	for _, span := range spans {
		fmt.Fprintln(&all, span.Name(), span.Parent().TraceState().String(), span.Attributes(), span.Status().Description)
	}
	return all.String()
}

// A check's texts lie in its message, whose memory is used again. Whatever outlives the check reads the same when it is.
func TestNothingOutlivesItsMessage(t *testing.T) {
	keeping := new(kept)
	recorder, provider := newRecorder(t)
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), Logger: slog.New(keeping),
		Shadow: ShadowReport, TracerProvider: provider, Audit: func(r AuditRecord) {
			keeping.add(r.Subject, r.Method, r.Host, r.Path, r.RequestID, r.Client, string(r.Reason))
		}})
	a.only().issuer.Sessions = keeping
	checks := 0
	for _, row := range verdictTable() {
		for _, request := range wire {
			more := []header{{"x-request-id", "request-" + row.title}, {"x-user-role", "admin"},
				{"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, {"tracestate", "vendor=" + strings.Repeat("a", checks%50)}}
			message, err := proto.Marshal(request(row.method, slices.Concat(row.headers, more)))
			if err != nil {
				t.Fatal(err)
			}
			c := new(call)
			c.message.Bytes = bytes.Clone(message)
			if denial := c.read(false); denial != nil {
				t.Fatal(denial)
			}
			d := a.decide(t.Context(), &c.request)
			answer := a.answerTo(&c.request, &d)
			response := a.shadowResponse(&c.request, &d)
			removed := strings.Clone(strings.Join(response.GetOkResponse().GetHeadersToRemove(), ","))
			before, encoded := keeping.written()+spansOf(recorder.Ended()), bytes.Clone(answer.Encoded)
			for i := range c.message.Bytes {
				c.message.Bytes[i] = '#'
			}
			if after := keeping.written() + spansOf(recorder.Ended()); after != before {
				t.Fatalf("%s: what outlived it changed:\n%s\nit was\n%s", row.title, after, before)
			}
			if !bytes.Equal(answer.Encoded, encoded) {
				t.Fatalf("%s: its answer changed", row.title)
			}
			if again := strings.Join(response.GetOkResponse().GetHeadersToRemove(), ","); again != removed {
				t.Fatalf("%s: the headers that shadow mode removes changed: %s, they were %s", row.title, again, removed)
			}
			checks++
		}
	}
	if checks < 100 || len(keeping.texts) < checks || len(recorder.Ended()) < checks {
		t.Errorf("%d checks, %d texts, %d spans", checks, len(keeping.texts), len(recorder.Ended()))
	}
}
