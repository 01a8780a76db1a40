// Package syntax takes a connection string apart, a URL or keyword=value, as libpq does and as node-postgres does where
// libpq refuses it. It imports parameter, and does not know what a parameter is for.
package syntax

import (
	"errors"
	"slices"
)

// Pair is a name and a value of a connection string, decoded.
type Pair struct {
	Name, Value string
	inQuery     bool // of a URL
}

// ErrAmbiguous is a string that can be read in more than one way.
var ErrAmbiguous = errors.New("can be read in more than one way, as one is whose password holds " +
	"@, /, ?, # or : as they are; percent-encode them: %40, %2F, %3F, %23, %3A")

// ErrNotConnectionString is a text that is no connection string.
var ErrNotConnectionString = errors.New("is not a PostgreSQL connection string; write " +
	"postgresql://user:password@host:5432/database, with special characters of the password percent-encoded")

// ErrQuery is a URL whose query part cannot be read.
var ErrQuery = errors.New("has a query part that cannot be read; write it as ?name=value&name=value")

// IsTarget tells a parameter that says where to connect, or as whom.
func IsTarget(name string) bool {
	return slices.Contains([]string{"user", "password", "host", "port", "dbname"}, name)
}
