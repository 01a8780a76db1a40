package extauthz

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// driverOptions are query parameters that other languages' drivers read and PostgreSQL would refuse.
var driverOptions = []string{
	// SQLAlchemy and asyncpg
	"prepared_statement_cache_size", "statement_cache_size", "prepared_statement_name_func", "async_fallback",
	"command_timeout", "timeout", "server_settings", "max_cached_statement_lifetime", "max_cacheable_statement_size",
	// Prisma and node-postgres
	"schema", "pgbouncer", "connection_limit", "pool_timeout", "socket_timeout", "uselibpqcompat", "workaround",
}

// sslModes are the spellings of `ssl` (asyncpg, node-postgres) and `sslmode` (libpq), in libpq's words.
var sslModes = map[string]string{
	"disable": "disable", "allow": "allow", "prefer": "prefer", "require": "require", "verify-ca": "verify-ca", "verify-full": "verify-full",
	"true": "require", "on": "require", "1": "require", "no-verify": "require",
	"false": "disable", "off": "disable", "0": "disable",
}

// parseDatabaseURL reads a connection string as libpq does (URL, or keyword=value), and also in the
// spellings of Python and Node backends: a driver behind the scheme (postgresql+asyncpg://), `ssl` for
// `sslmode`, and options that only their drivers know. schema is Prisma's, empty when not given.
// Its errors never hold any part of the string.
func parseDatabaseURL(dsn string) (config *pgxpool.Config, schema string, err error) {
	if scheme, rest, isURL := strings.Cut(dsn, "://"); isURL && !strings.ContainsAny(scheme, " =") {
		if dsn, schema, err = normalizeURL(scheme, rest); err != nil {
			return nil, "", err
		}
	}
	config, err = pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, "", errors.New("is not a PostgreSQL connection string; write postgresql://user:password@host:5432/database, with special characters of the password percent-encoded")
	}
	connection := config.ConnConfig
	if connection.ConnectTimeout == 0 || connection.ConnectTimeout > 2*time.Second {
		connection.ConnectTimeout = 2 * time.Second
	}
	if connection.RuntimeParams["application_name"] == "" {
		connection.RuntimeParams["application_name"] = "extauthz"
	}
	// Unnamed statements, unless a query says otherwise: named ones do not survive poolers that hand each
	// transaction another server connection.
	connection.DefaultQueryExecMode = pgx.QueryExecModeExec
	// A dead connection is noticed by its query, which is then sent again; a ping before it would
	// make every check that comes after a pause wait twice.
	config.ShouldPing = func(_ context.Context, _ pgxpool.ShouldPingParams) bool { return false }
	return config, schema, nil
}

func normalizeURL(scheme, rest string) (dsn, schema string, err error) {
	base, _, _ := strings.Cut(scheme, "+") // whatever the driver, the way to the server is the same
	if base != "postgresql" && base != "postgres" {
		return "", "", fmt.Errorf("begins with %q; Better Auth's database must be PostgreSQL: write postgresql://…", clip(base)+"://")
	}
	before, rawQuery, hasQuery := strings.Cut(rest, "?")
	if !hasQuery {
		return "postgresql://" + rest, "", nil
	}
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return "", "", errors.New("has a query part that cannot be read; write it as ?name=value&name=value")
	}
	schema = query.Get("schema")
	if query.Has("ssl") {
		if query.Has("sslmode") && sslModes[query.Get("ssl")] != sslModes[query.Get("sslmode")] {
			return "", "", errors.New("says both ssl and sslmode, and not the same; keep one of them")
		}
		query.Set("sslmode", query.Get("ssl"))
		query.Del("ssl")
	}
	if query.Has("sslmode") {
		mode, known := sslModes[query.Get("sslmode")]
		if !known {
			return "", "", errors.New("has an unknown sslmode; write disable, allow, prefer, require, verify-ca or verify-full")
		}
		query.Set("sslmode", mode)
	}
	for name := range query {
		if slices.Contains(driverOptions, name) {
			query.Del(name)
		}
	}
	return "postgresql://" + before + "?" + query.Encode(), schema, nil
}
