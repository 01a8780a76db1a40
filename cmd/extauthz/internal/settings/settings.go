// Package settings is everything that can be configured: one table, with the reader of each value and where the value
// came from, so that a fault is one line that names what gave it. It imports listen, certificates, readiness and
// discreet, and does not know where values are given or what is done with them.
package settings

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"extauthz/cmd/extauthz/internal/certificates"
	"extauthz/cmd/extauthz/internal/listen"
	"extauthz/cmd/extauthz/internal/readiness"
	"extauthz/extauthz"
	"extauthz/extauthz/operator"
)

// Settings are everything that can be configured.
type Settings struct {
	Config      extauthz.Config
	Listen      []listen.Address
	AdminListen listen.Address
	TLS         certificates.Files
	Reflection  bool
	AdminPage   bool

	Issuers []*Issuer // of the file's list; nil where the plain settings make one

	AuditLog         string
	Origins          []Origin      // where each value came from, in the table's order
	secrets          []string      // of BETTER_AUTH_SECRETS, the current one first
	HasFiles         bool          // there are files of secrets, which may change
	MaxConnectionAge time.Duration // 0 for no bound
	ShutdownDelay    time.Duration
	Ready            readiness.After

	LogFormat string
	LogLevel  slog.Level
}

// Origin is a value in force and where it came from.
type Origin struct {
	*Setting
	Value, From string
	Name        string // what to call it in a fault: the variable, the flag, or the file's line
}

// Setting is one thing to configure: an environment variable and, unless it is a secret, a flag.
type Setting struct {
	Variable string
	Flag     string // empty for a secret: every user of a machine can read a command line
	Fallback string
	Field    string // the field of extauthz.Config that it fills, as the library names it in its texts
	Shape    shape  // of its value in a file
	Help     string
	// read takes the value in; its error completes the sentence "VARIABLE …" and holds no secret.
	read func(s *Settings, value string) error
}

// Table has one row for each setting.
var Table = []Setting{
	{"EXTAUTHZ_CONFIG", "config", "", "", text,
		"YAML file of settings, each by its flag's name; flags and environment variables override it",
		func(*Settings, string) error { return nil }}, // package sources reads it
	{"BETTER_AUTH_URL", "better-auth-url", "http://localhost:3000", "Issuer", text,
		"Better Auth's base URL, as Better Auth has it: its origin is the issuer of the tokens, and the keys are " +
			"below it. A trailing slash is ignored",
		func(s *Settings, v string) error { s.Config.Issuer = v; return nil }},
	{"EXTAUTHZ_ISSUERS", "issuers", "", "Issuers", listOfAnyTexts,
		"the accepted iss, comma-separated (\\, for a comma), any strings, compared exactly; " +
			"by default the origin of BETTER_AUTH_URL, and that itself where it has no path. " +
			"With these BETTER_AUTH_URL only says where the keys are",
		readIssuers},
	{"JWKS_URL", "jwks-url", "", "JWKSURL", text,
		"URL of the issuer's keys; by default BETTER_AUTH_URL + /api/auth/jwks, or + /jwks if BETTER_AUTH_URL has " +
			"a path",
		func(s *Settings, v string) error { s.Config.JWKSURL = v; return nil }},
	{"JWKS_PROXY", "", "", "JWKSProxy", text,
		"proxy through which the JWKS is fetched: http://, https:// or socks5:// and host:port, " +
			"with user:password@ in front of the host if need be; by default none, whatever HTTPS_PROXY says",
		func(s *Settings, v string) error { return s.setJWKSProxy(v) }},
	{"JWKS_PROXY_FILE", "jwks-proxy-file", "", "JWKSProxy", text,
		"file that holds JWKS_PROXY; read at the start",
		readJWKSProxyFile},
	{"API_AUDIENCE", "api-audience", "http://127.0.0.1:8000", "Audiences", listOfTexts,
		"accepted audiences, comma-separated; a token needs one of them",
		readAudiences},
	{"BETTER_AUTH_SECRET", "", "", "Secret", text,
		"Better Auth's secret; turns on HS256 tokens, session cookies and the signature check of session tokens",
		func(s *Settings, v string) error { return s.setSecret(v) }},
	{"BETTER_AUTH_SECRET_FILE", "better-auth-secret-file", "", "Secret", text,
		"file that holds the secret, instead of BETTER_AUTH_SECRET",
		func(s *Settings, v string) error { return s.readSecretFile(v, (*Settings).setSecret) }},
	{"BETTER_AUTH_SECRETS", "", "", "Secret", text,
		"current and former secrets in Better Auth's form, newest first: 2:current,1:former; overrides " +
			"BETTER_AUTH_SECRET, which is then a former secret",
		func(s *Settings, v string) error { return s.setSecrets(v) }},
	{"BETTER_AUTH_SECRETS_FILE", "better-auth-secrets-file", "", "Secret", text,
		"file that holds them, instead of BETTER_AUTH_SECRETS",
		func(s *Settings, v string) error { return s.readSecretFile(v, (*Settings).setSecrets) }},
	{"EXTAUTHZ_FORMER_SECRETS", "former-secrets", "none", "FormerSecrets", listOf("none", "hs256", "sessions"),
		"what a former secret may still verify during a rotation: none, hs256 (tokens of services that have not moved yet), sessions, or hs256,sessions",
		readFormerSecrets},
	{"DATABASE_URL", "", "", "DatabaseURL", text,
		"Better Auth's PostgreSQL database; turns on session tokens. postgresql+asyncpg://…?ssl=require works too",
		func(s *Settings, v string) error { s.Config.DatabaseURL = v; return nil }},
	{"DATABASE_URL_FILE", "database-url-file", "", "DatabaseURL", text,
		"file that holds it, in place of DATABASE_URL; read every two seconds: " +
			"another password is used by new connections, another server or user at once",
		func(s *Settings, v string) error {
			return readURLFile(&s.Config.DatabaseURL, &s.Config.ReadDatabaseURL, "DATABASE_URL", v)
		}},
	{"EXTAUTHZ_DATABASE_CONNECTIONS", "database-connections", strconv.Itoa(operator.DefaultDatabaseConnections),
		"DatabaseConnections", between(1, 100),
		"maximum number of connections to PostgreSQL, 1 to 100; waiting checks share queries, so a few are enough",
		readConnections},
	{"EXTAUTHZ_DATABASE_MAX_LAG", "database-max-lag", "0s", "DatabaseMaxLag", duration,
		"maximum replication lag of a standby that may answer for sessions, as in 2s; a sign-out takes effect " +
			"that much later. 0: only a primary may answer",
		func(s *Settings, v string) error { return readDuration(&s.Config.DatabaseMaxLag, v) }},
	{"REDIS_URL", "", "", "RedisURL", text,
		"Better Auth's secondaryStorage, as redis://user:password@host:6379/0; turns on session tokens",
		func(s *Settings, v string) error { s.Config.RedisURL = v; return nil }},
	{"REDIS_URL_FILE", "redis-url-file", "", "RedisURL", text,
		"file that holds it, in place of REDIS_URL; read every two seconds, as DATABASE_URL_FILE",
		func(s *Settings, v string) error {
			return readURLFile(&s.Config.RedisURL, &s.Config.ReadRedisURL, "REDIS_URL", v)
		}},
	{"EXTAUTHZ_REDIS_PREFIX", "redis-prefix", "", "RedisPrefix", text,
		"what is in front of every key there; by default " + operator.DefaultRedisPrefix + "; none for an adapter without",
		func(s *Settings, v string) error { s.Config.RedisPrefix = v; return nil }},
	{"EXTAUTHZ_REDIS_HASHED_TOKENS", "redis-hashed-tokens", "false", "RedisHashedTokens", boolean,
		"true for an adapter that keeps sessions under the token's SHA-256 in hexadecimal",
		func(s *Settings, v string) error { return readBoolean(&s.Config.RedisHashedTokens, v) }},
	{"EXTAUTHZ_REMEMBERED_TOKENS", "remembered-tokens", strconv.Itoa(operator.DefaultRememberedTokens), "RememberedTokens",
		between(0, maxBound),
		"maximum number of JWTs whose verified signature is remembered, about 0.7 KiB each; 0 verifies every time",
		func(s *Settings, v string) error { return readBound(&s.Config.RememberedTokens, v, 1) }},
	{"EXTAUTHZ_REMEMBERED_MIB", "remembered-mib", strconv.Itoa(operator.DefaultRememberedBytes >> 20), "RememberedBytes",
		between(0, maxBound>>20),
		"maximum memory for them, in MiB; 0 verifies every time",
		func(s *Settings, v string) error { return readBound(&s.Config.RememberedBytes, v, 1<<20) }},
	{"EXTAUTHZ_SHADOW", "shadow", "off", "Shadow", oneOf("off", "report", "headers", shadowTrusting),
		"for a roll-out: report decides, logs and counts, allows everything, " +
			"and removes the client's own identity headers; headers also sets those of what would be allowed; " +
			shadowTrusting + " changes no header, so that a backend that reads them believes whatever a client writes",
		readShadow},
	{"EXTAUTHZ_SESSION_COOKIE", "session-cookie", operator.DefaultSessionCookie, "SessionCookie", text,
		"the session cookie's name (Better Auth's cookiePrefix + .session_token), without __Secure-",
		readCookieName},
	{"EXTAUTHZ_TRUSTED_ORIGINS", "trusted-origins", "", "TrustedOrigins", listOfTexts,
		"origins of other sites from which the cookie may authenticate unsafe methods and WebSockets, " +
			"comma-separated, as Better Auth's trustedOrigins: https://app.example.com, https://*.example.com, " +
			"capacitor://localhost",
		readTrustedOrigins},
	{"EXTAUTHZ_REQUIRE_SIGNATURE", "require-signature", "false", "RequireSignature", boolean,
		"true refuses raw session tokens, as Better Auth's bearer({ requireSignature: true }); wants the secret",
		func(s *Settings, v string) error { return readBoolean(&s.Config.RequireSignature, v) }},
	{"EXTAUTHZ_KEEP_HEADERS", "keep-headers", "", "KeepHeaders", listOfTexts,
		"the client's headers that begin with x-user- or x-auth- and reach the backend all the same, " +
			"by their exact names, comma-separated; never one that this server sets. " +
			"gRPC-Web's x-user-agent needs no listing. " +
			"Envoy may remove them before: the overlays for Istio and Envoy Gateway do",
		readKeepHeaders},
	{"EXTAUTHZ_IDENTITY", "identity", "", "Identity", listOfTexts,
		"further facts of the user, for the backend and for the rules of routes, comma-separated: " +
			"role, organization, email-verified, impersonator, session-id, " +
			"user.COLUMN=x-user-…, session.COLUMN=x-auth-…, claim.NAME=x-user-… (dots reach into objects)",
		readIdentity},
	{"EXTAUTHZ_SESSION_TABLE", "session-table", "", "Schema.SessionTable", text,
		"session table, table or schema.table; detected by default",
		func(s *Settings, v string) error { s.Config.Schema.SessionTable = v; return nil }},
	{"EXTAUTHZ_SESSION_COLUMNS", "session-columns", "", "Schema.SessionColumns", text,
		"its renamed columns, as token=…,expiresAt=…,userId=…,id=…,activeOrganizationId=…,impersonatedBy=…",
		func(s *Settings, v string) (err error) {
			s.Config.Schema.SessionColumns, err = operator.ParseColumns(v, "token", "expiresAt", "userId",
				"id", "activeOrganizationId", "impersonatedBy")
			return err
		}},
	{"EXTAUTHZ_USER_TABLE", "user-table", "", "Schema.UserTable", text,
		"user table, table or schema.table; detected by default",
		func(s *Settings, v string) error { s.Config.Schema.UserTable = v; return nil }},
	{"EXTAUTHZ_USER_COLUMNS", "user-columns", "", "Schema.UserColumns", text,
		"its renamed columns, as id=…,email=…,name=…,emailVerified=…,role=…,banned=…,banExpires=…; " +
			"`email=`, `name=`, `banned=` or `banExpires=` where there is none",
		func(s *Settings, v string) (err error) {
			s.Config.Schema.UserColumns, err = operator.ParseColumns(v, "id", "email", "name",
				"emailVerified", "role", "banned", "banExpires")
			return err
		}},
	{"EXTAUTHZ_MEMBER_TABLE", "member-table", "", "Schema.MemberTable", text,
		"the organization plugin's table of members, table or schema.table; by default found by looking",
		func(s *Settings, v string) error { s.Config.Schema.MemberTable = v; return nil }},
	{"EXTAUTHZ_MEMBER_COLUMNS", "member-columns", "", "Schema.MemberColumns", text,
		"its renamed columns, as organizationId=…,userId=…,role=…",
		func(s *Settings, v string) (err error) {
			s.Config.Schema.MemberColumns, err = operator.ParseColumns(v, "organizationId", "userId", "role")
			return err
		}},
	{"EXTAUTHZ_LISTEN", "listen", "127.0.0.1:9191", "", listOfTexts,
		"where Envoy's checks come in, by default from this machine alone: " +
			"gRPC on host:port (:9191 for every address), unix:///path?mode=0660&user=…&group=…, " +
			"unix://@name for an abstract socket, or systemd:name for a socket that systemd opened; " +
			"or a comma-separated list of these",
		readListen},
	{"EXTAUTHZ_MAX_MESSAGE_MIB", "max-message-mib", strconv.Itoa(operator.DefaultMaxMessageBytes >> 20),
		"MaxMessageBytes", between(1, maxMessageMiB),
		"most MiB of one check's message, the body that with_request_body sends along among them; " +
			"a larger one is refused with 503",
		func(s *Settings, v string) error { return readMaxMessage(&s.Config.MaxMessageBytes, v) }},
	{"EXTAUTHZ_TLS_CERT_FILE", "tls-cert-file", "", "", text,
		"certificate chain, PEM; turns on TLS for TCP. Reloaded when it changes",
		func(s *Settings, v string) error { s.TLS.Certificate = v; return nil }},
	{"EXTAUTHZ_TLS_KEY_FILE", "tls-key-file", "", "", text,
		"its private key, PEM",
		func(s *Settings, v string) error { s.TLS.Key = v; return nil }},
	{"EXTAUTHZ_TLS_CLIENT_CA_FILE", "tls-client-ca-file", "", "", text,
		"authorities of the clients' certificates, PEM; turns on mTLS: clients without a certificate cannot " +
			"connect",
		func(s *Settings, v string) error { s.TLS.ClientCA = v; return nil }},
	{"EXTAUTHZ_TLS_CLIENT_NAMES", "tls-client-names", "", "", listOfTexts,
		"SPIFFE ids and DNS names that may connect, comma-separated; by default all that the authorities certify",
		readClientNames},
	{"EXTAUTHZ_MAX_CONNECTION_AGE", "max-connection-age", "5m", "", duration,
		"maximum age of a connection, after which its client must reconnect, so that new replicas get load; 0: no " +
			"limit",
		func(s *Settings, v string) error { return readDuration(&s.MaxConnectionAge, v) }},
	{"EXTAUTHZ_SHUTDOWN_DELAY", "shutdown-delay", "0s", "", duration,
		"how long to keep answering after SIGTERM, already not ready, until Envoy and Kubernetes have removed the " +
			"endpoint",
		func(s *Settings, v string) error { return readDuration(&s.ShutdownDelay, v) }},
	{"EXTAUTHZ_READY", "ready", readiness.DefaultWait.String(), "", readyShape,
		"when it is ready: all (the JWKS, Redis and the database have each answered), any (one has), or a time since " +
			"the start after which one is enough. Until then checks that need the other part get 503",
		readReadyAfter},
	{"EXTAUTHZ_ADMIN_LISTEN", "admin-listen", "127.0.0.1:9192", "", text,
		"HTTP for /healthz, /readyz and /metrics, on host:port or systemd:name",
		func(s *Settings, v string) (err error) {
			if strings.HasPrefix(v, "unix:") {
				return fmt.Errorf("is %q; write host:port, as in 127.0.0.1:9192", v)
			}
			s.AdminListen, err = listen.Parse(v)
			return err
		}},
	{"EXTAUTHZ_ADMIN_PAGE", "admin-page", "false", "", boolean,
		"true serves a page there that shows the last hour and explains credentials; anyone who reaches the " +
			"address can read it",
		func(s *Settings, v string) error { return readBoolean(&s.AdminPage, v) }},
	{"EXTAUTHZ_REFLECTION", "reflection", "false", "", boolean,
		"true turns on gRPC reflection, for grpcurl",
		func(s *Settings, v string) error { return readBoolean(&s.Reflection, v) }},
	{"EXTAUTHZ_AUDIT_LOG", "audit-log", "", "", text,
		"one JSON line per decision, to stdout or to a file of this path, which SIGHUP reopens; by default none",
		func(s *Settings, v string) error { s.AuditLog = v; return nil }},
	{"EXTAUTHZ_AUDIT_ALLOW_RATE", "audit-allow-rate", "1", "AuditAllowRate", fraction,
		"share of allowed requests in the audit log, from 0 to 1; all refusals are logged",
		readAuditRate},
	{"EXTAUTHZ_LOG_FORMAT", "log-format", "json", "", oneOf("json", "text"),
		"json or text, on standard error",
		func(s *Settings, v string) error {
			if s.LogFormat = v; v != "json" && v != "text" {
				return fmt.Errorf("is %q; write json or text", v)
			}
			return nil
		}},
	{"EXTAUTHZ_LOG_LEVEL", "log-level", "info", "", oneOf("debug", "info", "warn", "error"),
		"debug (every decision), info (and refusals), warn (and outages) or error",
		readLogLevel},
}

// Print documents every setting, for --help.
func Print(w io.Writer) {
	fmt.Fprintln(w, "Settings. Each is an environment variable and, unless it is a secret, a flag and a key of the file of --config. Precedence: flags, environment, file, default.")
	for _, setting := range Table {
		fmt.Fprintf(w, "\n  %s", setting.Variable)
		if setting.Flag != "" {
			fmt.Fprintf(w, ", --%s", setting.Flag)
		}
		if setting.Fallback != "" {
			fmt.Fprintf(w, " (default %s)", setting.Fallback)
		}
		fmt.Fprintf(w, "\n      %s\n", setting.Help)
	}
}

// Find returns the setting of that variable, or nil.
func Find(variable string) *Setting {
	for i := range Table {
		if Table[i].Variable == variable {
			return &Table[i]
		}
	}
	return nil
}

// AdminSetting is the one that commands read alone which only ask a server that runs.
const AdminSetting = "EXTAUTHZ_ADMIN_LISTEN"

// ConfigFlag is the flag that names the file of settings.
const ConfigFlag = "config"

// FindFlag is the setting of a flag, which is its key in a file, too; nil where there is none.
func FindFlag(flag string) *Setting {
	for i := range Table {
		if Table[i].Flag == flag && flag != "" {
			return &Table[i]
		}
	}
	return nil
}
