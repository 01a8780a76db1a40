// Package dryrun marks a check that is only explained: nothing of it is remembered, learned or counted. It imports
// nothing of this module, and does not know what would be remembered.
package dryrun

import "context"

type key struct{}

// With returns a context under which a check is only explained.
func With(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, true) }

// Is tells whether a check under this context is only explained.
func Is(ctx context.Context) bool { return ctx.Value(key{}) != nil }
