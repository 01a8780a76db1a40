package operator

import (
	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/intake"
	"extauthz/extauthz/internal/session/postgres"
	"extauthz/extauthz/internal/session/postgres/connstring"
	"extauthz/extauthz/internal/session/postgres/tables"
	"extauthz/extauthz/internal/verified"
)

// The defaults of a configuration's fields.
const (
	DefaultMaxMessageBytes     = intake.DefaultMax
	DefaultSessionCookie       = credential.DefaultCookie
	DefaultDatabaseConnections = postgres.DefaultConnections
	DefaultRememberedTokens    = verified.DefaultTokens
	DefaultRememberedBytes     = verified.DefaultBytes
)

// CheckDatabaseURL tells whether a connection string can be a configuration's DatabaseURL. It connects to nothing.
func CheckDatabaseURL(value string) error {
	_, _, err := connstring.Parse(value)
	return err
}

// ParseColumns reads `field=column,field=column`, as the configuration has it, for the fields given.
func ParseColumns(text string, fields ...string) (map[string]string, error) {
	return tables.ParseColumns(text, fields...)
}
