package extauthz

import "extauthz/extauthz/internal/finding"

// Finding is one thing that [Authorizer.Diagnose] tried: which Part it belongs to, what was Tried, how bad it is, what was
// Found, without a secret, and what to do.
type Finding = finding.Finding

// Level says how bad a [Finding] is.
type Level = finding.Level

// The levels.
const (
	LevelOK      = finding.LevelOK
	LevelWarning = finding.LevelWarning // works, and could be better
	LevelFailure = finding.LevelFailure // checks fail by it
)
