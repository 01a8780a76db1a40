// Package operator is for who runs a server: what the command of this module shows beyond the check itself, a
// diagnosis, the keys in use, the reasons and the settings' defaults. Embedders do without it, and it changes without
// a word in CHANGELOG.md. It imports keyset, postgres, connstring, verified, intake, credential, issuer, identity,
// checkwire, route, request, reason, finding and show. It decides nothing.
package operator

import (
	"context"
	"slices"
	"sync"
	"time"

	"extauthz/extauthz/internal/finding"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/keyset"
	"extauthz/extauthz/internal/session/postgres"
	"extauthz/extauthz/internal/session/redis"
)

// Version is the release, as in CHANGELOG.md.
const Version = "0.1.0"

// View looks at the parts of one Authorizer, whose method Operator makes it. Its methods are safe for concurrent use.
type View struct{ parts func() []Parts }

// Parts are what one issuer's checks depend on.
type Parts struct {
	Issuer   string // its name; empty where there is one issuer
	Checks   *issuer.Issuer
	Keys     *keyset.Set
	Redis    *redis.Store    // nil when not configured
	Database *postgres.Store // nil when not configured
}

// New looks at the parts of the issuers that are in force when it is asked.
func New(parts func() []Parts) *View { return &View{parts} }

// Key is a key of the issuer's, as the JWKS in use has it: ID is its kid, which the issuer chose, so escape it before
// it is shown; Algorithm its own, empty when it may not be used; Fault why it may not; Since when it was first
// fetched.
type Key = keyset.Entry

// KeySet is the keys of one issuer's JWKS in use, ordered by id, and when they were fetched. There are none before
// the first fetch. Issuer is empty where there is one issuer.
type KeySet struct {
	Issuer  string
	Keys    []Key
	Fetched time.Time
}

// KeySets lists the keys of each issuer.
func (v *View) KeySets() (sets []KeySet) {
	for _, of := range v.parts() {
		set := KeySet{Issuer: of.Issuer}
		set.Keys, set.Fetched = of.Keys.List()
		sets = append(sets, set)
	}
	return sets
}

// Finding is one thing that was tried: which Part it belongs to, what was Tried, how bad it is (Level), what was
// Found, without a secret, and what to do (Fix).
type Finding = finding.Finding

// Level says how bad a [Finding] is.
type Level = finding.Level

// The levels.
const (
	LevelOK      = finding.LevelOK
	LevelWarning = finding.LevelWarning // works, and could be better
	LevelFailure = finding.LevelFailure // checks fail by it
)

// Diagnose tries what checks depend on, the JWKS and the database, from here and now, step by step, and says of each
// step what came and what to do. It needs no background work, changes nothing, and takes a few seconds at most where
// something hangs.
func (v *View) Diagnose(ctx context.Context) []Finding {
	var (
		issuers = v.parts()
		found   = make([][]Finding, len(issuers))
		work    sync.WaitGroup
	)
	for n, of := range issuers { // at once, so that one that hangs does not take the others' time
		work.Go(func() {
			found[n] = of.Keys.Diagnose(ctx)
			if of.Redis != nil {
				found[n] = append(found[n], of.Redis.Diagnose(ctx)...)
			}
			if of.Database != nil {
				found[n] = append(found[n], of.Database.Diagnose(ctx)...)
			}
			for at := range found[n] {
				found[n][at].Issuer = of.Issuer
			}
		})
	}
	work.Wait()
	return slices.Concat(found...)
}
