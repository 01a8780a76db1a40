// Package session is what a check asks of a store of sessions, and how checks that wait together share a question. It
// imports dryrun and reason. It does not know what a store is made of, how connections are made, or what a session is good for.
package session

import (
	"context"
	"time"
)

// Row is what a live or expired session's row, joined with its user's, says.
type Row struct {
	ExpiresAt           time.Time
	UserID, Email, Name string
	// BannedUntil is when the user's ban ends; zero when there is none.
	BannedUntil time.Time
	// Facts are those that the store was told to read beside, in that order; empty where a row has none. Absent tells of
	// each whether the store has nowhere to read it from; nil where it has them all.
	Facts  []string
	Absent []bool
}

// Store answers for sessions. It is safe for concurrent use.
type Store interface {
	// Session returns the row of the session with this token, nil when there is none. The answer is to a question that
	// the store received after the call, and that says who is signed in now. Where it cannot be had the error says why:
	// [ErrOverloaded] when too many wait, the context's own error when ctx ended first, any other for an outage.
	Session(ctx context.Context, token string) (*Row, error)
}
