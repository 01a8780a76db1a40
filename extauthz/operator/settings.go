package operator

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/intake"
	"extauthz/extauthz/internal/session/postgres"
	"extauthz/extauthz/internal/session/postgres/connstring"
	"extauthz/extauthz/internal/session/redis/redisurl"
	"extauthz/extauthz/internal/session/redis/secondary"
	"extauthz/extauthz/internal/show"
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

// DefaultRedisPrefix is the RedisPrefix of a configuration that has none.
const DefaultRedisPrefix = secondary.DefaultPrefix

// CheckRedisURL tells whether a URL can be a configuration's RedisURL. It connects to nothing.
func CheckRedisURL(value string) error {
	_, err := redisurl.Parse(value)
	return err
}

// ParseColumns reads `field=column,field=column`, as the configuration has it, for the fields given.
func ParseColumns(text string, fields ...string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	columns := make(map[string]string)
	for pair := range strings.SplitSeq(text, ",") {
		field, name, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok {
			return nil, errors.New("is not field=column,field=column")
		}
		if !slices.Contains(fields, field) {
			return nil, fmt.Errorf("names the field %q; the fields are %s", show.Clip(field), strings.Join(fields, ", "))
		}
		columns[field] = name
	}
	return columns, nil
}
