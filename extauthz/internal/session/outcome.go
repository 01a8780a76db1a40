package session

import (
	"context"
	"errors"
)

// ErrRevoked says that a session is there, and was ended with all of its user's that were older than a time.
var ErrRevoked = errors.New("the user's sessions were revoked after it was made")

// RefusedError says that what a store keeps under a token is no session, and why. The store works.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return e.Why }

// RedisError says that it is Redis that cannot be asked.
type RedisError struct{ Cause error }

func (e *RedisError) Error() string { return e.Cause.Error() }

// Unwrap returns the cause.
func (e *RedisError) Unwrap() error { return e.Cause }

// Layered is a store in front of another, as Better Auth's with secondaryStorage and storeSessionInDatabase: what the
// first does not have at all is asked of the second. What the first refuses, or cannot say, is not.
type Layered struct{ First, Second Store }

// Session implements [Store].
func (l Layered) Session(ctx context.Context, token string) (*Row, error) {
	row, err := l.First.Session(ctx, token)
	if row != nil || err != nil {
		return row, err
	}
	return l.Second.Session(ctx, token)
}
