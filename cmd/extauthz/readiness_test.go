package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"extauthz/cmd/extauthz/internal/commandtest"
	"extauthz/envoy/parts"
)

const liveSession = "a-live-sessions-token-of-32-chars"

// newPostgres starts a server that ends with the test.
func newPostgres(t *testing.T) *parts.Postgres {
	t.Helper()
	installer, err := parts.NewInstaller(t.Output())
	if err != nil {
		t.Fatal(err)
	}
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	path, err := os.MkdirTemp("", "extauthz-") // PostgreSQL's own user must be able to enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(path) })
	server, err := installer.StartPostgres(t.Context(), path, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	return server
}

// newSessions is a PostgreSQL with one live session.
func newSessions(t *testing.T) (url string) {
	t.Helper()
	server := newPostgres(t)
	var err error
	if url, err = server.CreateDatabase(t.Context(), "app"); err != nil {
		t.Fatal(err)
	}
	connection, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(t.Context())
	for _, statement := range []string{
		`create table "user" (id text primary key, name text not null, email text not null unique)`,
		`create table session (id text primary key, "expiresAt" timestamptz not null, token text not null unique,
			"userId" text not null references "user")`,
		`insert into "user" values ('u', 'Zoë', 'zoe@example.com')`,
		`insert into session values ('s', now() + interval '1 hour', '` + liveSession + `', 'u')`,
	} {
		if _, err := connection.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	return url
}

// readyzOf is what /readyz says, all of its first line.
func readyzOf(t *testing.T, admin string) (status int, line string) {
	t.Helper()
	response, err := http.Get("http://" + admin + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSpace(string(body))
}

// With a part down the server is ready as EXTAUTHZ_READY says, on every channel alike, answers what it can, and answers
// the rest with 503.
func TestReadyWithoutAPart(t *testing.T) {
	t.Parallel()
	const (
		withoutDatabase = "ready, without database: checks that need it get 503"
		withoutJWKS     = "ready, without jwks: checks that need it get 503"
	)
	database := newSessions(t)
	jwks, issue := newIssuer(t)
	jwt := issue(map[string]any{"iss": issuer, "aud": audience, "sub": "user-1", "exp": time.Now().Unix() + 3600})
	for _, row := range []struct {
		title          string
		jwks, database bool   // up
		after          string // EXTAUTHZ_READY; empty for the default
		ready          bool
		says           string
	}{
		{"both up", true, true, "all", true, "ready"},
		{"the database down, all", true, false, "all", false, "not ready: waiting for database"},
		{"the database down, a long wait", true, false, "24h", false, "not ready: waiting for database"},
		{"the database down, any", true, false, "any", true, withoutDatabase},
		{"the database down, a short wait", true, false, "1s", true, withoutDatabase},
		{"the database down, by default", true, false, "", true, withoutDatabase},
		{"the JWKS down, all", false, true, "all", false, "not ready: waiting for jwks"},
		{"the JWKS down, any", false, true, "any", true, withoutJWKS},
		{"the JWKS down, a short wait", false, true, "1s", true, withoutJWKS},
		{"both down, any", false, false, "any", false, "not ready: waiting for jwks, database"},
		{"both down, no wait", false, false, "0s", false, "not ready: waiting for jwks, database"},
	} {
		t.Run(row.title, func(t *testing.T) {
			t.Parallel()
			environment := []string{"BETTER_AUTH_URL=" + issuer, "API_AUDIENCE=" + audience,
				"EXTAUTHZ_ADMIN_PAGE=true", "EXTAUTHZ_READY=" + row.after}
			down := "127.0.0.1:" + commandtest.ClosedPort(t)
			if environment = append(environment, "JWKS_URL="+jwks.URL, "DATABASE_URL="+database); !row.jwks {
				environment = append(environment, "JWKS_URL=http://"+down)
			}
			if !row.database {
				environment = append(environment, "DATABASE_URL=postgresql://reader@"+down+"/app")
			}
			p := startUnready(t, environment...)
			last := ""
			await := func(what string, is func() bool) { // longer than the default's 30 s
				t.Helper()
				for deadline := time.Now().Add(2 * time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatalf("waited in vain for %s; last %q", what, last)
					}
				}
			}
			await(row.says, func() bool { _, last = readyzOf(t, p.admin); return last == row.says })

			status := map[bool]int{true: 200, false: 503}
			if got, _ := readyzOf(t, p.admin); got != status[row.ready] {
				t.Errorf("/readyz gives %d", got)
			}
			connection, err := grpc.NewClient(p.target, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close()
			serving := map[bool]healthpb.HealthCheckResponse_ServingStatus{
				true: healthpb.HealthCheckResponse_SERVING, false: healthpb.HealthCheckResponse_NOT_SERVING}
			for _, service := range []string{"", authv3.Authorization_ServiceDesc.ServiceName} {
				if got := healthOf(t, connection, service); got != serving[row.ready] {
					t.Errorf("gRPC health of %q is %s", service, got)
				}
			}
			var said bytes.Buffer
			command := p.command(t, "health", "--timeout", "20s")
			command.Env, command.Stdout, command.Stderr = []string{"EXTAUTHZ_ADMIN_LISTEN=" + p.admin, endAtOnce}, &said, &said
			command.Run()
			want := map[bool]int{true: exitOK, false: exitDeny}[row.ready]
			if command.ProcessState.ExitCode() != want || !strings.Contains(said.String(), row.says) {
				t.Errorf("extauthz health: exit status %d, %s", command.ProcessState.ExitCode(), said.String())
			}
			response, err := http.Get("http://" + p.admin + "/")
			if err != nil {
				t.Fatal(err)
			}
			page, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil || strings.Contains(string(page), "Not ready") == row.ready {
				t.Errorf("the admin page: %v, not ready: %t", err, strings.Contains(string(page), "Not ready"))
			}

			// What is not known is 503, ready or not.
			for _, of := range []struct {
				what, token string
				isUp        bool
			}{{"a JWT", jwt, row.jwks}, {"a session", liveSession, row.database}} {
				if of.isUp {
					if answer, err := decided(t, connection, of.token); err != nil || answer.GetOkResponse() == nil {
						t.Errorf("%s: %v %v", of.what, answer, err)
					}
					continue
				}
				answer, err := p.checks.Check(t.Context(), checkOf(of.token))
				if err != nil || answer.GetDeniedResponse().GetStatus().GetCode() != typev3.StatusCode_ServiceUnavailable {
					t.Errorf("%s, whose part is down: %v %v", of.what, answer, err)
				}
			}
		})
	}
}

// A part that answers later is told, and nothing is said twice.
func TestReadyTellsTheLastPart(t *testing.T) {
	database := newSessions(t)
	jwks, _ := newIssuer(t)
	port := commandtest.ClosedPort(t)
	p := startUnready(t, "BETTER_AUTH_URL="+issuer, "JWKS_URL=http://127.0.0.1:"+port, "DATABASE_URL="+database, "EXTAUTHZ_READY=any")
	commandtest.Eventually(t, "readiness", func() bool { return get(p.admin+"/readyz") == 200 })
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	late := &http.Server{Handler: jwks.Config.Handler}
	go late.Serve(listener)
	defer late.Close()
	commandtest.Eventually(t, "the JWKS", func() bool { _, line := readyzOf(t, p.admin); return line == "ready" })
	commandtest.Eventually(t, "its line in the log", func() bool { return strings.Contains(p.log.String(), `"msg":"ready"`) })
	if count := strings.Count(p.log.String(), "ready, but not every part has answered"); count != 1 {
		t.Errorf("told %d times that a part is missing", count)
	}
}
