package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"extauthz/extauthz"
)

// settings are everything that can be configured.
type settings struct {
	config      extauthz.Config
	listen      []address
	adminListen address
	tls         tlsFiles
	reflection  bool

	auditLog         string
	origins          []origin      // where each value came from, in the table's order
	secrets          []string      // of BETTER_AUTH_SECRETS, the current one first
	hasFiles         bool          // a secret stands in a file, which may change
	maxConnectionAge time.Duration // 0 for no bound
	shutdownDelay    time.Duration

	logFormat string
	logLevel  slog.Level
}

// origin is a value in force and where it came from.
type origin struct {
	*setting
	value, from string
}

// setting is one thing to configure: an environment variable and, unless it is a secret, a flag.
type setting struct {
	variable string
	flag     string // empty for a secret: every user of a machine can read a command line
	fallback string
	field    string // the extauthz.Config field that it fills, to name the variable in its faults
	help     string
	// read takes the value in; its error completes the sentence "VARIABLE …" and holds no secret.
	read func(s *settings, value string) error
}

var settingTable = []setting{
	{"BETTER_AUTH_URL", "better-auth-url", "http://localhost:3000", "Issuer",
		"issuer of the tokens: Better Auth's base URL; a trailing slash does no harm",
		func(s *settings, v string) error { s.config.Issuer = v; return nil }},
	{"JWKS_URL", "jwks-url", "", "JWKSURL",
		"where the issuer's keys are; by default BETTER_AUTH_URL + /api/auth/jwks",
		func(s *settings, v string) error { s.config.JWKSURL = v; return nil }},
	{"API_AUDIENCE", "api-audience", "http://127.0.0.1:8000", "Audiences",
		"accepted audience; of a comma-separated list any one",
		readAudiences},
	{"BETTER_AUTH_SECRET", "", "", "Secret",
		"Better Auth's secret; turns on HS256 tokens, session cookies and the check of a session token's signature",
		func(s *settings, v string) error { return s.setSecret(v) }},
	{"BETTER_AUTH_SECRET_FILE", "better-auth-secret-file", "", "Secret",
		"file that holds the secret, in place of BETTER_AUTH_SECRET",
		func(s *settings, v string) error { return s.readSecretFile(v, (*settings).setSecret) }},
	{"BETTER_AUTH_SECRETS", "", "", "Secret",
		"current and former secrets as Better Auth has them, newest first: 2:current,1:former; goes before BETTER_AUTH_SECRET, which then is a former one",
		func(s *settings, v string) error { return s.setSecrets(v) }},
	{"BETTER_AUTH_SECRETS_FILE", "better-auth-secrets-file", "", "Secret",
		"file that holds them, in place of BETTER_AUTH_SECRETS",
		func(s *settings, v string) error { return s.readSecretFile(v, (*settings).setSecrets) }},
	{"EXTAUTHZ_FORMER_SECRETS", "former-secrets", "none", "",
		"what a former secret may still verify during a rotation: none, hs256 (tokens of services that have not moved yet), sessions, or hs256,sessions",
		readFormerSecrets},
	{"DATABASE_URL", "", "", "DatabaseURL",
		"Better Auth's PostgreSQL database; turns on session tokens. postgresql+asyncpg://…?ssl=require works too",
		func(s *settings, v string) error { s.config.DatabaseURL = v; return nil }},
	{"DATABASE_URL_FILE", "database-url-file", "", "DatabaseURL",
		"file that holds it, in place of DATABASE_URL; read anew for each new connection, so that a password can change",
		readDatabaseURLFile},
	{"EXTAUTHZ_DATABASE_CONNECTIONS", "database-connections", strconv.Itoa(extauthz.DefaultDatabaseConnections), "",
		"most connections to PostgreSQL, 1 to 100; checks that wait share queries, so few are enough",
		readConnections},
	{"EXTAUTHZ_REMEMBERED_TOKENS", "remembered-tokens", strconv.Itoa(extauthz.DefaultRememberedTokens), "",
		"most verified JWTs whose signature is not verified anew each time, about 0.7 KiB each; 0 verifies every time",
		func(s *settings, v string) error { return readBound(&s.config.RememberedTokens, v, 1) }},
	{"EXTAUTHZ_REMEMBERED_MIB", "remembered-mib", strconv.Itoa(extauthz.DefaultRememberedBytes >> 20), "",
		"most memory for them, in MiB; 0 verifies every time",
		func(s *settings, v string) error { return readBound(&s.config.RememberedBytes, v, 1<<20) }},
	{"EXTAUTHZ_SHADOW", "shadow", "off", "",
		"for a roll-out: report decides, logs and counts, and allows everything unchanged; headers does so with the identity headers set and the client's own removed",
		readShadow},
	{"EXTAUTHZ_SESSION_COOKIE", "session-cookie", extauthz.DefaultSessionCookie, "",
		"the session cookie's name (Better Auth's cookiePrefix + .session_token), without __Secure-",
		readCookieName},
	{"EXTAUTHZ_SESSION_TABLE", "session-table", "", "",
		"the session table, table or schema.table; by default found by looking",
		func(s *settings, v string) error { s.config.Schema.SessionTable = v; return nil }},
	{"EXTAUTHZ_SESSION_COLUMNS", "session-columns", "", "",
		"its renamed columns, as token=…,expiresAt=…,userId=…",
		func(s *settings, v string) (err error) {
			s.config.Schema.SessionColumns, err = extauthz.ParseColumns(v, "token", "expiresAt", "userId")
			return err
		}},
	{"EXTAUTHZ_USER_TABLE", "user-table", "", "",
		"the user table, table or schema.table; by default found by looking",
		func(s *settings, v string) error { s.config.Schema.UserTable = v; return nil }},
	{"EXTAUTHZ_USER_COLUMNS", "user-columns", "", "",
		"its renamed columns, as id=…,email=…,name=…; `email=` or `name=` where there is none",
		func(s *settings, v string) (err error) {
			s.config.Schema.UserColumns, err = extauthz.ParseColumns(v, "id", "email", "name")
			return err
		}},
	{"EXTAUTHZ_LISTEN", "listen", ":9191", "",
		"where Envoy's checks come in: gRPC on host:port or unix:///path?mode=0660&user=…&group=…, or a comma-separated list of these",
		readListen},
	{"EXTAUTHZ_TLS_CERT_FILE", "tls-cert-file", "", "",
		"certificate chain, PEM; turns on TLS for TCP. Read anew when it changes",
		func(s *settings, v string) error { s.tls.certificate = v; return nil }},
	{"EXTAUTHZ_TLS_KEY_FILE", "tls-key-file", "", "",
		"its private key, PEM",
		func(s *settings, v string) error { s.tls.key = v; return nil }},
	{"EXTAUTHZ_TLS_CLIENT_CA_FILE", "tls-client-ca-file", "", "",
		"authorities of the clients' certificates, PEM; turns on mTLS, so that a client without one cannot connect",
		func(s *settings, v string) error { s.tls.clientCA = v; return nil }},
	{"EXTAUTHZ_TLS_CLIENT_NAMES", "tls-client-names", "", "",
		"SPIFFE ids and DNS names that may connect, comma-separated; by default all that the authorities vouch for",
		readClientNames},
	{"EXTAUTHZ_MAX_CONNECTION_AGE", "max-connection-age", "5m", "",
		"how long a connection lives before its client is asked to make another, so that new replicas get load; 0 for ever",
		func(s *settings, v string) error { return readDuration(&s.maxConnectionAge, v) }},
	{"EXTAUTHZ_SHUTDOWN_DELAY", "shutdown-delay", "0s", "",
		"how long to go on answering after SIGTERM while already not ready, so that Envoy and Kubernetes look away first",
		func(s *settings, v string) error { return readDuration(&s.shutdownDelay, v) }},
	{"EXTAUTHZ_ADMIN_LISTEN", "admin-listen", "127.0.0.1:9192", "",
		"HTTP for /healthz, /readyz and /metrics, on host:port",
		func(s *settings, v string) (err error) {
			if strings.HasPrefix(v, "unix:") {
				return fmt.Errorf("is %q; write host:port, as in 127.0.0.1:9192", v)
			}
			s.adminListen, err = parseAddress(v)
			return err
		}},
	{"EXTAUTHZ_REFLECTION", "reflection", "false", "",
		"true turns on gRPC reflection, for grpcurl",
		func(s *settings, v string) (err error) {
			if s.reflection, err = strconv.ParseBool(v); err != nil {
				return fmt.Errorf("is %q; write true or false", v)
			}
			return nil
		}},
	{"EXTAUTHZ_AUDIT_LOG", "audit-log", "", "",
		"a JSON line a decision, to stdout or to a file of this path, which SIGHUP opens anew; by default none",
		func(s *settings, v string) error { s.auditLog = v; return nil }},
	{"EXTAUTHZ_AUDIT_ALLOW_RATE", "audit-allow-rate", "1", "",
		"the share of allowed requests in the audit log, from 0 to 1; refused ones are all there",
		readAuditRate},
	{"EXTAUTHZ_LOG_FORMAT", "log-format", "json", "",
		"json or text, on standard error",
		func(s *settings, v string) error {
			if s.logFormat = v; v != "json" && v != "text" {
				return fmt.Errorf("is %q; write json or text", v)
			}
			return nil
		}},
	{"EXTAUTHZ_LOG_LEVEL", "log-level", "info", "",
		"debug (every decision), info (and refusals), warn (and outages) or error",
		readLogLevel},
}

func readAudiences(s *settings, value string) error {
	for audience := range strings.SplitSeq(value, ",") {
		if audience = strings.TrimSpace(audience); audience != "" {
			s.config.Audiences = append(s.config.Audiences, audience)
		}
	}
	if len(s.config.Audiences) == 0 {
		return fmt.Errorf("is %q, which names no audience; write the API's URL as it stands in the tokens' aud", value)
	}
	return nil
}

func (s *settings) setSecret(value string) error {
	switch {
	case len(s.config.Secret) > 0:
		return errors.New("and BETTER_AUTH_SECRET are both set; keep one of them")
	case strings.TrimSpace(value) == "":
		return errors.New("holds nothing but white space; set Better Auth's secret, or nothing")
	case strings.TrimSpace(value) != value:
		return errors.New("begins or ends with white space, which Better Auth's secret hardly does; remove it")
	}
	s.config.Secret = []byte(value)
	return nil
}

// setSecrets reads version:secret,version:secret, the newest first.
func (s *settings) setSecrets(value string) error {
	if len(s.secrets) > 0 {
		return errors.New("and BETTER_AUTH_SECRETS are both set; keep one of them")
	}
	for entry := range strings.SplitSeq(value, ",") {
		version, one, found := strings.Cut(strings.TrimSpace(entry), ":")
		if _, err := strconv.ParseUint(version, 10, 31); !found || err != nil || one == "" || strings.TrimSpace(one) != one {
			return errors.New("is not version:secret,version:secret with the newest first, as Better Auth writes it: 2:current,1:former")
		}
		s.secrets = append(s.secrets, one)
	}
	return nil
}

func readSmallFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > 64<<10) {
		return nil, fmt.Errorf("names %q, which is not a file of at most 64 KiB; name the file that holds the secret", path)
	}
	var content []byte
	if err == nil {
		content, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("names a file that cannot be read (%v); check its path and rights", err)
	}
	return content, nil
}

// readSecretFile hands a file's content to set.
func (s *settings) readSecretFile(path string, set func(*settings, string) error) error {
	content, err := readSmallFile(path)
	if err != nil {
		return err
	}
	s.hasFiles = true
	return set(s, string(bytes.TrimRight(content, "\r\n")))
}

func readDatabaseURLFile(s *settings, path string) error {
	if s.config.DatabaseURL != "" {
		return errors.New("and DATABASE_URL are both set; keep one of them")
	}
	read := func() (string, error) {
		content, err := readSmallFile(path)
		return string(bytes.TrimSpace(content)), err
	}
	var err error
	if s.config.DatabaseURL, err = read(); err != nil {
		return err
	}
	if s.config.DatabaseURL == "" {
		return fmt.Errorf("names %q, which is empty; write the connection string into it", path)
	}
	s.config.ReadDatabaseURL = read
	return nil
}

func readFormerSecrets(s *settings, value string) error {
	for use := range strings.SplitSeq(value, ",") {
		switch strings.TrimSpace(use) {
		case "none":
		case "hs256":
			s.config.FormerForHS256 = true
		case "sessions":
			s.config.FormerForSessions = true
		default:
			return fmt.Errorf("is %q; write none, hs256, sessions or hs256,sessions", value)
		}
	}
	return nil
}

func readAuditRate(s *settings, value string) error {
	rate, err := strconv.ParseFloat(value, 64)
	if err != nil || !(rate >= 0 && rate <= 1) {
		return fmt.Errorf("is %q; write a number from 0 to 1, as in 0.01", value)
	}
	if s.config.AuditAllowRate = rate; rate == 0 {
		s.config.AuditAllowRate = -1
	}
	return nil
}

func readShadow(s *settings, value string) error {
	modes := map[string]extauthz.Shadow{"off": extauthz.ShadowOff, "report": extauthz.ShadowReport, "headers": extauthz.ShadowHeaders}
	mode, known := modes[value]
	if !known {
		return fmt.Errorf("is %q; write off, report or headers", value)
	}
	s.config.Shadow = mode
	return nil
}

func readConnections(s *settings, value string) error {
	connections, err := strconv.Atoi(value)
	if err != nil || connections < 1 || connections > 100 {
		return fmt.Errorf("is %q; write a number from 1 to 100", value)
	}
	s.config.DatabaseConnections = connections
	return nil
}

// readBound reads a number of units; 0 becomes -1, which turns off what it bounds.
func readBound(into *int, value string, unit int) error {
	const most = 1 << 30
	number, err := strconv.Atoi(value)
	if err != nil || number < 0 || number > most/unit {
		return fmt.Errorf("is %q; write a number from 0 to %d", value, most/unit)
	}
	if *into = number * unit; number == 0 {
		*into = -1
	}
	return nil
}

func readCookieName(s *settings, value string) error {
	if strings.HasPrefix(value, "__Secure-") {
		return fmt.Errorf("is %q; leave out __Secure-, which is accepted by itself", value)
	}
	if strings.ContainsAny(value, "=;, \t\"") {
		return fmt.Errorf("is %q, which is not a cookie's name; write one like myapp.session_token", value)
	}
	s.config.SessionCookie = value
	return nil
}

func readListen(s *settings, value string) error {
	for one := range strings.SplitSeq(value, ",") {
		a, err := parseAddress(strings.TrimSpace(one))
		if err != nil {
			return err
		}
		s.listen = append(s.listen, a)
	}
	return nil
}

func readClientNames(s *settings, value string) error {
	for name := range strings.SplitSeq(value, ",") {
		if name = strings.TrimSpace(name); name == "" || strings.Contains(name, "*") {
			return fmt.Errorf("is %q; write whole names, as in spiffe://cluster.local/ns/istio-system/sa/ingress or envoy.example.com", value)
		}
		s.tls.clientNames = append(s.tls.clientNames, name)
	}
	return nil
}

func readDuration(into *time.Duration, value string) (err error) {
	if *into, err = time.ParseDuration(value); err != nil || *into < 0 {
		return fmt.Errorf("is %q; write a duration, as in 30s or 5m", value)
	}
	return nil
}

func readLogLevel(s *settings, value string) error {
	switch value {
	case "debug", "info", "warn", "error":
		return s.logLevel.UnmarshalText([]byte(value))
	}
	return fmt.Errorf("is %q; write debug, info, warn or error", value)
}

// loadSettings reads flags over environment over defaults. rest is what follows the flags. The error
// is one line that names the variable or flag, its fault and the mend, or flag.ErrHelp.
func loadSettings(command string, args []string, getenv func(string) string, more func(*flag.FlagSet)) (s *settings, rest []string, err error) {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	values := make([]*string, len(settingTable))
	for i, setting := range settingTable {
		if setting.flag != "" {
			values[i] = flags.String(setting.flag, "", setting.help)
		}
	}
	if more != nil {
		more(flags)
	}
	for rest = nil; ; { // flags may stand before and behind what is no flag
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, nil, flag.ErrHelp
			}
			return nil, nil, fmt.Errorf("%w; 'extauthz %s --help' lists the flags", err, command)
		}
		if args = flags.Args(); len(args) == 0 {
			break
		}
		rest, args = append(rest, args[0]), args[1:]
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })

	s = &settings{}
	for i, setting := range settingTable {
		name, value, from := setting.variable, getenv(setting.variable), "environment"
		if setting.flag != "" && given[setting.flag] {
			name, value, from = "--"+setting.flag, *values[i], "flag"
		} else if value == "" {
			value, from = setting.fallback, "default" // an empty variable counts as unset
		}
		s.origins = append(s.origins, origin{&settingTable[i], value, from})
		if value == "" && name == setting.variable {
			continue
		}
		if err := setting.read(s, value); err != nil {
			return nil, nil, fmt.Errorf("%s %w", name, err)
		}
	}
	if len(s.secrets) > 0 {
		if s.config.Secret != nil {
			s.secrets = append(s.secrets, string(s.config.Secret))
		}
		s.config.Secret = []byte(s.secrets[0])
		for _, former := range s.secrets[1:] {
			s.config.FormerSecrets = append(s.config.FormerSecrets, []byte(former))
		}
	}
	if err := s.tls.check(); err != nil {
		return nil, nil, err
	}
	return s, rest, nil
}

// configFault names the variable behind a fault that the library found.
func configFault(err error) error {
	if fault, ok := errors.AsType[*extauthz.ConfigError](err); ok {
		for _, setting := range settingTable {
			if setting.field == fault.Field {
				return fmt.Errorf("%s %s", setting.variable, fault.Fault)
			}
		}
	}
	return err
}

// printSettings documents every setting, for --help.
func printSettings(w io.Writer) {
	fmt.Fprintln(w, "settings, each an environment variable and, unless it is a secret, a flag that goes before it:")
	for _, setting := range settingTable {
		fmt.Fprintf(w, "\n  %s", setting.variable)
		if setting.flag != "" {
			fmt.Fprintf(w, ", --%s", setting.flag)
		}
		if setting.fallback != "" {
			fmt.Fprintf(w, " (default %s)", setting.fallback)
		}
		fmt.Fprintf(w, "\n      %s\n", setting.help)
	}
}

func newLogger(s *settings, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: s.logLevel}
	if s.logFormat == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}
