package extauthz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"extauthz/envoy/parts"
	"extauthz/extauthz/internal/decide"
	"extauthz/extauthz/internal/keyset/jwks"
	"extauthz/extauthz/internal/observe"
	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/session/postgres"
	"extauthz/extauthz/operator"
)

// checkToken decides a Bearer token and returns the reason, empty when allowed.
func checkToken(t testing.TB, a *Authorizer, token string) Reason {
	t.Helper()
	response, err := a.Check(context.Background(), bearerRequest(token))
	if err != nil {
		t.Error(err)
	}
	return Reason(response.GetDynamicMetadata().GetFields()["reason"].GetStringValue())
}

func insertSessions(t testing.TB, url string, count int) []string {
	t.Helper()
	execute(t, url, `insert into "user" ("id", "name", "email", "emailVerified") values ('many', 'Many', 'many@example.com', true) on conflict do nothing`,
		fmt.Sprintf(`insert into "session" ("id", "expiresAt", "token", "updatedAt", "userId") select 'm' || i, to_timestamp(%d), 'many-' || i, now(), 'many' from generate_series(1, %d) i`, in(3600), count))
	tokens := make([]string, count)
	for i := range tokens {
		tokens[i] = fmt.Sprintf("many-%d", i+1)
	}
	return tokens
}

// A session that was deleted before the check arrived is not allowed, however many checks share queries.
func TestDeletedSessionIsRefusedAtOnce(t *testing.T) {
	dsn := sessionsDatabase(t)
	tokens := insertSessions(t, dsn, 100)
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var load sync.WaitGroup
	for range 16 {
		load.Go(func() {
			for ctx.Err() == nil {
				checkToken(t, a, liveToken)
			}
		})
	}
	connection, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(t.Context())
	for _, token := range tokens {
		expectToken(t, a, token, "")
		if _, err := connection.Exec(t.Context(), `delete from "session" where "token" = $1`, token); err != nil {
			t.Fatal(err)
		}
		expectToken(t, a, token, ReasonUnknownSession)
	}
	cancel()
	load.Wait()
}

// Checks that wait together share a query, and each gets its own answer.
func TestChecksShareQueries(t *testing.T) {
	dsn := sessionsDatabase(t)
	tokens := insertSessions(t, dsn, session.MaxBatch)
	d, err := postgres.New(postgres.Config{URL: dsn, Connections: 1, Budget: time.Minute}, testPanics(observe.NewMetrics(nil, operator.Version, jwks.Results())), observe.Store{Metrics: observe.NewMetrics(nil, operator.Version, jwks.Results()).Issuer("", false), Tracing: nil})
	if err != nil {
		t.Fatal(err)
	}
	only, err := d.Open(t.Context(), d.Keeper.Current())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(only.Close)
	counted := &countingLink{Link: only}
	var checks sync.WaitGroup
	for i, token := range tokens {
		checks.Go(func() {
			if i%2 == 1 {
				token += "-not"
			}
			row, err := d.Session(t.Context(), token)
			if err != nil || (row != nil) != (i%2 == 0) {
				t.Errorf("%s: %v %v", token, row, err)
			}
		})
	}
	given := make(chan struct{})
	checks.Go(func() { // one that has given up asks for nothing
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := d.Session(ctx, "given-up"); !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
		close(given)
	})
	<-given
	eventually(t, "all checks to wait", func() bool { return len(d.Batches.Waiting) == len(tokens)+1 })
	ctx, cancel := context.WithCancel(t.Context())
	var worker sync.WaitGroup
	worker.Go(func() { d.Batches.Serve(ctx, counted, nil) }) // only now
	checks.Wait()
	cancel()
	worker.Wait()
	if queries := counted.queries.Load(); queries > 2 {
		t.Errorf("%d queries for %d checks that waited together", queries, len(tokens))
	}
}

// countingLink counts the queries.
type countingLink struct {
	session.Link[*session.Row]
	queries atomic.Int64
}

func (c *countingLink) Ask(tokens []string) (map[string]*session.Row, error) {
	c.queries.Add(1)
	return c.Link.Ask(tokens)
}

// connections are those that an Authorizer has open. A test may use one only while no check does.
func connections(a *Authorizer) (list []*postgres.Connection) {
	a.only().database.Keeper.Each(func(connection *postgres.Connection, _ bool) { list = append(list, connection) })
	return list
}

// onlyConnection is the one that an Authorizer with one connection has open.
func onlyConnection(t *testing.T, a *Authorizer) (only *postgres.Connection) {
	t.Helper()
	eventually(t, "one connection", func() bool {
		var list []*postgres.Connection
		isRetired := false
		a.only().database.Keeper.Each(func(connection *postgres.Connection, isRetiring bool) {
			list, isRetired = append(list, connection), isRetired || isRetiring
		})
		if len(list) == 1 && !isRetired {
			only = list[0]
		}
		return only != nil
	})
	return only
}

// lockSessions locks the table of sessions until the transaction ends, or the test.
func lockSessions(t *testing.T, dsn string) pgx.Tx {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close(context.Background()) })
	transaction, err := connection.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := transaction.Exec(t.Context(), `lock table "session"`); err != nil {
		t.Fatal(err)
	}
	return transaction
}

// A table that stays locked is an outage within the budget, and the check leaves no query behind at the server. The
// queries that wait there later are those by which new connections are proven.
func TestSlowDatabaseIsAnOutage(t *testing.T) {
	t.Parallel()
	dsn := sessionsDatabase(t)
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn, budget: decide.TimeBudget})
	expectToken(t, a, liveToken, "")
	asked := backends(t, dsn) // before the lock: these have what the check asks
	if len(asked) == 0 {
		t.Fatal("no connection")
	}
	transaction := lockSessions(t, dsn)
	reason := checkToken(t, a, liveToken)
	if reason != ReasonTimeBudgetSpent && reason != ReasonDatabaseUnavailable {
		t.Errorf("reason %q, want an outage", reason)
	}
	eventually(t, "the waiting query to be cancelled at the server", func() bool {
		return !slices.ContainsFunc(waiting(t, dsn), func(pid int) bool { return slices.Contains(asked, pid) })
	})
	if err := transaction.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "sessions to be allowed again", func() bool { return checkToken(t, a, liveToken) == "" })
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// While PostgreSQL restarts or stands still, session checks are 503 and JWT checks go on; when it
// is back, so are they. The pool's dead connections are not held against anybody.
func TestDatabaseOutage(t *testing.T) {
	t.Parallel()
	server, err := newPostgres(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	dsn, err := server.CreateDatabase(t.Context(), "outage")
	if err != nil {
		t.Fatal(err)
	}
	execute(t, dsn, liveSession()...)
	log := &lockedBuffer{}
	a := startAuthorizer(t, Config{
		JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn, Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	jwt := signers()["ed"].issue(goodClaims(nil))
	expectOutage := func() {
		t.Helper()
		for range 10 {
			if reason := checkToken(t, a, liveToken); reason != ReasonDatabaseUnavailable && reason != ReasonTimeBudgetSpent {
				t.Errorf("session: %q, want an outage", reason)
			}
			expectReason(t, checkToken(t, a, jwt), "")
		}
	}
	expectReason(t, checkToken(t, a, liveToken), "")

	// Stopped and started again: not even one check may fail on a dead connection.
	for range 3 {
		if err := server.Stop(); err != nil {
			t.Logf("stop: %v", err)
		}
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 8 {
			expectReason(t, checkToken(t, a, liveToken), "")
		}
	}

	server.Stop()
	expectOutage()
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "sessions after a restart", func() bool { return checkToken(t, a, liveToken) == "" })

	if strings.Contains(log.String(), "postgres@") || strings.Contains(log.String(), "user=") || strings.Contains(log.String(), liveToken) {
		t.Errorf("the log holds a connection string or a token:\n%s", log)
	}
}

// A server that stands still answers nobody and closes nothing. With one connection that is an outage, until there is
// another.
func TestFrozenDatabase(t *testing.T) {
	dsn := sessionsDatabase(t)
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn, DatabaseConnections: 1, budget: decide.TimeBudget})
	eventually(t, "a first answer", func() bool { return checkToken(t, a, liveToken) == "" })
	pids := backends(t, dsn)
	if len(pids) == 0 {
		t.Fatal("no server process of ours")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Kill(pid, syscall.SIGCONT) })
	}
	reason := checkToken(t, a, liveToken)
	if reason != ReasonTimeBudgetSpent && reason != ReasonDatabaseUnavailable {
		t.Errorf("reason %q, want an outage", reason)
	}
	eventually(t, "fresh connections in place of the frozen ones", func() bool { return checkToken(t, a, liveToken) == "" })
}

// backends are the process ids of the server's processes that work for the Authorizer.
func backends(t *testing.T, dsn string) []int {
	t.Helper()
	return activity(t, dsn, "true")
}

// waiting are those of them that wait for a lock.
func waiting(t *testing.T, dsn string) []int {
	t.Helper()
	return activity(t, dsn, "wait_event_type = 'Lock'")
}

// activity asks by a connection of its own: within a transaction PostgreSQL shows the first list for ever.
func activity(t *testing.T, dsn, condition string) []int {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(t.Context())
	rows, err := connection.Query(t.Context(), `select pid from pg_stat_activity
		where datname = current_database() and application_name = 'extauthz' and `+condition)
	if err != nil {
		t.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

// It starts while its database is down, is not ready, and becomes so by itself.
func TestDatabaseComesLater(t *testing.T) {
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	dsn := fmt.Sprintf("postgresql://app:a-secret-password@127.0.0.1:%d/app", port)
	log := &lockedBuffer{}
	a := runAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn, Logger: slog.New(slog.NewTextHandler(log, nil))})
	eventually(t, "the JWKS", func() bool { return slices.Equal(a.Missing(), []string{"database"}) })
	expectReason(t, checkToken(t, a, liveToken), ReasonDatabaseUnavailable)
	expectReason(t, checkToken(t, a, signers()["ed"].issue(goodClaims(nil))), "")

	installer, err := parts.NewInstaller(t.Output())
	if err != nil {
		t.Fatal(err)
	}
	server, err := installer.StartPostgres(t.Context(), t.TempDir(), port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	execute(t, server.URL("postgres"), `create role app login password 'a-secret-password'`, `create database app owner app`)
	execute(t, server.URL("app"), betterAuthTables)
	eventually(t, "one line about the rights", func() bool { return strings.Contains(log.String(), "permission denied") })
	execute(t, server.URL("app"), `grant select on "user", "session" to app`)
	eventually(t, "readiness", func() bool { return len(a.Missing()) == 0 })
	expectToken(t, a, liveToken, ReasonUnknownSession)
	if strings.Contains(log.String(), "a-secret-password") {
		t.Errorf("the log holds the password:\n%s", log)
	}
}

// The role of docs/reader.sql, which all tests connect as, may read three columns of two tables and nothing else.
func TestLeastPrivileges(t *testing.T) {
	owner := sessionsDatabase(t)
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: owner})
	expectToken(t, a, liveToken, "")
	reader, _ := readers.Load(owner)
	connection, err := pgx.Connect(t.Context(), reader.(string))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(t.Context())
	for _, statement := range []string{
		`select "ipAddress" from "session"`, `select * from "user"`, `select "emailVerified" from "user"`, `delete from "session"`,
		`update "session" set "expiresAt" = now()`, `insert into "user" ("id", "name", "email", "emailVerified") values ('x', 'x', 'x', true)`,
		`create table mine (id int)`, `create role another`, `alter role ` + parts.Reader + ` superuser`, `select pg_read_file('/etc/passwd')`, `copy "session" ("token") to program 'cat'`,
	} {
		// Not only because the role's transactions only read unless they say otherwise.
		if _, err := connection.Exec(t.Context(), `set default_transaction_read_only = off`); err != nil {
			t.Fatal(err)
		}
		if _, err := connection.Exec(t.Context(), statement); err == nil {
			t.Errorf("it may %s", statement)
		}
	}
}

// docs/reader.sql grants what bans need by itself, and with its lines for EXTAUTHZ_IDENTITY what these facts need: all of
// it, and no more.
func TestLeastPrivilegesWithFacts(t *testing.T) {
	script, err := os.ReadFile("../docs/reader.sql")
	if err != nil {
		t.Fatal(err)
	}
	for title, grants := range map[string]string{"bans": string(script), "facts": strings.ReplaceAll(string(script), "\n-- grant ", "\ngrant ")} {
		t.Run(title, func(t *testing.T) {
			owner := newDatabaseURL(t, factsTables()...)
			installer, err := parts.NewInstaller(os.Stderr)
			if err != nil {
				t.Fatal(err)
			}
			makingReader.Lock()
			reader, err := installer.ReaderURL(t.Context(), owner)
			makingReader.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			execute(t, owner, grants)
			config := Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: reader}
			if title == "facts" {
				config.Identity = []string{"role", "organization", "email-verified", "impersonator", "session-id"}
			}
			a := startAuthorizer(t, config)
			expectToken(t, a, liveToken, "")
			expectFindings(t, diagnoseTest(t, config), "database", "ok query: ", "ok rights: "+parts.Reader+" may read sessions and users")
			execute(t, owner, `update "user" set "banned" = true`)
			expectToken(t, a, liveToken, ReasonUserBanned)
			connection, err := pgx.Connect(t.Context(), reader)
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close(t.Context())
			for _, column := range []string{`"user"."banReason"`, `"user"."plan_tier"`, `"session"."ipAddress"`, `"session"."activeTeamId"`, `"member"."id"`, `"organization"."name"`} {
				table, _, _ := strings.Cut(column, ".")
				if _, err := connection.Exec(t.Context(), "select "+column+" from "+table); err == nil {
					t.Errorf("it may read %s", column)
				}
			}
		})
	}
}

// A pooler that hands each transaction another server connection loses prepared statements, or meets
// those of another. A statement that is gone, and another of its name, are what the next check finds
// there then; it goes on without, and so do all that follow.
func TestPoolerLosesPreparedStatements(t *testing.T) {
	faults := map[string]func(name string) string{
		"lost":  func(name string) string { return `deallocate ` + name },
		"taken": func(name string) string { return `prepare ` + name + ` as select 1` },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			dsn := sessionsDatabase(t)
			a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn, DatabaseConnections: 1})
			prepared := func() (names []string) {
				rows, err := onlyConnection(t, a).Conn.Query(t.Context(), `select name from pg_prepared_statements`, pgx.QueryExecModeExec)
				if err != nil {
					t.Fatal(err)
				}
				names, err = pgx.CollectRows(rows, pgx.RowTo[string])
				if err != nil {
					t.Fatal(err)
				}
				return names
			}
			expectReason(t, checkToken(t, a, liveToken), "")
			names := prepared()
			if len(names) == 0 {
				t.Fatal("nothing is prepared, want the session query")
			}
			if name == "taken" { // a connection that has not prepared it yet
				if err := onlyConnection(t, a).Conn.DeallocateAll(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range names {
				if _, err := onlyConnection(t, a).Conn.Exec(t.Context(), fault(name)); err != nil {
					t.Fatal(err)
				}
			}
			for range 5 {
				expectReason(t, checkToken(t, a, liveToken), "")
				if !a.only().database.Unnamed.Load() {
					t.Error("statements are still prepared")
				}
				if _, err := onlyConnection(t, a).Conn.Exec(t.Context(), `discard all`); err != nil {
					t.Fatal(err)
				}
				if names := prepared(); len(names) != 0 {
					t.Errorf("prepared: %q, want none", names)
				}
			}
		})
	}
}

// A lone check asks one question of PostgreSQL and nothing beside it.
func TestOneQueryForALoneCheck(t *testing.T) {
	dsn := sessionsDatabase(t)
	// Of several connections a slow one's query is asked of another, too.
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn, DatabaseConnections: 1})
	before := testutil.ToFloat64(a.only().metrics.Queries[observe.ResultOK])
	const checks = 10
	for range checks {
		expectReason(t, checkToken(t, a, liveToken), "")
	}
	if got := testutil.ToFloat64(a.only().metrics.Queries[observe.ResultOK]) - before; got != checks {
		t.Errorf("%g queries for %d checks one after the other", got, checks)
	}
}

// BenchmarkSessionCheck is session checks that share queries. Beside the time it tells the CPU that a check takes
// here and in PostgreSQL, which other work on the machine changes less.
func BenchmarkSessionCheck(b *testing.B) {
	dsn := sessionsDatabase(b)
	a := startAuthorizer(b, Config{JWKSURL: serveKeys(b, testKeys()).URL, DatabaseURL: dsn})
	request := bearerRequest(liveToken)
	b.ReportAllocs()
	b.SetParallelism(32)
	server := processorTime(b, dsn)
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if response, err := a.Check(context.Background(), request); err != nil || response.GetOkResponse() == nil {
				b.Error("not allowed", response, err)
				return
			}
		}
	})
	b.StopTimer()
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	own := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(own)/1e3/float64(b.N), "own-µs/op")
	b.ReportMetric(float64((processorTime(b, dsn)-server).Microseconds())/float64(b.N), "postgres-µs/op")
}

// processorTime is what the server's processes that work for the Authorizer have taken so far (proc(5), in hundredths
// of a second).
func processorTime(b *testing.B, dsn string) (total time.Duration) {
	b.Helper()
	connection, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		b.Fatal(err)
	}
	defer connection.Close(context.Background())
	rows, err := connection.Query(context.Background(), `select pid from pg_stat_activity where datname = current_database() and application_name = 'extauthz'`)
	if err != nil {
		b.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		b.Fatal(err)
	}
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended, or PostgreSQL runs elsewhere
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(after); len(fields) > 12 {
			for _, field := range fields[11:13] {
				ticks, _ := strconv.Atoi(field)
				total += time.Duration(ticks) * 10 * time.Millisecond
			}
		}
	}
	return total
}

// A session whose row makes PostgreSQL refuse the whole query takes nobody else's session with it.
func TestOneRowAtFaultFailsAlone(t *testing.T) {
	const odd = "BadIdBadIdBadIdBadIdBadIdBadIdBa"
	dsn := newDatabaseURL(t, `
create table "user" ("id" uuid primary key, "name" text not null, "email" text not null unique);
create table "session" ("id" text primary key, "expiresAt" timestamptz not null, "token" text not null unique, "userId" text not null);
insert into "user" values ('6b2f8f66-6c3f-4d43-9d5f-0d6b8f2f3a11', 'Ana', 'ana@example.com')`,
		fmt.Sprintf(`insert into "session" select 'm' || i, to_timestamp(%d), 'many-' || i, '6b2f8f66-6c3f-4d43-9d5f-0d6b8f2f3a11'
			from generate_series(0, 63) i`, in(3600)),
		fmt.Sprintf(`insert into "session" values ('odd', to_timestamp(%d), '%s', 'no uuid')`, in(3600), odd))
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn, DatabaseConnections: 1})
	var checks sync.WaitGroup
	for i := range 64 {
		checks.Go(func() {
			for range 20 {
				if reason := checkToken(t, a, fmt.Sprint("many-", i)); reason != "" {
					t.Errorf("a good session: %s", reason)
					return
				}
			}
		})
	}
	for range 8 {
		checks.Go(func() {
			for range 20 {
				if reason := checkToken(t, a, odd); reason != ReasonDatabaseUnavailable {
					t.Errorf("the session at fault: %s", reason)
					return
				}
			}
		})
	}
	checks.Wait()
}
