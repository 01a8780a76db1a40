// Package show writes values that strangers chose into log lines, errors and terminals: bounded, and with nothing that
// a terminal would obey. It imports nothing of this module and does not know what a value stands for; a secret is not
// to be shown at all.
package show

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Quoted shows one value between quotes, in ASCII.
func Quoted(name string) string { return strconv.QuoteToASCII(Clip(name)) }

// Claim is quoted, or "none" for a value that is absent.
func Claim(value string, present bool) string {
	if !present {
		return "none"
	}
	return Quoted(value)
}

// List shows some of the values when they are many: a log line should be readable.
func List(values []string) string {
	const most = 10
	quoted := make([]string, 0, most+1)
	for i, value := range values {
		if i == most {
			quoted = append(quoted, fmt.Sprintf("one of %d more", len(values)-most))
			break
		}
		quoted = append(quoted, Quoted(value))
	}
	return strings.Join(quoted, " or ")
}

// Time is RFC 3339 in UTC, to the second.
func Time(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Clip bounds what a client's value may take of a log line or a terminal.
func Clip(value string) string {
	const most = 256
	if len(value) > most {
		return value[:most] + "…"
	}
	return value
}

// URL is a URL for messages: without its query and its fragment, where people put keys.
func URL(value string) string {
	if end := strings.IndexAny(value, "?#"); end >= 0 {
		return value[:end]
	}
	return value
}
