// Package fault tells what an error that PostgreSQL, or a pooler in front of it, gave is about: the question, the
// query, the connection or the server. It imports connstring, and does not know what was asked.
package fault

import (
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"extauthz/extauthz/internal/session/postgres/connstring"
)

// IsQueryOutdated tells that an SQLSTATE is about the query's text, whatever is asked for: a table, a column or a type
// is another than it was. A missing right is not: the tables are as they were.
func IsQueryOutdated(code string) bool { return strings.HasPrefix(code, "42") && code != "42501" }

// IsTimeout tells that no answer came in time.
func IsTimeout(err error) bool {
	timeout, is := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return is && timeout.Timeout()
}

// IsServersState tells that an SQLSTATE is about the connection, the server or its resources, and not about the
// query: the classes for connections (also what poolers use), transactions, conflicts, resources, an operator's
// intervention, the system and internal errors.
func IsServersState(code string) bool {
	return len(code) == 5 && slices.Contains([]string{"08", "25", "40", "53", "55", "57", "58", "XX"}, code[:2])
}

// IsStatementLost tells that the server does not know the statement that was prepared on this connection,
// or knows it from somebody else: a pooler hands the connection's transactions to several servers' ones.
func IsStatementLost(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	// invalid_sql_statement_name, duplicate_prepared_statement
	return ok && (pgErr.Code == "26000" || pgErr.Code == "42P05")
}

// WithoutConnectionString leaves out of a connection's error what a connection string holds, user and
// database, and what only pgx knows the meaning of, and makes one line of it: pgx tries with and without TLS, and
// often says the same twice.
func WithoutConnectionString(err error) error {
	connectErr, ok := errors.AsType[*pgconn.ConnectError](err)
	if !ok || connectErr.Unwrap() == nil {
		return err
	}
	lines := strings.Split(strings.ReplaceAll(connectErr.Unwrap().Error(), "ValidateConnect failed: ", ""), "\n")
	slices.Sort(lines)
	return &connectError{connstring.WithAdvice(strings.Join(slices.Compact(lines), "; ")), err}
}

// connectError is why no connection could be made, in one line without a connection string.
type connectError struct {
	text  string
	cause error
}

func (e *connectError) Error() string { return e.text }

// Unwrap returns pgx's own error, which is not to be shown.
func (e *connectError) Unwrap() error { return e.cause }

// IsFull tells that the server, a pooler or the role may have no more connections (too_many_connections).
func IsFull(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == "53300"
}
