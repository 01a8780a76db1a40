package extauthz

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"extauthz/envoy/parts"
)

// replicated is a real primary with a real standby behind it, and a live session in both.
type replicated struct {
	primary, standby *parts.Postgres
	owner            string // connection string of the primary's owner
}

func startReplicated(t *testing.T) *replicated {
	t.Helper()
	primary, err := newPostgres(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { primary.Stop() })
	r := &replicated{primary: primary}
	if r.owner, err = primary.CreateDatabase(t.Context(), "app"); err != nil {
		t.Fatal(err)
	}
	execute(t, r.owner, "alter system set autovacuum = off", "select pg_reload_conf()") // so that nothing commits by itself
	execute(t, r.owner, liveSession()...)
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	if r.standby, err = primary.StartStandby(t.Context(), t.TempDir(), port); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.standby.Stop() })
	return r
}

// await waits until the standby has replayed what the primary has committed.
func (r *replicated) await(t *testing.T) {
	t.Helper()
	primary, standby := r.connect(t, r.primary), r.connect(t, r.standby)
	var position string
	if err := primary.QueryRow(t.Context(), "select pg_current_wal_lsn()::text").Scan(&position); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the standby", func() (caughtUp bool) {
		if err := standby.QueryRow(t.Context(), "select pg_last_wal_replay_lsn() >= $1::text::pg_lsn", position).Scan(&caughtUp); err != nil {
			t.Fatal(err)
		}
		return caughtUp
	})
}

func (r *replicated) connect(t *testing.T, server *parts.Postgres) *pgx.Conn {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), server.URL("app"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close(context.Background()) })
	return connection
}

// A standby does not know who has just signed out, so it is not asked: not as the only server, not as the first of two, and
// not because the connection string wants one. Once promoted it is a primary like any other.
func TestStandbyIsNotAsked(t *testing.T) {
	t.Parallel()
	r := startReplicated(t)
	keys := serveKeys(t, testKeys()).URL
	execute(t, r.standby.URL("app"), "select pg_wal_replay_pause()")
	for _, options := range []string{"", "&target_session_attrs=any", "&target_session_attrs=standby", "&target_session_attrs=prefer-standby", "&target_session_attrs=read-only"} {
		log := &lockedBuffer{}
		a := runAuthorizer(t, Config{JWKSURL: keys, DatabaseURL: r.standby.URL("app") + options, Logger: slog.New(slog.NewTextHandler(log, nil))})
		eventually(t, "the log", func() bool {
			return strings.Contains(log.String(), "it is a standby, which does not see yet who has just signed out")
		})
		expectReason(t, checkToken(t, a, liveToken), ReasonDatabaseUnavailable)
		if strings.Contains(log.String(), "postgres@") {
			t.Errorf("the log holds a connection string:\n%s", log.String())
		}
	}

	expectFindings(t, diagnoseTest(t, Config{JWKSURL: keys, DatabaseURL: r.standby.URL("app")}), "database", "failure connect: a standby answers | Point Config.DatabaseURL at the primary")

	both := fmt.Sprintf("postgresql://postgres@127.0.0.1:%d,127.0.0.1:%d/app?sslmode=disable", r.standby.Port, r.primary.Port)
	first := startAuthorizer(t, Config{JWKSURL: keys, DatabaseURL: both})
	expectToken(t, first, liveToken, "")
	execute(t, r.owner, `delete from "session"`) // which the standby does not see
	expectToken(t, first, liveToken, ReasonUnknownSession)

	alone := runAuthorizer(t, Config{JWKSURL: keys, DatabaseURL: r.standby.URL("app")})
	execute(t, r.standby.URL("app"), "select pg_wal_replay_resume()")
	r.await(t)
	r.primary.Stop()
	execute(t, r.standby.URL("app"), "select pg_promote()")
	eventually(t, "the promoted server", func() bool { return checkToken(t, alone, liveToken) == ReasonUnknownSession })
	eventually(t, "the other one, too", func() bool { return checkToken(t, first, liveToken) == ReasonUnknownSession })
}

// Some poolers, and PostgreSQL before 14, do not say by themselves what a server is; then it is asked.
func TestStandbyBehindAPooler(t *testing.T) {
	t.Parallel()
	r := startReplicated(t)
	keys := serveKeys(t, testKeys()).URL
	behind := func(server *parts.Postgres) string {
		return strings.Replace(server.URL("app"), fmt.Sprint(":", server.Port), ":"+silentPooler(t, server.Port), 1)
	}
	a := startAuthorizer(t, Config{JWKSURL: keys, DatabaseURL: behind(r.primary)})
	expectToken(t, a, liveToken, "")
	log := &lockedBuffer{}
	b := runAuthorizer(t, Config{JWKSURL: keys, DatabaseURL: behind(r.standby), Logger: slog.New(slog.NewTextHandler(log, nil))})
	eventually(t, "the log", func() bool { return strings.Contains(log.String(), "it is a standby") })
	expectReason(t, checkToken(t, b, liveToken), ReasonDatabaseUnavailable)
}

// silentPooler passes on all that PostgreSQL says but whether it is a standby, and returns its port.
func silentPooler(t *testing.T, upstream int) (port string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	serve := func(client net.Conn) error {
		defer client.Close()
		server, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", upstream))
		if err != nil {
			return err
		}
		defer server.Close()
		go func() {
			io.Copy(server, client)
			server.Close()
		}()
		messages := pgproto3.NewFrontend(server, nil)
		for {
			message, err := messages.Receive()
			if err != nil {
				return err
			}
			if status, is := message.(*pgproto3.ParameterStatus); is && status.Name == "in_hot_standby" {
				continue
			}
			encoded, err := message.Encode(nil)
			if err != nil {
				return err
			}
			if _, err := client.Write(encoded); err != nil {
				return err
			}
		}
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(client)
		}
	}()
	_, port, err = net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Where a lag is allowed, a standby answers as long as it is no further behind: a session that was deleted longer ago than
// that is never allowed, whatever the standby has replayed.
func TestLagIsBounded(t *testing.T) {
	r := startReplicated(t)
	keys := serveKeys(t, testKeys()).URL
	beat := func() { execute(t, r.owner, "select pg_current_xact_id()"); r.await(t) } // the least that is a commit
	const most = 400 * time.Millisecond
	beat()
	patient := startAuthorizer(t, Config{JWKSURL: keys, DatabaseURL: r.standby.URL("app"), DatabaseMaxLag: time.Hour})
	expectToken(t, patient, liveToken, "")

	strict := runAuthorizer(t, Config{JWKSURL: keys, DatabaseURL: r.standby.URL("app"), DatabaseMaxLag: most})
	eventually(t, "an answer while the primary commits", func() bool { beat(); return checkToken(t, strict, liveToken) == "" })
	execute(t, r.standby.URL("app"), "select pg_wal_replay_pause()")
	execute(t, r.owner, `delete from "session"`)
	deleted := time.Now()
	for late := 0; late < 20; {
		isLate := time.Since(deleted) > most // before the check, so that it is true of all of it
		switch reason := checkToken(t, strict, liveToken); {
		case isLate && reason == "":
			t.Fatalf("allowed %s after it was deleted", time.Since(deleted))
		case isLate:
			expectReason(t, reason, ReasonDatabaseUnavailable)
			late++
		}
	}
	expectToken(t, patient, liveToken, "") // which is what was asked for
	expectFindings(t, diagnoseTest(t, Config{JWKSURL: keys, DatabaseURL: r.standby.URL("app"), DatabaseMaxLag: most}), "database", "failure lag: the standby is more than 400ms behind")
	expectFindings(t, diagnoseTest(t, Config{JWKSURL: keys, DatabaseURL: r.standby.URL("app"), DatabaseMaxLag: time.Hour}), "database", "ok lag: ", " s behind its primary")
	if lag := strict.only().database.LagSeconds(); lag < most.Seconds() {
		t.Errorf("the lag is told as %g s", lag)
	}

	// It comes back with the standby, and a primary has no lag, however quiet it is.
	execute(t, r.standby.URL("app"), "select pg_wal_replay_resume()")
	eventually(t, "an answer after the lag", func() bool { beat(); return checkToken(t, strict, liveToken) == ReasonUnknownSession })
	r.primary.Stop()
	execute(t, r.standby.URL("app"), "select pg_promote()")
	eventually(t, "the promoted server", func() bool { return checkToken(t, strict, liveToken) == ReasonUnknownSession })
	time.Sleep(most)
	expectReason(t, checkToken(t, strict, liveToken), ReasonUnknownSession)
	expectFindings(t, diagnoseTest(t, Config{JWKSURL: keys, DatabaseURL: r.standby.URL("app"), DatabaseMaxLag: most}), "database", "ok lag: none: a primary answers")
	if lag := strict.only().database.LagSeconds(); lag != 0 {
		t.Errorf("a primary's lag is %g s", lag)
	}
}

// Of two hosts the one that is too far behind gives way to the other, when a connection is made and while it is used.
func TestStandbyThatIsBehindGivesWay(t *testing.T) {
	t.Parallel()
	r := startReplicated(t)
	keys := serveKeys(t, testKeys()).URL
	both := fmt.Sprintf("postgresql://postgres@127.0.0.1:%d,127.0.0.1:%d/app?sslmode=disable", r.standby.Port, r.primary.Port)
	const most = 6 * time.Second // a busy machine must find the standby near at first
	execute(t, r.owner, "create table beat ()")
	standby := r.connect(t, r.standby)
	eventually(t, "a commit on the standby", func() (is bool) {
		if err := standby.QueryRow(t.Context(), "select to_regclass('beat') is not null").Scan(&is); err != nil {
			t.Fatal(err)
		}
		return is
	})
	before := startAuthorizer(t, Config{JWKSURL: keys, DatabaseURL: both, DatabaseMaxLag: most, DatabaseConnections: 1})
	expectToken(t, before, liveToken, "")
	if onlyConnection(t, before).Conn.PgConn().ParameterStatus("in_hot_standby") != "on" {
		t.Fatalf("the standby is not asked, which is %g s behind: the test shows nothing", before.only().database.LagSeconds())
	}
	execute(t, r.standby.URL("app"), "select pg_wal_replay_pause()")
	execute(t, r.owner, `delete from "session"`)
	time.Sleep(most)
	for range 20 {
		expectReason(t, checkToken(t, before, liveToken), ReasonUnknownSession)
	}
	after := startAuthorizer(t, Config{JWKSURL: keys, DatabaseURL: both, DatabaseMaxLag: most})
	expectToken(t, after, liveToken, ReasonUnknownSession)
	if lag := after.only().database.LagSeconds(); lag != 0 {
		t.Errorf("a primary's lag is %g s", lag)
	}
}

// A standby that has replayed no commit since its start is endlessly behind.
func TestLagOfAFreshStandby(t *testing.T) {
	t.Parallel()
	r := startReplicated(t)
	log := &lockedBuffer{}
	a := runAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: r.standby.URL("app"), DatabaseMaxLag: 24 * time.Hour, Logger: slog.New(slog.NewTextHandler(log, nil))})
	eventually(t, "the log", func() bool { return strings.Contains(log.String(), "more than 24h0m0s behind its primary") })
	expectReason(t, checkToken(t, a, liveToken), ReasonDatabaseUnavailable)
	execute(t, r.owner, "select pg_current_xact_id()")
	eventually(t, "an answer", func() bool { return checkToken(t, a, liveToken) == "" })
}
