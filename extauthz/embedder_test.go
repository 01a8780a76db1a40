package extauthz

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/google/go-cmp/cmp"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/intake"
	"extauthz/extauthz/internal/reason"
)

// embedded is a configuration that is whole.
func embedded() Config {
	return Config{Issuer: testIssuer, Audiences: []string{testAudience}, Now: fixedClock, Logger: slog.New(slog.DiscardHandler)}
}

// expectGoroutines waits until there are no more goroutines than before.
func expectGoroutines(t *testing.T, before int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			all := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, before %d:\n%s", runtime.NumGoroutine(), before, all[:runtime.Stack(all, true)])
		}
	}
}

// Each fault of a field is told under the field's own name, and leaves nothing behind.
func TestEachFieldsFaultNamesIt(t *testing.T) {
	var (
		noRegistry *prometheus.Registry
		noTracer   *noop.TracerProvider
	)
	for _, row := range []struct {
		field, title string
		change       func(*Config)
	}{
		{"Issuer", "empty", func(c *Config) { c.Issuer = "" }},
		{"Issuer", "without a scheme", func(c *Config) { c.Issuer = "app.example.com" }},
		{"Issuer", "that cannot be one, beside a JWKSURL", func(c *Config) { c.Issuer, c.JWKSURL = "ftp://a", "https://a.example.com/jwks" }},
		{"Issuers", "with an empty entry", func(c *Config) { c.Issuers = []string{testIssuer, ""} }},
		{"JWKSURL", "relative", func(c *Config) { c.JWKSURL = "/jwks" }},
		{"JWKSURL", "without a host", func(c *Config) { c.JWKSURL = "https://" }},
		{"JWKSProxy", "that is none", func(c *Config) { c.JWKSProxy = "nowhere" }},
		{"JWKSProxy", "beside a Client", func(c *Config) { c.JWKSProxy, c.Client = "http://proxy:3128", http.DefaultClient }},
		{"TrustedOrigins", "without a scheme", func(c *Config) { c.TrustedOrigins = []string{"app example"} }},
		{"RequireSignature", "without a secret", func(c *Config) { c.RequireSignature = true }},
		{"Audiences", "none", func(c *Config) { c.Audiences = nil }},
		{"Audiences", "with an empty entry", func(c *Config) { c.Audiences = []string{testAudience, " "} }},
		{"DatabaseURL", "of another database", func(c *Config) { c.DatabaseURL = "mysql://u:s3cret@db/app" }},
		{"DatabaseURL", "with a port that is none", func(c *Config) { c.DatabaseURL = "postgresql://u:s3cret@db:port/app" }},
		{"ReadDatabaseURL", "alone", func(c *Config) { c.ReadDatabaseURL = func() (string, error) { return "postgresql://db/app", nil } }},
		{"DatabaseConnections", "negative", func(c *Config) { c.DatabaseConnections = -1 }},
		{"DatabaseConnections", "more than 32 bits hold", func(c *Config) { c.DatabaseConnections = math.MaxInt }},
		{"DatabaseMaxLag", "negative", func(c *Config) { c.DatabaseMaxLag = -time.Second }},
		{"Schema", "with an unknown session field", func(c *Config) { c.Schema.SessionColumns = map[string]string{"sessionToken": "t"} }},
		{"Schema", "with an unknown user field", func(c *Config) { c.Schema.UserColumns = map[string]string{"mail": "m"} }},
		{"MaxMessageBytes", "negative", func(c *Config) { c.MaxMessageBytes = -1 }},
		{"MaxMessageBytes", "more than gRPC frames", func(c *Config) { c.MaxMessageBytes = 1 << 33 }},
		{"Shadow", "unknown", func(c *Config) { c.Shadow = 4 }},
		{"SessionCookie", "with its prefix", func(c *Config) { c.SessionCookie = "__Secure-better-auth.session_token" }},
		{"SessionCookie", "with a semicolon", func(c *Config) { c.SessionCookie = "a;b" }},
		{"SessionCookie", "with an equals sign", func(c *Config) { c.SessionCookie = "a=b" }},
		{"SessionCookie", "with a space", func(c *Config) { c.SessionCookie = " " }},
		{"SessionCookie", "with a line break", func(c *Config) { c.SessionCookie = "a\r\nb" }},
		{"SessionCookie", "with an umlaut", func(c *Config) { c.SessionCookie = "größe" }},
		{"KeepHeaders", "that say who the user is", func(c *Config) { c.KeepHeaders = []string{"X-User-Id"} }},
		{"AuditAllowRate", "not a number", func(c *Config) { c.AuditAllowRate = math.NaN() }},
		{"AuditAllowRate", "in per cent", func(c *Config) { c.AuditAllowRate = 50 }},
		{"AuditAllowRate", "infinite", func(c *Config) { c.AuditAllowRate = math.Inf(1) }},
		{"Metrics", "a nil registry", func(c *Config) { c.Metrics = noRegistry }},
		{"TracerProvider", "a nil provider", func(c *Config) { c.TracerProvider = noTracer }},
	} {
		t.Run(row.field+" "+row.title, func(t *testing.T) {
			before, registry := runtime.NumGoroutine(), prometheus.NewRegistry()
			config := embedded()
			config.Metrics = registry
			row.change(&config)
			a, err := New(config)
			fault, isFault := errors.AsType[*ConfigError](err)
			if a != nil || !isFault || fault.Field != row.field || strings.Contains(err.Error(), "s3cret") || !strings.ContainsAny(fault.Fault, ";") {
				t.Fatalf("%v, want a fault of %s that says what to do", err, row.field)
			}
			if families, err := registry.Gather(); err != nil || len(families) > 0 {
				t.Errorf("metrics of an Authorizer that is none: %v %v", families, err)
			}
			expectGoroutines(t, before)
		})
	}
}

// New after a failed New, a second one on one registry, and another after Close.
func TestOneRegistry(t *testing.T) {
	before, registry := runtime.NumGoroutine(), prometheus.NewRegistry()
	config := embedded()
	config.Metrics, config.DatabaseURL = registry, "postgresql://nobody@127.0.0.1:1/none"
	broken := config
	broken.DatabaseURL = "mysql://db"
	if _, err := New(broken); err == nil {
		t.Fatal("a broken configuration made an Authorizer")
	}
	first, err := New(config)
	if err != nil {
		t.Fatalf("after one that failed: %v", err)
	}
	families := len(gather(t, registry))
	_, err = New(config)
	if fault, ok := errors.AsType[*ConfigError](err); !ok || fault.Field != "Metrics" || !strings.Contains(fault.Fault, "close that one first") {
		t.Errorf("a second one on the registry: %v", err)
	}
	if now := len(gather(t, registry)); now != families {
		t.Errorf("%d metrics, before the second one %d", now, families)
	}
	// What stands in the way may be the embedder's own, too.
	other := prometheus.NewRegistry()
	other.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "extauthz_jwks_keys", Help: "Another's."}))
	clash := config
	clash.Metrics = other
	if _, err = New(clash); err == nil || len(gather(t, other)) != 1 {
		t.Errorf("beside another metric of the name: %v", err)
	}
	first.Close()
	if left := gather(t, registry); len(left) != 0 {
		t.Errorf("after Close there is %v", left)
	}
	var others []*Authorizer
	registry = prometheus.NewRegistry()
	for _, tenant := range []string{"a", "b"} {
		labelled := config
		labelled.Metrics = prometheus.WrapRegistererWith(prometheus.Labels{"tenant": tenant}, registry)
		one, err := New(labelled)
		if err != nil {
			t.Fatalf("with a label of its own: %v", err)
		}
		others = append(others, one)
	}
	if now := len(gather(t, registry)); now != families {
		t.Errorf("%d metrics under a label, %d without", now, families)
	}
	for _, other := range others {
		other.Close()
	}
	config.Metrics = prometheus.NewRegistry()
	third, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	third.Close()
	if fourth, err := New(config); err != nil {
		t.Errorf("after Close: %v", err)
	} else {
		fourth.Close()
	}
	expectGoroutines(t, before)
}

// Close ends an Authorizer in each of its states, as often as it is called; nothing of it is left, and nobody passes.
func TestClose(t *testing.T) {
	url, database := serveKeys(t, testKeys()).URL, sessionsDatabase(t)
	good := bearerRequest(signers()["ed"].issue(goodClaims(nil)))
	for title, run := range map[string]func(*Authorizer) (ended chan struct{}){
		"never run": nil,
		"run": func(a *Authorizer) chan struct{} {
			ended := make(chan struct{})
			go func() { a.Run(context.Background()); close(ended) }()
			for len(a.Missing()) > 0 {
				time.Sleep(time.Millisecond)
			}
			return ended
		},
		"run to its end": func(a *Authorizer) chan struct{} {
			ctx, stop := context.WithCancel(context.Background())
			stop()
			a.Run(ctx)
			return nil
		},
	} {
		t.Run(title, func(t *testing.T) {
			http.DefaultClient.CloseIdleConnections()
			before := runtime.NumGoroutine()
			config := embedded()
			config.JWKSURL, config.DatabaseURL, config.budget, config.Metrics = url, database, time.Minute, prometheus.NewRegistry()
			a, err := New(config)
			if err != nil {
				t.Fatal(err)
			}
			var ended chan struct{}
			if run != nil {
				ended = run(a)
			}
			if title == "run" {
				response, err := a.Check(t.Context(), good)
				if err != nil || response.GetOkResponse() == nil {
					t.Fatalf("%v %v", response, err)
				}
			}
			var closing sync.WaitGroup
			for range 4 {
				closing.Go(a.Close)
			}
			closing.Wait()
			if ended != nil {
				select {
				case <-ended:
				default:
					t.Error("Close came back before Run ended")
				}
			}
			response, err := a.Check(t.Context(), good)
			if err != nil {
				t.Fatal(err)
			}
			expectDenial(t, response, ReasonClosed)
			a.Run(t.Context()) // comes back
			expectGoroutines(t, before)
		})
	}
}

// What a denial's holder does to it, or an interceptor to an answer, changes no other answer.
func TestDenialsAndAnswersAreTheirHoldersOwn(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL})
	spoil := func(denial *Denial) { *denial = Denial{} } // it has no field of its own to change
	explanation := a.Explain(t.Context(), Bearer(signers()["stranger"].issue(goodClaims(nil))))
	spoil(explanation.Denial)
	for _, step := range explanation.Steps {
		if step.Denial != nil {
			if step.Denial.Reason() == ReasonInternalError {
				t.Errorf("the step %s shares the answer's denial", step.Name)
			}
			spoil(step.Denial)
		}
	}
	spoil(a.Explain(t.Context(), Bearer("no.token")).Denial)
	facts := reason.Facts()
	for i := range facts {
		facts[i].Status = 200
	}
	meddling := grpc.UnaryInterceptor(func(ctx context.Context, in any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		response, err := handler(ctx, in)
		if made, ok := response.(*authv3.CheckResponse); ok {
			made.GetDeniedResponse().Body = made.GetDeniedResponse().GetBody() + " "
			made.GetDeniedResponse().Headers = nil
			made.Status.Code = 0
		}
		return response, err
	})
	if _, err := dialAuthorizer(t, a, meddling).Check(t.Context(), bearerRequest("no.token")); err != nil {
		t.Fatal(err)
	}
	for _, client := range []authv3.AuthorizationClient{dialAuthorizer(t, a), dialAuthorizer(t, a, passing), dial(t, serveAuthorizer(t, a))} {
		for token, reason := range map[string]Reason{"no.token": ReasonMalformedCredential, signers()["stranger"].issue(goodClaims(nil)): ReasonBadSignature} {
			response, err := client.Check(t.Context(), bearerRequest(token))
			if err != nil {
				t.Fatal(err)
			}
			expectDenial(t, response, reason)
		}
	}
	if fresh := reason.Facts(); fresh[0].Status == 200 {
		t.Error("the table was changed")
	}
}

// What the embedder does to the slices of a Config after New changes nothing.
func TestConfigIsCopied(t *testing.T) {
	config := embedded()
	config.JWKSURL, config.Secret = serveKeys(t, testKeys()).URL, []byte(testSecret)
	config.Issuers = []string{testIssuer}
	a := startAuthorizer(t, config)
	config.Audiences[0], config.Issuers[0] = "https://another.example.com", "https://another.example.com"
	clear(config.Secret)
	for _, token := range []string{signers()["ed"].issue(goodClaims(nil)), hs256(goodClaims(nil))} {
		response, err := a.Check(t.Context(), bearerRequest(token))
		if err != nil || response.GetOkResponse() == nil {
			t.Errorf("%v %v", response, err)
		}
	}
}

// On a server that was made without ServerOptions every row of the verdict table gets its answer.
func TestServerWithoutOptions(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t)})
	client := dial(t, serveAuthorizer(t, a))
	for _, row := range verdictTable() {
		in := wire["headers"](row.method, row.headers)
		want, err := a.Check(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.Check(t.Context(), in)
		if err != nil {
			t.Fatalf("%s/%s: %v", row.reason, row.title, err)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.SortRepeated(func(a, b string) bool { return a < b })); diff != "" {
			t.Errorf("%s/%s:\n%s", row.reason, row.title, diff)
		}
	}
}

// panicking is a log handler, a writer or whatever else an embedder may bring.
type panicking struct{ slog.Handler }

func (panicking) Handle(context.Context, slog.Record) error { panic("the log") }

// A panic on a check's way, wherever it is, is a refusal; the process lives, and the next check is answered.
func TestPanicsAreRefusals(t *testing.T) {
	bad := bearerRequest(signers()["stranger"].issue(goodClaims(nil)))
	for title, row := range map[string]struct {
		config  func(*Config)
		spoil   func(*Authorizer)
		options []grpc.ServerOption
	}{
		"the log":   {config: func(c *Config) { c.Logger = slog.New(panicking{slog.NewTextHandler(io.Discard, nil)}) }},
		"the audit": {config: func(c *Config) { c.Audit = func(AuditRecord) { panic("the audit") } }},
		"the clock": {spoil: func(a *Authorizer) {
			a.only().issuer.Now = func() time.Time { panic("the clock") }
			a.only().issuer.SetVerifier(identity.MethodJWKS, verifierFunc(func(context.Context, credential.Credential) (Identity, error) {
				a.only().issuer.Now()
				return Identity{}, nil
			}))
		}},
		"an interceptor": {options: []grpc.ServerOption{grpc.UnaryInterceptor(
			func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
				panic("an interceptor")
			})}},
		"an interceptor that passes something else on": {options: []grpc.ServerOption{grpc.UnaryInterceptor(
			func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
				return handler(ctx, nil)
			})}},
		"a response that cannot be encoded": {options: []grpc.ServerOption{grpc.UnaryInterceptor(
			func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
				return &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{Body: "\xff"}}}, nil
			})}},
		"the answer's encoding": {spoil: func(a *Authorizer) {
			a.only().issuer.SetVerifier(identity.MethodJWKS, verifierFunc(func(context.Context, credential.Credential) (Identity, error) { return Identity{}, nil }))
			a.kept = keptHeaders{}
			a.metrics.Allowed[identity.MethodJWKS] = nil
		}},
	} {
		for serverTitle, options := range map[string][]grpc.ServerOption{"our options": ServerOptions(), "no options": nil} {
			t.Run(title+", "+serverTitle, func(t *testing.T) {
				config := Config{JWKSURL: serveKeys(t, testKeys()).URL}
				if row.config != nil {
					row.config(&config)
				}
				a := startAuthorizer(t, config)
				if row.spoil != nil {
					row.spoil(a)
				}
				client := dial(t, serveAuthorizer(t, a, append(slices.Clone(options), row.options...)...))
				for range 3 {
					response, err := client.Check(t.Context(), bad)
					if err != nil || response.GetDeniedResponse() == nil {
						t.Fatalf("%v %v, want a denial", response, err)
					}
				}
				response, err := a.Check(t.Context(), bad)
				if err != nil || row.options == nil && response.GetDeniedResponse() == nil {
					t.Errorf("by Check: %v %v, want a denial", response, err)
				}
			})
		}
	}
}

// What is kept of a check for the next one holds nothing of its message, and little memory.
func TestKeptCallsHoldNoMessages(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var kept []*call
	before := heapInUse()
	const megabyte = 1 << 20
	for i := range 64 {
		headers := []header{{"x-user-id", "a"}, {"origin", strings.Repeat("o", megabyte)}, {"sec-fetch-site", "none"}, {"cookie", strings.Repeat("c", megabyte)}}
		message := marshal(t, wire["header_map"]("GET", append(headers, bearer(strings.Repeat("t", megabyte))...)))
		c := &call{message: intake.Hold(message)}
		if denial := c.read(i%2 == 0); denial != nil {
			t.Fatal(denial)
		}
		c.release()
		kept = append(kept, c)
	}
	for i := range 64 {
		list := bearer("a")
		for range 900 {
			list = append(list, header{"x-user-id", "a"}, header{"cookie", "b"})
		}
		c := &call{message: intake.Hold(marshal(t, wire["header_map"]("GET", list)))}
		if denial := c.read(i%2 == 0); denial != nil {
			t.Fatal(denial)
		}
		c.release()
		kept = append(kept, c)
	}
	if held := heapInUse() - before; held > int64(len(kept))*intake.MaxKeptMessage+2*megabyte {
		t.Errorf("%d KiB are held by %d kept calls", held>>10, len(kept))
	}
	runtime.KeepAlive(kept)
}
