// Package parameter is the table of what drivers take in a connection string: which names mean the same, which pgx
// reads, which go to the server and which change nothing here. It imports nothing of this module, and reads no string.
package parameter

import (
	"regexp"
	"slices"
)

// LibpqKeywords are libpq's parameters, as of PostgreSQL 18.
var LibpqKeywords = []string{
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

// OtherNames are other drivers' names for these.
var OtherNames = map[string]string{
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

// SSLModes are the spellings of `ssl` (asyncpg, node-postgres) and `sslmode` (libpq), in libpq's words.
var SSLModes = map[string]string{
	"disable": "disable", "allow": "allow", "prefer": "prefer", "require": "require",
	"verify-ca": "verify-ca", "verify-full": "verify-full",
	"true": "require", "on": "require", "1": "require", "no-verify": "require",
	"false": "disable", "off": "disable", "0": "disable",
}

// class is what becomes of a parameter.
type class int

const (
	ClassUnknown class = iota
	ClassPGX           // pgx reads it
	classChecked       // put reads it
	ClassRuntime       // it goes to the server
	classNothing       // it changes nothing here
)

// ClassOf says what becomes of a parameter.
func ClassOf(name string) class {
	if other, has := OtherNames[name]; has {
		name = other
	}
	switch {
	case slices.Contains(pgxKeywords, name):
		return ClassPGX
	case slices.Contains(checkedBefore, name):
		return classChecked
	case slices.Contains(runtimeParameters, name), dottedName.MatchString(name), OptionName.MatchString(name):
		return ClassRuntime
	case slices.Contains(withoutEffect, name):
		return classNothing
	}
	return ClassUnknown
}

var (
	PlainParameter = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.\[\]-]{0,39}$`)
	dottedName     = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}\.[a-z_][a-z0-9_]{0,39}$`)
	OptionName     = regexp.MustCompile(`^options\[([a-z_][a-z0-9_.]{0,39})\]$`) // sqlx
	// AboutSecurity finds unknown names that sound as if something were to be verified. To leave such out would weaken
	// it.
	AboutSecurity = regexp.MustCompile(`(?i)ssl|tls|cert|verif|auth|secur|encrypt|gss`)
)

// Environment are libpq's variables that pgx does not read, and whose meaning is not how a driver works inside.
var Environment = map[string]string{
	"PGHOSTADDR": "hostaddr", "PGGSSENCMODE": "gssencmode", "PGREQUIREPEER": "requirepeer",
	"PGSSLCRL": "sslcrl", "PGSSLCRLDIR": "sslcrldir",
	"PGSSLMINPROTOCOLVERSION": "ssl_min_protocol_version", "PGSSLMAXPROTOCOLVERSION": "ssl_max_protocol_version",
	"PGREQUIRESSL": "requiressl",
}
