package extauthz

import (
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/extauthz/internal/session/postgres/connstring"
	"extauthz/extauthz/internal/session/postgres/target"
)

func TestParseDatabaseURL(t *testing.T) {
	t.Setenv("HOME", "/nonexistent")
	for _, row := range []struct {
		dsn     string
		host    string
		tls     string
		schema  string
		unknown string // a parameter that must not reach the server
	}{
		{"postgresql://u:p@db:5432/app", "db", "prefer", "", ""},
		{"postgres://u:p@db/app?sslmode=disable", "db", "disable", "", ""},
		{"postgresql+asyncpg://u:p@db/app?ssl=require", "db", "require", "", "ssl"},
		{"postgresql+asyncpg://u:p@db/app?sslmode=require", "db", "require", "", ""},
		{"postgresql+asyncpg://u:p@db/app?ssl=disable&prepared_statement_cache_size=0", "db", "disable", "", "prepared_statement_cache_size"},
		{"postgresql+psycopg://u:p@db/app?ssl=true", "db", "require", "", "ssl"},
		{"postgresql+asyncpg://u:p w%2Fx@db/app?ssl=disable", "db", "disable", "", ""},
		{"postgres://u:p%40ss%2Fword@db/app?ssl=false", "db", "disable", "", "ssl"},
		{"postgresql://u:p@db/app?schema=auth&pgbouncer=true&connection_limit=1&sslmode=disable", "db", "disable", "auth", "pgbouncer"},
		{"postgresql://u:p@ep-x-pooler.neon.tech/app?sslmode=require&channel_binding=require", "ep-x-pooler.neon.tech", "require", "", "channel_binding"},
		{"host=db user=u password=p dbname=app sslmode=disable", "db", "disable", "", ""},
		{"postgresql:///app?host=/var/run/postgresql&user=u", "/var/run/postgresql", "disable", "", ""},
		{"/var/run/postgresql app", "/var/run/postgresql", "disable", "", ""},
		{"socket://u:p@/var/run/postgresql?db=app&encoding=utf8", "/var/run/postgresql", "disable", "", "encoding"},
		{"POSTGRES://u:p@db/app?sslmode=disable", "db", "disable", "", ""},
		{" postgres://u:p@db/app?sslmode=disable\n", "db", "disable", "", ""},
		{"jdbc:postgresql://db:5432/app?user=u&password=p&ssl=true&ApplicationName=x&prepareThreshold=0", "db", "require", "", "prepareThreshold"},
		{"postgresql+asyncpg:///app?host=a:5433&host=b:5434&user=u&ssl=disable", "a", "disable", "", ""},
		{"postgresql://u:p@[::1]:5433/app?sslmode=disable", "::1", "disable", "", ""},
		{"postgresql://u:p@db/app?sslaccept=accept_invalid_certs&sslmode=require", "db", "require", "", "sslaccept"},
		{"postgresql://u:p@db/app?sslmode=require&sslaccept=strict", "db", "verify-full", "", "sslaccept"},
		{"postgresql://u:p@db/app?sslaccept=strict", "db", "verify-full", "", "sslaccept"},
		{"postgresql://u:p@db/app?sslmode=verify-full&ssl=true", "db", "verify-full", "", "ssl"},
		{"postgresql://u:p@db/app?ssl=true&sslmode=prefer", "db", "require", "", "ssl"},
		{"postgresql://u:p@db/app?ssl=no-verify", "db", "require", "", "ssl"},
		{"postgresql://u:p@db/app?sslnegotiation=direct", "db", "verify-full", "", "sslnegotiation"},
		{"postgresql://u:p@db/app?sslnegotiation=direct&sslmode=require", "db", "require", "", ""},
		{"postgresql://u:p@db/app?sslrootcert=system", "db", "verify-full", "", ""},
		{"postgresql://u:p@db/app?ssl-mode=verify-full", "db", "verify-full", "", "ssl-mode"},
		{"host=db requiressl=1", "db", "require", "", "requiressl"},
		{"postgresql+asyncpg://u:p@/app?host=/cloudsql/project:region:db/.s.PGSQL.5432", "/cloudsql/project:region:db", "disable", "", ""},
		{"postgresql+pg8000://u:p@/app?unix_sock=/cloudsql/project:region:db/.s.PGSQL.5432", "/cloudsql/project:region:db", "disable", "", "unix_sock"},
		{"postgresql+psycopg2://u:p@/app?host=/cloudsql/project:region:db", "/cloudsql/project:region:db", "disable", "", ""},
	} {
		config, schema, err := connstring.Parse(row.dsn)
		if err != nil {
			t.Errorf("%s: %v", row.dsn, err)
			continue
		}
		c := config.ConnConfig
		if mode := modeOf(c); c.Host != row.host || mode != row.tls || schema != row.schema {
			t.Errorf("%s: host %s, TLS %s, schema %q", row.dsn, c.Host, mode, schema)
		}
		if _, there := c.RuntimeParams[row.unknown]; there {
			t.Errorf("%s: %s would reach the server", row.dsn, row.unknown)
		}
	}
}

// modeOf reads libpq's sslmode off a configuration.
func modeOf(c *pgx.ConnConfig) string {
	switch {
	case c.TLSConfig == nil && (len(c.Fallbacks) == 0 || c.Fallbacks[0].TLSConfig == nil):
		return "disable"
	case c.TLSConfig == nil:
		return "allow"
	case len(c.Fallbacks) > 0 && c.Fallbacks[0].TLSConfig == nil:
		return "prefer"
	case !c.TLSConfig.InsecureSkipVerify:
		return "verify-full"
	case c.TLSConfig.VerifyPeerCertificate != nil:
		return "verify-ca"
	}
	return "require"
}

// What a connection string asks for in the way of security is done, or refused; never left out.
func TestConnectionStringIsNotWeakened(t *testing.T) {
	t.Setenv("HOME", "/nonexistent")
	const base = "postgresql://u:p@db/app?"
	for query, want := range map[string]string{
		"sslmode=verify-full&sslcrl=/x.pem":            "has sslcrl, and looking into a list of revoked certificates cannot be done here",
		"sslcrldir=/x":                                 "has sslcrldir",
		"requirepeer=postgres":                         "has requirepeer",
		"gssencmode=require":                           "has gssencmode, and encryption by GSSAPI cannot be done here",
		"sslidentity=../client.p12&sslpassword=s3cret": "has sslidentity",
		"sslinline=true":                               "has sslinline",
		"scram_client_key=s3cret":                      "has scram_client_key",
		"SSLMode=verify-full":                          `has the parameter "SSLMode"`,
		"sslMode=verify-full":                          `has the parameter "sslMode"`,
		"tls=true":                                     `has the parameter "tls"`,
		"verify_server=1":                              `has the parameter "verify_server"`,
		"sslmode=s3cret":                               "unknown sslmode",
		"ssl=s3cret":                                   "unknown ssl",
		"sslaccept=s3cret":                             "unknown sslaccept",
		"sslaccept=strict&sslmode=disable":             "sslaccept=strict and no TLS",
		"ssl=require&sslmode=disable":                  "both ssl and sslmode",
		"sslmode=require&ssl=false":                    "both ssl and sslmode",
		"sslnegotiation=direct&sslmode=prefer":         "sslnegotiation=direct, which wants",
		"sslrootcert=system&sslmode=require":           "sslrootcert=system, which wants",
		"sslrootcert=/missing/s3cret.pem":              "has sslrootcert, a file that cannot be read: no such file or directory",
		"sslcert=/missing/s3cret.pem":                  "has sslcert, a file that cannot be read",
		"channel_binding=s3cret":                       "unknown channel_binding; write disable, prefer or require",
		"require_auth=s3cret":                          "is not a PostgreSQL connection string",
		"target_session_attrs=s3cret":                  "unknown target_session_attrs",
		"ssl_max_protocol_version=TLSv1":               "TLS before 1.2 is not spoken",
		"ssl_min_protocol_version=SSLv3":               "unknown ssl_min_protocol_version",
		"service=s3cret":                               "names a service that no service file has",
	} {
		_, _, err := connstring.Parse(base + query)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %q", query, err, want)
		}
	}
	config, _, err := connstring.Parse(base + "sslmode=require&channel_binding=require&require_auth=scram-sha-256&ssl_min_protocol_version=TLSv1.3")
	if err != nil {
		t.Fatal(err)
	}
	if c := config.ConnConfig; c.ChannelBinding != "require" || c.RequireAuth != "scram-sha-256" || c.TLSConfig.MinVersion != tls.VersionTLS13 {
		t.Errorf("%+v", c.Config)
	}
	for variable, value := range map[string]string{"PGREQUIREPEER": "postgres", "PGGSSENCMODE": "require", "PGSSLCRL": "/x"} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, value)
			if _, _, err := connstring.Parse(base); err == nil {
				t.Error("left out")
			}
		})
	}
}

// Parameters go where they belong: to the server what it knows, and nothing else.
func TestConnectionStringParameters(t *testing.T) {
	t.Setenv("HOME", "/nonexistent")
	dsn := "postgresql://u:p@db/app?sslmode=disable&statement_timeout=5000&currentSchema=auth&app.tenant=7&options[lock_timeout]=1s&TimeZone=UTC" +
		"&replication=database&zzz=1&aaa=2&zzz=3&keepalives=1&max=10&fallback_application_name=f&connect_timeout=1"
	config, _, err := connstring.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"statement_timeout": "5000", "search_path": "auth", "app.tenant": "7", "lock_timeout": "1s", "timezone": "UTC", "application_name": "f"}
	for name, value := range config.ConnConfig.RuntimeParams {
		if want[name] != value {
			t.Errorf("%s=%s would reach the server", name, value)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("missing %v", want)
	}
	if config.ConnConfig.ConnectTimeout != time.Second {
		t.Errorf("connect_timeout %s", config.ConnConfig.ConnectTimeout)
	}
	if got := connstring.Unknown(dsn); !slices.Equal(got, []string{"aaa", "replication", "zzz"}) {
		t.Errorf("left out %v", got)
	}
	// A service file's go the same way.
	file := filepath.Join(t.TempDir(), "services")
	if err := os.WriteFile(file, []byte("[app]\nhost=db\nuser=u\nkeepalives=1\nrequirepeer=postgres\n[good]\nhost=db\nkeepalives=1\nfrom_file=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PGSERVICEFILE", file)
	if _, _, err := connstring.Parse("postgresql://?service=app&sslmode=disable"); err == nil || !strings.Contains(err.Error(), "requirepeer") {
		t.Errorf("%v", err)
	}
	config, _, err = connstring.Parse("postgresql://?service=good&sslmode=disable")
	if err != nil || config.ConnConfig.Host != "db" || len(config.ConnConfig.RuntimeParams) != 1 {
		t.Errorf("%v %+v", err, config)
	}
	if got := connstring.Unknown("service=good sslmode=disable"); !slices.Equal(got, []string{"from_file"}) {
		t.Errorf("left out %v", got)
	}
}

// What was left out is told once, at the start, by its name alone, and doctor warns.
func TestUnknownParametersAreTold(t *testing.T) {
	log := &lockedBuffer{}
	dsn := sessionsDatabase(t) + "&made_up=s3cret&supa=base-pooler.x"
	config := Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn, Logger: slog.New(slog.NewTextHandler(log, nil))}
	a := startAuthorizer(t, config)
	expectReason(t, checkToken(t, a, liveToken), "")
	if text := log.String(); strings.Count(text, "made_up") != 1 || strings.Contains(text, "s3cret") || strings.Contains(text, "supa") {
		t.Errorf("want made_up once in:\n%s", text)
	}
	expectFindings(t, diagnoseTest(t, config), "database", "warning parameters: made_up: unknown, ignored")
}

// What a pooler or the server does not take is told with what to do.
func TestRefusedParametersAreTold(t *testing.T) {
	dsn := sessionsDatabase(t)
	for query, want := range map[string]string{
		"options=-c%20no_such_parameter%3D1": "correct it in Config.DatabaseURL: options=-c%20name%3Dvalue",
		"options=no-dash":                    "correct it in Config.DatabaseURL: options=-c%20name%3Dvalue",
	} {
		expectFindings(t, diagnoseTest(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn + "&" + query}), "database", "failure connect: ", want)
	}
	if got := connstring.WithAdvice("FATAL: unsupported startup parameter in options: search_path (SQLSTATE 08P01)"); !strings.Contains(got, "ignore_startup_parameters") {
		t.Error(got)
	}
}

// Better Auth's own way to name a schema reaches the server, and decides which tables are found.
func TestSearchPathInOptions(t *testing.T) {
	dsn := newDatabaseURL(t, `create schema auth`, `create schema "my schema"`, `create table public."session" ("sid" text)`)
	for schema, spellings := range map[string][]string{
		"auth":        {"options=-c%20search_path%3Dauth", "options=-c search_path=auth", "options=-csearch_path%3Dauth", "options=--search_path%3Dauth", "options=-c+search_path%3Dauth", "search_path=auth", "currentSchema=auth"},
		`"my schema"`: {`options=-c%20search_path%3D%22my%5C%20schema%22`, "search_path=%22my%20schema%22"},
	} {
		tables := append([]string{"set search_path = " + schema}, liveSession()...)
		execute(t, dsn, tables...)
		for _, spelling := range spellings {
			a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn + "&" + spelling})
			expectReason(t, checkToken(t, a, liveToken), "")
		}
	}
}

// A password that was not escaped is read as psql or node-postgres reads it, or refused; no piece of it is shown,
// neither by the error nor as a host's name, a port, a database's name or a parameter's.
func TestUnescapedPasswordIsNotShown(t *testing.T) {
	t.Setenv("HOME", "/nonexistent")
	pieces := []string{"alpha", "bravo", "charlie"}
	for _, between := range []string{"@", "/", "#", "?", ":", "%", "[", "]", "=", "&", "?x=", "?user=", "/?host=", "@/", "/@", "://", " ", ",", "%2", "+", `\`, "'", "@?", "?a=b&c=", "12/", "1?x=1&y="} {
		for _, behind := range []string{"@", "/", "#", "?", ":", "&", "=", "%zz"} {
			for _, before := range []string{"postgresql://u:", "postgresql://u:5432/", "postgresql+asyncpg://u:", "postgres://", "jdbc:postgresql://u:", "socket://u:"} {
				dsn := before + pieces[0] + between + pieces[1] + behind + pieces[2] + "@db.internal:5432/app?sslmode=disable"
				shown := strings.Join(connstring.Unknown(dsn), " ")
				config, _, err := connstring.Parse(dsn)
				if err != nil {
					shown += err.Error()
				} else {
					c := config.ConnConfig
					shown += c.Host + " " + c.Database
					for _, fallback := range c.Fallbacks {
						shown += " " + fallback.Host
					}
				}
				for _, piece := range pieces {
					if strings.Contains(shown, piece) {
						t.Errorf("%s: %q shows %s", dsn, shown, piece)
					}
				}
			}
		}
	}
	for dsn, want := range map[string]string{
		"mysql://u:s3cret@db/app":          `begins with "mysql://"`,
		"mongodb+srv://u:s3cret@db/app":    `begins with "mongodb://"`,
		"s3cret://u@db/app":                "does not begin with postgresql://",
		"postgresql://u:s3cret/x@db/app":   "percent-encode",
		"postgresql://u:p@db:s3cret/app":   "is not a PostgreSQL connection string",
		"s3cret":                           "is not a PostgreSQL connection string",
		"":                                 "is not a PostgreSQL connection string",
		"postgresql://u:s3cret@db/app?%zz": "query part that cannot be read",
		"host=db password=a s3cret=b":      "has a keyword that PostgreSQL's drivers do not know",
		"Host=db;Username=u;Password=s3cret;Database=app":  "has a keyword that PostgreSQL's drivers do not know",
		"host=db password=a s3cret":                        "is not a PostgreSQL connection string",
		"host=db password='s3cret":                         "is not a PostgreSQL connection string",
		`"postgresql://u:s3cret@db/app"`:                   "is in quotes",
		"postgresql://u:p@db/app#s3cret":                   "percent-encode",
		"postgresql://u:p@db,other/app?hostaddr=127.0.0.1": "1 host addresses (hostaddr) for 2 hosts",
		"postgresql://u:p@a,b,c/app?port=1,2":              "2 ports for 3 hosts",
		"postgresql://u:p@db/app?host=s3cret/x":            "percent-encode",
	} {
		_, _, err := connstring.Parse(dsn)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %q and no password", dsn, err, want)
		}
	}
}

// A socket that is named itself has its port in its name; what would lead elsewhere when left out is an error.
func TestSocketsByTheirFile(t *testing.T) {
	config, _, err := connstring.Parse("postgresql+asyncpg://u:p@/app?host=/run/postgresql/.s.PGSQL.6432")
	if err != nil || config.ConnConfig.Host != "/run/postgresql" || config.ConnConfig.Port != 6432 {
		t.Errorf("%+v, %v", config, err)
	}
	for _, parameter := range []string{"socketFactory=com.google.cloud.sql.postgres.SocketFactory", "cloudSqlInstance=project:region:db"} {
		if _, _, err := connstring.Parse("jdbc:postgresql:///app?" + parameter); err == nil || !strings.Contains(err.Error(), "socket factory") {
			t.Errorf("%s: %v", parameter, err)
		}
	}
}

// A connection that is open stays only where another one would lead to the same server in the same way.
func TestTargetsThatDiffer(t *testing.T) {
	t.Setenv("HOME", "/nonexistent")
	read := func(query string) *target.Target {
		to, err := target.Read("postgresql://u:p@a,b/app?sslmode=disable" + query)
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
	seen := []string{"", "&target_session_attrs=primary", "&target_session_attrs=read-write", "&target_session_attrs=standby",
		"&target_session_attrs=read-only", "&target_session_attrs=prefer-standby", "&search_path=auth", "&schema=auth"}
	for i, one := range seen {
		for j, other := range seen {
			if is := read(one).IsSame(read(other)); is != (i == j) {
				t.Errorf("%q and %q: the same is %t", one, other, is)
			}
		}
	}
	if !read("").IsSame(read("&target_session_attrs=any")) {
		t.Error("any is what is done without it")
	}
}
