package extauthz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/session/postgres"
	"extauthz/extauthz/internal/session/postgres/network"
)

// load has so many clients check the live session until stop is called, which tells the reasons that came, with their
// number.
func load(t *testing.T, a *Authorizer, clients int) (stop func() map[Reason]int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	reasons := map[Reason]int{}
	var work sync.WaitGroup
	for range clients {
		work.Go(func() {
			for ctx.Err() == nil {
				reason := checkToken(t, a, liveToken)
				mu.Lock()
				reasons[reason]++
				mu.Unlock()
			}
		})
	}
	return func() map[Reason]int {
		cancel()
		work.Wait()
		return reasons
	}
}

// expectOnlyAllows wants nothing but allows.
func expectOnlyAllows(t *testing.T, reasons map[Reason]int) {
	t.Helper()
	if reasons[""] == 0 || len(reasons) != 1 {
		t.Errorf("reasons %v, want allows only", reasons)
	}
}

// limitedRole makes a role that may have so many connections, and returns its connection string.
func limitedRole(t *testing.T, dsn string, limit int) string {
	t.Helper()
	role := fmt.Sprintf("limited_%d", time.Now().UnixNano())
	execute(t, dsn, fmt.Sprintf(`create role %s login connection limit %d`, role, limit), `grant select on "user", "session" to `+role)
	changed, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	changed.User = url.User(role)
	return changed.String()
}

// With a role that may have one connection every check is answered over that one, whatever the number of connections
// that is configured, and also while it is renewed or taken away.
func TestRoleWithOneConnection(t *testing.T) {
	for _, configured := range []int{1, 4} {
		t.Run(fmt.Sprint(configured), func(t *testing.T) {
			dsn := sessionsDatabase(t)
			limited := limitedRole(t, dsn, 1)
			log := &lockedBuffer{}
			a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: limited, DatabaseConnections: configured, Logger: slog.New(slog.NewTextHandler(log, nil))})
			stop := load(t, a, 256)
			time.Sleep(4 * time.Second)
			if configured > 1 {
				eventually(t, "another connection to be tried", func() bool {
					return strings.Contains(log.String(), "no further connection to the database can be made")
				})
			}
			expectOnlyAllows(t, stop())
			if configured > 1 {
				if told := strings.Count(log.String(), "no further connection to the database can be made"); told != 1 {
					t.Errorf("told %d times", told)
				}
				if failures := testutil.ToFloat64(a.only().metrics.ConnectionFailures); failures < 1 || failures > 40 {
					t.Errorf("%g failed attempts in 4 s", failures)
				}
			}
			expectPart(t, a, "database: ok")

			stop = load(t, a, 32)
			for range 5 { // a renewal, and a connection that the server ends
				var before []int
				eventually(t, "a connection", func() bool { before = backends(t, dsn); return len(before) == 1 })
				a.Refresh()
				eventually(t, "another connection", func() bool { now := backends(t, dsn); return len(now) == 1 && now[0] != before[0] })
				execute(t, dsn, `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'extauthz'`)
			}
			expectOnlyAllows(t, stop())
		})
	}
}

// expectPart waits until the database's part says so: what a query came to is noted after its checks are answered.
func expectPart(t *testing.T, a *Authorizer, want string) {
	t.Helper()
	eventually(t, want, func() bool {
		return slices.ContainsFunc(a.Parts(), func(part Part) bool {
			return part.Name == "database" && strings.Contains(part.String(), want)
		})
	})
}

// One connection that works is enough while every further one is accepted and gets no answer, or is refused.
func TestFurtherConnectionsThatFail(t *testing.T) {
	for title, configured := range map[string]int{"silent": 4, "silent, and many of them": 16} {
		t.Run(title, func(t *testing.T) {
			dsn := sessionsDatabase(t)
			p := startProxy(t, "127.0.0.1:0", hostOf(t, dsn), func(number int64) bool { return number > 1 })
			a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: through(t, dsn, p.listener.Addr().String()), DatabaseConnections: configured})
			stop := load(t, a, 64)
			eventually(t, "further connections to be tried", func() bool { return p.accepted.Load() > 2 })
			expectOnlyAllows(t, stop())
		})
	}
}

// Of four connections three get no more answers and are not closed: every check is answered, over the fourth or a new
// one.
func TestConnectionsThatFallSilent(t *testing.T) {
	dsn := sessionsDatabase(t)
	p := startProxy(t, "127.0.0.1:0", hostOf(t, dsn), nil)
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: through(t, dsn, p.listener.Addr().String()), budget: 20 * time.Second})
	stop := load(t, a, 64)
	eventually(t, "four connections", func() bool { return len(connections(a)) == 4 })
	expectOnlyAllows(t, stop())
	for _, c := range p.connections()[1:] {
		c.isStuck.Store(true)
	}
	for range 50 {
		expectReason(t, checkToken(t, a, liveToken), "")
	}
	stop = load(t, a, 64)
	time.Sleep(time.Second)
	expectOnlyAllows(t, stop())
}

// The first connection is made though the first attempts get no answer: another one is tried beside them.
func TestFirstConnectionBesideSilentOnes(t *testing.T) {
	t.Parallel()
	dsn := sessionsDatabase(t)
	p := startProxy(t, "127.0.0.1:0", hostOf(t, dsn), func(number int64) bool { return number <= 2 })
	a := runAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: through(t, dsn, p.listener.Addr().String()), DatabaseConnections: 3})
	eventually(t, "a session to be allowed", func() bool { return checkToken(t, a, liveToken) == "" })
	if accepted := p.accepted.Load(); accepted < 3 {
		t.Errorf("%d connections were tried, want the silent two and a good one", accepted)
	}
}

// There are never more connections than configured, those that are closing or whose query is being cancelled included.
func TestConnectionsAreBounded(t *testing.T) {
	dsn := sessionsDatabase(t)
	const most = 3
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: limitedRole(t, dsn, -1), DatabaseConnections: most, budget: 50 * time.Millisecond})
	transaction := lockSessions(t, dsn)
	stop := load(t, a, 32)
	highest := 0
	for range 100 {
		highest = max(highest, len(backends(t, dsn))) // a transaction would see the first count for ever
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	if highest > most {
		t.Errorf("%d connections at once, want %d at most", highest, most)
	}
	transaction.Rollback(t.Context())
	eventually(t, "sessions to be allowed again", func() bool { return checkToken(t, a, liveToken) == "" })
}

// A connection that was ended before the first check came is no fault of that check: it is answered over a new one.
func TestConnectionEndedBeforeTheFirstCheck(t *testing.T) {
	for _, statement := range []string{
		`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'extauthz'`,
		`do $$ begin execute format('alter database %I set idle_session_timeout = 50', current_database()); end $$`,
	} {
		dsn := sessionsDatabase(t)
		if strings.HasPrefix(statement, "do") {
			execute(t, dsn, statement)
		}
		a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn, budget: 20 * time.Second})
		if !strings.HasPrefix(statement, "do") {
			execute(t, dsn, statement)
		}
		eventually(t, "the connection's end", func() bool { return len(backends(t, dsn)) == 0 })
		expectReason(t, checkToken(t, a, liveToken), "")
	}
}

// A host whose name gets no answer from the resolver does not keep another one from being asked, and where there is
// one host its look-up is tried again soon.
func TestNamesWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	dsn := sessionsDatabase(t)
	_, port, _ := strings.Cut(hostOf(t, dsn), ":")
	for _, hosts := range []string{"silent.example.com:" + port + ",db.example.com:" + port, "db.example.com:" + port} {
		a, err := New(Config{Issuer: testIssuer, Audiences: []string{testAudience}, JWKSURL: serveKeys(t, testKeys()).URL, Now: fixedClock, budget: time.Minute,
			DatabaseURL: through(t, dsn, hosts), DatabaseConnections: 1, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		var lookUps atomic.Int64
		a.only().database.Keeper.Current().Config.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
			if lookUps.Add(1) == 1 || host == "silent.example.com" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return []string{"127.0.0.1"}, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { a.Run(ctx); close(ended) }()
		began := time.Now()
		eventually(t, "a session to be allowed", func() bool { return checkToken(t, a, liveToken) == "" })
		if took := time.Since(began); took > postgres.OpenTimeout-network.NameTimeout {
			t.Errorf("%s: the first answer after %s", hosts, took)
		}
		cancel()
		<-ended
	}
}

// A panic in what the database's work calls is counted, and the work begins anew.
func TestPanicInDatabase(t *testing.T) {
	dsn := sessionsDatabase(t)
	var calls atomic.Int64
	a := runAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn, ReadDatabaseURL: func() (string, error) {
		if calls.Add(1) <= 3 {
			panic("in ReadDatabaseURL")
		}
		return dsn, nil
	}})
	eventually(t, "a session to be allowed", func() bool { return checkToken(t, a, liveToken) == "" })
	eventually(t, "the panics to be counted", func() bool {
		return testutil.ToFloat64(a.metrics.Panics.WithLabelValues(guard.InDatabase)) >= 3
	})
}

// The part's fault is the present one, not the first.
func TestPartTellsThePresentFault(t *testing.T) {
	t.Parallel()
	dsn := sessionsDatabase(t)
	current := atomic.Pointer[string]{}
	nobody := through(t, dsn, "127.0.0.1:1")
	current.Store(&nobody)
	a := runAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: nobody, ReadDatabaseURL: func() (string, error) { return *current.Load(), nil }})
	fault := func(want string) func() bool {
		return func() bool {
			for _, part := range a.Parts() {
				if part.Name == "database" && strings.Contains(part.Fault, want) {
					return true
				}
			}
			return false
		}
	}
	eventually(t, "the first fault", fault("connection refused"))
	missing := strings.Replace(dsn, "/test_", "/missing_", 1)
	current.Store(&missing)
	eventually(t, "the second fault", fault("does not exist"))
	limited := limitedRole(t, dsn, 0)
	current.Store(&limited)
	eventually(t, "the third fault", fault("too many connections for role"))
	current.Store(&dsn)
	eventually(t, "a session to be allowed", func() bool { return checkToken(t, a, liveToken) == "" })
	expectPart(t, a, "database: ok")
}

// Run's end closes all connections, also those that hang, and leaves no goroutine behind.
func TestRunLeavesNothing(t *testing.T) {
	dsn := sessionsDatabase(t)
	p := startProxy(t, "127.0.0.1:0", hostOf(t, dsn), nil)
	a, err := New(Config{Issuer: testIssuer, Audiences: []string{testAudience}, JWKSURL: serveKeys(t, testKeys()).URL,
		DatabaseURL: through(t, dsn, p.listener.Addr().String()), Logger: slog.New(slog.DiscardHandler), Now: fixedClock})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { a.Run(ctx); close(ended) }()
	eventually(t, "readiness", func() bool { return len(a.Missing()) == 0 })
	stop := load(t, a, 16)
	eventually(t, "more connections", func() bool { return len(connections(a)) > 1 })
	for _, c := range p.connections() {
		c.isStuck.Store(true)
	}
	stop()
	cancel()
	<-ended
	eventually(t, "our goroutines to end", func() bool {
		stacks := make([]byte, 1<<20)
		text := string(stacks[:runtime.Stack(stacks, true)])
		return !strings.Contains(text, "extauthz.(*keeper)") && !strings.Contains(text, "extauthz.(*connection)") && !strings.Contains(text, "extauthz.(*batcher)") &&
			!strings.Contains(text, "pgconn.(*PgConn)")
	})
}

// A connection string's file that changes, and what becomes of what is open.
func TestConnectionStringChanges(t *testing.T) {
	first, second := sessionsDatabase(t), sessionsDatabase(t)
	only := "OnlyInTheFirstOneOnlyInTheFirstO"
	execute(t, first, fmt.Sprintf(`insert into "session" ("id", "expiresAt", "token", "updatedAt", "userId") values ('only', to_timestamp(%d), '%s', now(), 'user-2')`, in(3600), only))
	current, broken := atomic.Pointer[string]{}, atomic.Bool{}
	current.Store(&first)
	log := &lockedBuffer{}
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: first, Logger: slog.New(slog.NewTextHandler(log, nil)), ReadDatabaseURL: func() (string, error) {
		if broken.Load() {
			return "", errors.New("no such file")
		}
		return *current.Load(), nil
	}})
	expectReason(t, checkToken(t, a, only), "")
	stop := load(t, a, 16)

	current.Store(&second) // the deleted session is refused within the interval, and nobody gets a 503
	eventually(t, "the second database", func() bool { return checkToken(t, a, only) == ReasonUnknownSession })
	for range 50 {
		expectReason(t, checkToken(t, a, only), ReasonUnknownSession)
	}
	eventually(t, "no connection to the first one", func() bool { return len(backends(t, first)) == 0 })

	before := connections(a)
	password := strings.Replace(second, "//postgres@", "//postgres:another@", 1) // trusted whatever it is
	current.Store(&password)
	eventually(t, "the password", func() bool { return a.only().database.Keeper.Current().Config.Password == "another" })
	if after := connections(a); len(after) < len(before) {
		t.Errorf("%d connections after another password, %d before", len(after), len(before))
	}

	broken.Store(true)
	eventually(t, "the log", func() bool { return strings.Contains(log.String(), "no such file") })
	a.Refresh()
	eventually(t, "another connection in spite of it", func() bool {
		for _, h := range connections(a) {
			for _, old := range before {
				if h == old {
					return false
				}
			}
		}
		return true
	})
	if told := strings.Count(log.String(), "no such file"); told != 1 {
		t.Errorf("told %d times", told)
	}
	broken.Store(false)
	nonsense := "mysql://x"
	current.Store(&nonsense)
	eventually(t, "the log about nonsense", func() bool { return strings.Contains(log.String(), "must be PostgreSQL") })
	expectOnlyAllows(t, stop())
}

// SIGHUP's Refresh replaces every connection, and no check fails by it.
func TestRefreshReplacesConnections(t *testing.T) {
	dsn := sessionsDatabase(t)
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn})
	stop := load(t, a, 64)
	eventually(t, "four connections", func() bool { return len(connections(a)) == 4 })
	for range 3 {
		old := map[*postgres.Connection]bool{}
		for _, h := range connections(a) {
			old[h] = true
		}
		a.Refresh()
		eventually(t, "other connections", func() bool {
			list := connections(a)
			for _, h := range list {
				if old[h] {
					return false
				}
			}
			return len(list) > 0
		})
	}
	expectOnlyAllows(t, stop())
}

// The host behind a name moves while the old one lives: the connections follow, and no check fails by it.
func TestNameThatMoves(t *testing.T) {
	for _, configured := range []int{1, 4} {
		t.Run(fmt.Sprint(configured), func(t *testing.T) {
			dsn := sessionsDatabase(t)
			old := startProxy(t, "127.0.0.2:0", hostOf(t, dsn), nil)
			_, port, _ := strings.Cut(old.listener.Addr().String(), ":")
			fresh := startProxy(t, "127.0.0.3:"+port, hostOf(t, dsn), nil)
			address := atomic.Pointer[string]{}
			is, will := "127.0.0.2", "127.0.0.3"
			address.Store(&is)
			a, err := New(Config{Issuer: testIssuer, Audiences: []string{testAudience}, JWKSURL: serveKeys(t, testKeys()).URL, Now: fixedClock, budget: time.Minute,
				DatabaseURL: through(t, dsn, "db.example.com:"+port), DatabaseConnections: configured, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			a.only().database.Keeper.Current().Config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{*address.Load()}, nil }
			a.only().database.NamesEvery = 50 * time.Millisecond
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { a.Run(ctx); close(ended) }()
			defer func() { cancel(); <-ended }()
			eventually(t, "readiness", func() bool { return len(a.Missing()) == 0 })
			stop := load(t, a, 16)
			address.Store(&will)
			eventually(t, "all connections to be to the new address", func() bool {
				list := connections(a)
				for _, h := range list {
					if h.Address().String() != will {
						return false
					}
				}
				return len(list) > 0
			})
			if fresh.accepted.Load() == 0 {
				t.Error("nobody came to the new address")
			}
			expectOnlyAllows(t, stop())
		})
	}
}

// A transaction pooler that moves to a standby between two queries: what the standby says of a session is no answer.
func TestStandbyBehindAMovingPooler(t *testing.T) {
	r := startReplicated(t)
	address := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
	for _, connections := range []int{1, 4} {
		t.Run(fmt.Sprint(connections), func(t *testing.T) {
			pooler := startMovingPooler(t, address(r.primary.Port), address(r.standby.Port))
			execute(t, r.owner, `delete from "session"`, fmt.Sprintf(`insert into "session" ("id", "expiresAt", "token", "updatedAt", "userId") values ('s1', to_timestamp(%d), '%s', now(), 'user-2')`, in(3600), liveToken))
			r.await(t)
			execute(t, r.standby.URL("app"), "select pg_wal_replay_pause()")
			a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: through(t, r.owner, pooler.listener.Addr().String()), DatabaseConnections: connections})
			for range 20 {
				expectReason(t, checkToken(t, a, liveToken), "")
			}
			execute(t, r.owner, `delete from "session"`)
			pooler.now.Store(1) // where the session still is
			var work sync.WaitGroup
			for range 16 {
				work.Go(func() {
					for range 5 {
						if reason := checkToken(t, a, liveToken); reason != ReasonDatabaseUnavailable && reason != ReasonTimeBudgetSpent && reason != ReasonUnknownSession {
							t.Errorf("reason %q for a session that was deleted", reason)
						}
					}
				})
			}
			work.Wait()
			if pooler.moved.Load() == 0 {
				t.Error("the standby was asked nothing: the test shows nothing")
			}
			pooler.now.Store(0)
			eventually(t, "the primary's answer", func() bool { return checkToken(t, a, liveToken) == ReasonUnknownSession })
			execute(t, r.standby.URL("app"), "select pg_wal_replay_resume()")
			r.await(t)
		})
	}
}
