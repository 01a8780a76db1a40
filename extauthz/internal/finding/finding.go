// Package finding is what a diagnosis found: what was tried, what came, how bad that is and what to do. It imports
// nothing of this module, and tries nothing itself.
package finding

import (
	"fmt"
	"net/http"
	"time"
)

// Level says how bad a [Finding] is.
type Level string

const (
	LevelOK      Level = "ok"
	LevelWarning Level = "warning" // works, and could be better
	LevelFailure Level = "failure" // checks fail by it
)

// Finding is one thing that was tried.
type Finding struct {
	Issuer string `json:"issuer,omitempty"` // whose; empty where there is one issuer
	Part   string `json:"part"`             // what it belongs to: jwks, database
	Tried  string `json:"tried"`            // in a few words
	Level  Level  `json:"level"`
	Found  string `json:"found"`         // what came; holds no secret
	Fix    string `json:"fix,omitempty"` // what to do, unless all is well
}

// List collects what one part's diagnosis found.
type List struct {
	Part  string
	Found []Finding
}

// OK adds what is as it should be.
func (l *List) OK(tried, found string) {
	l.Found = append(l.Found, Finding{Part: l.Part, Tried: tried, Level: LevelOK, Found: found, Fix: ""})
}

// Warn adds what works and could be better, and how.
func (l *List) Warn(tried, found, fix string) {
	l.Found = append(l.Found, Finding{Part: l.Part, Tried: tried, Level: LevelWarning, Found: found, Fix: fix})
}

// Fail adds what checks fail by, and what to do.
func (l *List) Fail(tried, found, fix string) {
	l.Found = append(l.Found, Finding{Part: l.Part, Tried: tried, Level: LevelFailure, Found: found, Fix: fix})
}

const (
	// MaxSkew is how far two clocks may differ: the leeway of JWTs.
	MaxSkew = time.Minute
	// WarnSkew is how far they may differ before somebody should look.
	WarnSkew = MaxSkew / 2
	// SlowAnswer is what an unknown kid's fetch, or a session's query, may take of a check's 400 ms.
	SlowAnswer = 200 * time.Millisecond
)

// Clock compares a Date header (RFC 9110 §6.6.1), which has whole seconds, with the clock here.
func (l *List) Clock(tried, whose, date string, now time.Time) {
	there, err := http.ParseTime(date)
	if err != nil {
		return // no Date, nothing to compare
	}
	l.Skew(tried, whose, now.Sub(there).Truncate(time.Second))
}

// Skew judges by how much the clock here is ahead of whose.
func (l *List) Skew(tried, whose string, ahead time.Duration) {
	found := fmt.Sprintf("this machine's is %s ahead of %s", ahead, whose)
	if ahead < 0 {
		found = fmt.Sprintf("this machine's is %s behind %s", -ahead, whose)
	}
	const fix = "Set both machines' clocks by NTP; JWTs are judged with a leeway of 60 s, sessions with none."
	switch {
	case ahead.Abs() > MaxSkew:
		l.Fail(tried, found, fix)
	case ahead.Abs() > WarnSkew:
		l.Warn(tried, found, fix)
	default:
		l.OK(tried, found)
	}
}
