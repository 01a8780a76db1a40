// Package part keeps how a part that the server depends on is: whether its last answer was good, since when, and why
// not. It imports nothing of this module, and does not know what a part is.
package part

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Part is what the server depends on, and how it is.
type Part struct {
	Issuer string    // whose it is; empty where there is one issuer
	Name   string    // "jwks", "redis" or "database"
	OK     bool      // its last answer was good
	Since  time.Time // when that changed last
	Fault  string    // why not, in one line without a secret; empty when OK, or when there was no answer yet
}

// String is one line for an operator.
func (p Part) String() string {
	state := "ok"
	switch {
	case !p.OK && p.Fault == "":
		state = "no answer yet"
	case !p.OK:
		state = "failing (" + p.Fault + ")"
	}
	name := p.Name
	if p.Issuer != "" {
		name += " of " + p.Issuer
	}
	return fmt.Sprintf("%s: %s, since %s", name, state, p.Since.UTC().Format(time.RFC3339))
}

// State keeps what [Part] tells. Safe for concurrent use.
//
// Every answer of the part is to be noted, and not only the first failure: the cause of an outage may change while it
// lasts, and the latest is what helps. A success after a success costs one atomic load.
type State struct {
	good  atomic.Bool // as ok
	mu    sync.Mutex
	ok    bool
	Since time.Time
	fault string
}

// Note records an answer of the part, and returns whether that changed how it is.
func (s *State) Note(err error) (changed bool) {
	if err == nil && s.good.Load() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fault := ""
	if err != nil {
		fault = err.Error()
	}
	if changed = s.ok != (err == nil) || (err != nil && s.fault == ""); changed {
		s.Since = time.Now()
	}
	s.ok, s.fault = err == nil, fault
	s.good.Store(s.ok)
	return changed
}

// IsOK tells whether the last answer was good.
func (s *State) IsOK() bool { return s.good.Load() }

// NewState is the state of a part that has not answered yet.
func NewState() State { return State{Since: time.Now()} }

// Part is the state by the name of its part.
func (s *State) Part(name string) Part {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Part{Name: name, OK: s.ok, Since: s.Since, Fault: s.fault}
}
