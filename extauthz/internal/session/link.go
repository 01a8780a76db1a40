package session

import (
	"errors"
)

// Link is a connection that is up, as the batcher knows it.
type Link[A any] interface {
	// Ask returns the rows of those of these tokens that have one. An error that is a *[LostError] says nothing about the
	// tokens: they may be asked elsewhere, and this link is not asked again. Any other may be one token's fault; none is
	// at fault where the same comes of no tokens at all.
	Ask(tokens []string) (map[string]A, error)
	// Interrupt ends an Ask that is under way soon, with a *[LostError]. It does not wait.
	Interrupt()
}

// LostError says that a connection is of no more use, and why.
type LostError struct{ cause error }

// Lost is the error of a connection that is of no more use.
func Lost(cause error) error { return &LostError{cause} }

func (e *LostError) Error() string { return e.cause.Error() }

// Unwrap returns the cause.
func (e *LostError) Unwrap() error { return e.cause }

func isLost(err error) bool {
	_, is := errors.AsType[*LostError](err)
	return is
}
