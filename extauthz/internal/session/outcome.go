package session

import (
	"context"
	"errors"
	"slices"

	"extauthz/extauthz/internal/reason"
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

// Denied is the denial for an error of [Store.Session]: a refusal where what is kept is no session, else an outage.
func Denied(ctx context.Context, err error) *reason.Denial {
	refused, isRefused := errors.AsType[*RefusedError](err)
	_, isRedis := errors.AsType[*RedisError](err)
	switch {
	case errors.Is(err, ErrRevoked):
		return reason.Differing(reason.UnknownSession, err.Error(), "a session that was not revoked")
	case isRefused:
		return reason.Differing(reason.MalformedSession, refused.Why, "what Better Auth writes")
	case errors.Is(err, ErrOverloaded):
		return reason.Unavailable(reason.Overloaded, err).At(reason.StepRow)
	case err == ctx.Err():
		return reason.GivenUp(ctx, "the store of sessions").At(reason.StepRow)
	case isRedis:
		return reason.Unavailable(reason.RedisUnavailable, err)
	}
	return reason.Unavailable(reason.DatabaseUnavailable, err)
}

// Layered is a store in front of another, as Better Auth's with secondaryStorage and storeSessionInDatabase: what the
// first does not have at all is asked of the second. What the first refuses, or cannot say, is not. Facts that the first
// cannot have come from the second's row.
type Layered struct {
	First, Second Store
	Beside        []int // of the facts those that only the second has
}

// Session implements [Store].
func (l Layered) Session(ctx context.Context, token string) (*Row, error) {
	row, err := l.First.Session(ctx, token)
	switch {
	case err != nil:
		return nil, err
	case row == nil:
		return l.Second.Session(ctx, token)
	case len(l.Beside) == 0:
		return row, nil
	}
	other, err := l.Second.Session(ctx, token)
	if err != nil {
		return nil, err
	}
	whole := *row
	whole.Facts, whole.Absent = slices.Clone(row.Facts), slices.Clone(row.Absent)
	for _, i := range l.Beside {
		switch {
		case i >= len(whole.Facts) || i >= len(whole.Absent):
		case other == nil || other.UserID != row.UserID || i >= len(other.Facts):
			whole.Absent[i] = false // no row says so, which is no membership
		default:
			whole.Facts[i], whole.Absent[i] = other.Facts[i], other.Absent != nil && other.Absent[i]
		}
	}
	return &whole, nil
}
