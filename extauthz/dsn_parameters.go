package extauthz

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// libpqKeywords are libpq's parameters, as of PostgreSQL 18.
var libpqKeywords = []string{
	"application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname", "fallback_application_name",
	"gssdelegation", "gssencmode", "gsslib", "host", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle",
	"keepalives_interval", "krbsrvname", "load_balance_hosts", "max_protocol_version", "min_protocol_version",
	"oauth_client_id", "oauth_client_secret", "oauth_issuer", "oauth_scope", "options", "passfile", "password", "port",
	"replication", "require_auth", "requirepeer", "scram_client_key", "scram_server_key", "service",
	"ssl_max_protocol_version", "ssl_min_protocol_version", "sslcert", "sslcertmode", "sslcompression", "sslcrl",
	"sslcrldir", "sslkey", "sslkeylogfile", "sslmode", "sslnegotiation", "sslpassword", "sslrootcert", "sslsni",
	"target_session_attrs", "tcp_user_timeout", "user",
}

// pgxKeywords are those of libpq's parameters that pgx does as libpq does.
var pgxKeywords = []string{
	"application_name", "channel_binding", "dbname", "host", "krbspn", "krbsrvname", "max_protocol_version",
	"min_protocol_version", "options", "passfile", "password", "port", "require_auth", "service", "servicefile",
	"sslcert", "sslcertmode", "sslkey", "sslmode", "sslnegotiation", "sslpassword", "sslrootcert", "sslsni",
	"target_session_attrs", "user",
}

// otherNames are other drivers' names for these.
var otherNames = map[string]string{
	// JDBC, Rails
	"database": "dbname", "username": "user", "ApplicationName": "application_name", "applicationName": "application_name",
	"currentSchema": "search_path", "schema_search_path": "search_path",
	// pg8000
	"unix_sock": "host",
	// sqlx
	"ssl-mode": "sslmode", "ssl-root-cert": "sslrootcert", "ssl-ca": "sslrootcert", "ssl-cert": "sslcert",
	"ssl-key": "sslkey",
	// the server's parameters as it spells them itself
	"TimeZone": "timezone", "DateStyle": "datestyle", "IntervalStyle": "intervalstyle",
}

// checkedBefore are parameters that connectionString.put has words for.
var checkedBefore = []string{
	"connect_timeout", "fallback_application_name", "gssencmode", "hostaddr", "oauth_client_secret", "requirepeer",
	"requiressl", "scram_client_key", "scram_server_key", "schema", "ssl", "ssl_max_protocol_version",
	"ssl_min_protocol_version", "sslaccept", "sslcrl", "sslcrldir", "sslidentity", "sslinline", "targetServerType",
	"socketFactory", "cloudSqlInstance",
}

// runtimeParameters go to the server: drivers send them when the connection starts. PostgreSQL refuses a connection
// with any that it does not know, so nothing else is sent, but for names with a dot, which it always takes.
var runtimeParameters = []string{
	"search_path", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout",
	"transaction_timeout", "timezone", "datestyle", "intervalstyle", "default_transaction_read_only",
	"default_transaction_isolation", "default_transaction_deferrable", "default_table_access_method",
	"extra_float_digits", "bytea_output", "client_min_messages", "client_connection_check_interval", "role",
	"session_authorization", "row_security", "work_mem", "temp_buffers", "jit", "geqo", "plan_cache_mode", "xmloption",
	"synchronous_commit", "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count",
	"effective_cache_size", "random_page_cost", "enable_seqscan", "enable_indexscan", "enable_bitmapscan",
	"enable_hashjoin", "enable_mergejoin", "enable_nestloop", "max_parallel_workers_per_gather",
	"log_min_duration_statement", "log_statement", "temp_file_limit", "lc_messages", "lc_time", "lc_numeric",
	"lc_monetary",
}

// withoutEffect are parameters that change nothing here: how a driver pools, prepares, times and encodes.
var withoutEffect = []string{
	// libpq: the sockets' keep-alive is Go's, the encoding is always UTF-8, and a list of hosts is tried in its order
	"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "client_encoding",
	"sslcompression", "sslkeylogfile", "gsslib", "gssdelegation", "load_balance_hosts", "oauth_issuer",
	"oauth_client_id", "oauth_scope",
	// SQLAlchemy, asyncpg and psycopg
	"prepared_statement_cache_size", "statement_cache_size", "prepared_statement_name_func", "async_fallback",
	"command_timeout", "timeout", "server_settings", "max_cached_statement_lifetime", "max_cacheable_statement_size",
	"min_size", "max_size", "max_overflow", "pool_size", "pool_recycle", "pool_pre_ping", "pool_timeout",
	"prepare_threshold", "autocommit", "conn_max_age", "conn_health_checks", "driver", "executemany_mode",
	"use_native_hstore",
	// Prisma, and the poolers that Node's tools are told of
	"pgbouncer", "connection_limit", "socket_timeout", "max_idle_connection_lifetime", "single_use_connections",
	"workaround", "supa", "pool", "pooler_mode", "pool_mode",
	// node-postgres and postgres.js
	"uselibpqcompat", "max", "min", "idleTimeoutMillis", "connectionTimeoutMillis", "idle_timeout", "max_lifetime",
	"query_timeout", "binary", "keepAlive", "keep_alive", "keepAliveInitialDelayMillis", "maxUses",
	"maxLifetimeSeconds", "allowExitOnIdle", "prepare", "no_prepare", "fetch_types", "debug", "encoding", "types",
	"parseInputDatesAsUTC", "enableChannelBinding", "db", "connectionTimeout", "statement_cache",
	// pgx and lib/pq
	"pool_max_conns", "pool_min_conns", "pool_min_idle_conns", "pool_max_conn_lifetime",
	"pool_max_conn_lifetime_jitter", "pool_max_conn_idle_time", "pool_health_check_period", "default_query_exec_mode",
	"statement_cache_capacity", "statement_cache_mode", "description_cache_capacity", "prefer_simple_protocol",
	"binary_parameters", "disable_prepared_binary_result",
	// JDBC
	"loginTimeout", "connectTimeout", "socketTimeout", "cancelSignalTimeout", "tcpKeepAlive", "prepareThreshold",
	"preparedStatementCacheQueries", "preparedStatementCacheSizeMiB", "reWriteBatchedInserts", "stringtype",
	"binaryTransfer", "autosave", "readOnly", "defaultRowFetchSize", "assumeMinServerVersion", "preferQueryMode",
	"logUnclosedConnections", "loadBalanceHosts", "hostRecheckSeconds", "charSet",
	// Rails, Ecto, sqlx and hosts
	"prepared_statements", "advisory_locks", "reaping_frequency", "checkout_timeout", "idle_checkout", "variables",
	"statement_limit", "statement-cache-capacity", "channel", "serverVersion", "charset", "sticky",
}

// sslModes are the spellings of `ssl` (asyncpg, node-postgres) and `sslmode` (libpq), in libpq's words.
var sslModes = map[string]string{
	"disable": "disable", "allow": "allow", "prefer": "prefer", "require": "require",
	"verify-ca": "verify-ca", "verify-full": "verify-full",
	"true": "require", "on": "require", "1": "require", "no-verify": "require",
	"false": "disable", "off": "disable", "0": "disable",
}

// class is what becomes of a parameter.
type class int

const (
	classUnknown class = iota
	classPGX           // pgx reads it
	classChecked       // put reads it
	classRuntime       // it goes to the server
	classNothing       // it changes nothing here
)

func classOf(name string) class {
	if other, has := otherNames[name]; has {
		name = other
	}
	switch {
	case slices.Contains(pgxKeywords, name):
		return classPGX
	case slices.Contains(checkedBefore, name):
		return classChecked
	case slices.Contains(runtimeParameters, name), dottedName.MatchString(name), optionName.MatchString(name):
		return classRuntime
	case slices.Contains(withoutEffect, name):
		return classNothing
	}
	return classUnknown
}

var (
	plainParameter = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.\[\]-]{0,39}$`)
	dottedName     = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}\.[a-z_][a-z0-9_]{0,39}$`)
	optionName     = regexp.MustCompile(`^options\[([a-z_][a-z0-9_.]{0,39})\]$`) // sqlx
	// aboutSecurity finds unknown names that sound as if something were to be verified. To leave such out would weaken
	// it.
	aboutSecurity = regexp.MustCompile(`(?i)ssl|tls|cert|verif|auth|secur|encrypt|gss`)
)

// environment are libpq's variables that pgx does not read, and whose meaning is not how a driver works inside.
var environment = map[string]string{
	"PGHOSTADDR": "hostaddr", "PGGSSENCMODE": "gssencmode", "PGREQUIREPEER": "requirepeer",
	"PGSSLCRL": "sslcrl", "PGSSLCRLDIR": "sslcrldir",
	"PGSSLMINPROTOCOLVERSION": "ssl_min_protocol_version", "PGSSLMAXPROTOCOLVERSION": "ssl_max_protocol_version",
	"PGREQUIRESSL": "requiressl",
}

// sort gives each parameter its place. The last of a name counts, as in libpq.
func (c *connectionString) sort(pairs []parameter) error {
	given := map[string]string{}
	for _, p := range pairs {
		name := p.name
		if other, has := otherNames[name]; has {
			name = other
		}
		if strings.ContainsRune(p.value, 0) {
			return errNotConnectionString
		}
		given[name] = p.value
	}
	for variable, name := range environment {
		if _, isGiven := given[name]; !isGiven && os.Getenv(variable) != "" &&
			(name != "requiressl" || given["sslmode"] == "") {
			given[name] = os.Getenv(variable)
		}
	}
	for name, value := range given {
		if value == "" && isTarget(name) {
			delete(given, name) // the default
		}
	}
	if err := sortTLS(given); err != nil {
		return err
	}
	for name, value := range given {
		if err := c.put(name, value); err != nil {
			return err
		}
	}
	if name := c.values["fallback_application_name"]; name != "" {
		if c.values["application_name"] == "" && os.Getenv("PGAPPNAME") == "" {
			c.values["application_name"] = name
		}
		delete(c.values, "fallback_application_name")
	}
	slices.Sort(c.leftOut)
	return nil
}

// put gives one parameter its place: for pgx, for the server, or nowhere.
func (c *connectionString) put(name, value string) error {
	cannot := func(what string) error {
		return fmt.Errorf("has %s, and %s cannot be done here; leave it out if you can do without", name, what)
	}
	switch classOf(name) {
	case classPGX:
		if allowed, has := allowedValues[name]; has && !slices.Contains(allowed, value) {
			return fmt.Errorf("has an unknown %s; write %s", name, alternatives(allowed))
		}
		c.values[name] = value
	case classRuntime:
		if option := optionName.FindStringSubmatch(name); option != nil {
			name = option[1]
		}
		c.runtime[name] = value
	case classUnknown:
		return c.leaveOut(name)
	}
	switch name {
	case "schema":
		c.schema = value
	case "fallback_application_name":
		c.values[name] = value
	case "hostaddr":
		if value != "" {
			c.hostaddr = strings.Split(value, ",")
		}
	case "connect_timeout":
		// What is no number changes nothing: there is a bound anyway.
		seconds, _ := strconv.Atoi(strings.TrimSpace(value))
		c.timeout = time.Duration(min(max(seconds, 0), 1000)) * time.Second
	case "targetServerType": // JDBC
		attributes, known := map[string]string{
			"any": "any", "primary": "primary", "master": "primary", "secondary": "standby", "slave": "standby",
			"preferSecondary": "prefer-standby", "preferSlave": "prefer-standby",
		}[value]
		if !known {
			return errors.New("has an unknown targetServerType; write any, primary, secondary or preferSecondary")
		}
		c.values["target_session_attrs"] = attributes
	case "ssl_min_protocol_version", "ssl_max_protocol_version":
		return c.limitTLS(name, value)
	case "gssencmode":
		if value == "require" {
			return cannot("encryption by GSSAPI")
		}
	case "requirepeer":
		if value != "" {
			return cannot("checking which system user runs the server")
		}
	case "sslcrl", "sslcrldir":
		if value != "" {
			return cannot("looking into a list of revoked certificates")
		}
	case "sslinline", "sslidentity":
		return fmt.Errorf("has %s, which cannot be read here; "+
			"give the certificate as the PEM files sslcert, sslkey and sslrootcert", name)
	case "scram_client_key", "scram_server_key":
		return cannot("a SCRAM key in place of a password")
	case "socketFactory", "cloudSqlInstance": // without it the way would lead elsewhere
		return cannot("connecting through a JDBC socket factory")
	case "oauth_client_secret":
		return cannot("OAuth to the database")
	}
	return nil
}

// leaveOut records a parameter that nobody knows.
func (c *connectionString) leaveOut(name string) error {
	if !plainParameter.MatchString(name) {
		return errQuery // and not shown: it may be the rest of a password
	}
	if aboutSecurity.MatchString(name) {
		return fmt.Errorf("has the parameter %q, which is none of PostgreSQL's drivers and sounds as if it secured "+
			"something; libpq's are sslmode, sslrootcert, sslcert, sslkey, channel_binding, require_auth", name)
	}
	if !slices.Contains(c.leftOut, name) {
		c.leftOut = append(c.leftOut, name)
	}
	return nil
}

// allowedValues are those of parameters with few. pgx would quote another one in its error.
var allowedValues = map[string][]string{
	"channel_binding":      {"disable", "prefer", "require"},
	"target_session_attrs": {"any", "read-write", "read-only", "primary", "standby", "prefer-standby"},
	"sslnegotiation":       {"postgres", "direct"},
	"sslcertmode":          {"disable", "allow", "require"},
	"sslsni":               {"0", "1"},
}

func alternatives(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// limitTLS reads libpq's bounds of the TLS version. Go does not speak less than TLS 1.2 to a server unless told to.
func (c *connectionString) limitTLS(name, value string) error {
	version, known := map[string]uint16{
		"": 0, "TLSv1": tls.VersionTLS12, "TLSv1.1": tls.VersionTLS12,
		"TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13,
	}[value]
	switch {
	case !known:
		return fmt.Errorf("has an unknown %s; write TLSv1.2 or TLSv1.3", name)
	case name == "ssl_min_protocol_version":
		c.oldest = version
	case value == "TLSv1" || value == "TLSv1.1":
		return fmt.Errorf("has %s, and TLS before 1.2 is not spoken here; write TLSv1.2 or TLSv1.3", name)
	default:
		c.newest = version
	}
	return nil
}

// sortTLS makes libpq's sslmode of all that drivers say about TLS; where two say different things, the safer one counts
// or it is an error, never the weaker one.
func sortTLS(given map[string]string) error {
	mode, hasMode := given["sslmode"]
	hasMode = hasMode && mode != ""
	if hasMode {
		known := false
		if mode, known = sslModes[mode]; !known {
			return errors.New("has an unknown sslmode; write disable, allow, prefer, require, verify-ca or verify-full")
		}
	}
	if ssl, hasSSL := given["ssl"]; hasSSL {
		other, known := sslModes[ssl]
		switch {
		case !known:
			return errors.New("has an unknown ssl; write sslmode=disable, allow, prefer, require, verify-ca or verify-full")
		case !hasMode:
			mode, hasMode = other, true
		case (mode == "disable") != (other == "disable"):
			return errors.New("says both ssl and sslmode, and not the same; keep one of them")
		case strictness(other) > strictness(mode):
			mode = other
		}
	}
	if given["requiressl"] == "1" && strictness(mode) < strictness("require") {
		if mode == "disable" {
			return errors.New("says both requiressl and sslmode, and not the same; keep one of them")
		}
		mode, hasMode = "require", true
	}
	switch accept := given["sslaccept"]; accept { // Prisma's
	case "", "accept_invalid_certs":
	case "strict":
		if mode == "disable" {
			return errors.New("says both sslaccept=strict and no TLS; keep one of them")
		}
		if given["sslkey"] == "" && given["sslcert"] != "" { // which is the authority's certificate there
			if given["sslrootcert"] == "" {
				given["sslrootcert"] = given["sslcert"]
			}
			delete(given, "sslcert")
		}
		mode, hasMode = "verify-full", true
	default:
		return errors.New("has an unknown sslaccept; write strict or accept_invalid_certs")
	}
	if !hasMode && os.Getenv("PGSSLMODE") == "" {
		// node-postgres verifies by an authority that is named, and uses TLS where it is to begin at once.
		if given["sslrootcert"] != "" || given["sslnegotiation"] == "direct" {
			mode, hasMode = "verify-full", true
		}
	}
	if given["sslnegotiation"] == "direct" && hasMode && strictness(mode) < strictness("require") {
		return errors.New("has sslnegotiation=direct, which wants sslmode=require, verify-ca or verify-full")
	}
	if given["sslrootcert"] == "system" && hasMode && mode != "verify-full" {
		return errors.New("has sslrootcert=system, which wants sslmode=verify-full")
	}
	delete(given, "sslmode")
	if hasMode {
		given["sslmode"] = mode
	}
	return nil
}

func strictness(mode string) int {
	return slices.Index([]string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}, mode)
}

// withAdvice adds to a refused connection's error what to do about a parameter that the server, or a pooler in front of
// it, does not take.
func withAdvice(text string) string {
	switch {
	case strings.Contains(text, "unsupported startup parameter"): // PgBouncer
		return text + "; set it on the role (alter role … set …), " +
			"or name it in the pooler's ignore_startup_parameters, " +
			"and take it out of DATABASE_URL"
	case strings.Contains(text, "unrecognized configuration parameter"),
		strings.Contains(text, "invalid command-line argument for server process"):
		return text + "; correct it in DATABASE_URL: options=-c%20name%3Dvalue"
	}
	return text
}
