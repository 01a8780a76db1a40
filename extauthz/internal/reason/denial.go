package reason

import (
	"context"
	"errors"
	"fmt"
)

// Denial is the answer to a request that is not allowed: a refusal (401, 403) or an outage (503).
// It is an error, so that a verifier returns it as one. A Denial is its holder's own: changing it changes no answer.
type Denial struct {
	Fact
	// Got and Want say what differed, where two values did. They never hold a token or a secret.
	Got, Want string

	cause error // what failed, for an outage
}

// Error gives the reason and what differed; it never holds a credential.
func (d *Denial) Error() string {
	text := string(d.Reason)
	if d.Got != "" || d.Want != "" {
		text += fmt.Sprintf(": got %s, want %s", d.Got, d.Want)
	}
	if d.cause != nil {
		text += ": " + d.cause.Error()
	}
	return text
}

// Unwrap returns what failed, for an outage; else nil.
func (d *Denial) Unwrap() error { return d.cause }

// Deny is the denial for a reason.
func Deny(reason Reason) *Denial { return &Denial{Fact: *FactOf(reason)} }

// Differing is Deny where two values differed. Neither is to hold a token or a secret.
func Differing(reason Reason, got, want string) *Denial {
	return &Denial{Fact: *FactOf(reason), Got: got, Want: want}
}

// IsMissing tells that the request brought nothing that is judged here.
func (d *Denial) IsMissing() bool { return d.Detail == DetailMissing }

// Unavailable is the denial of what could not be checked: always 503, never 401 and never allow.
func Unavailable(reason Reason, cause error) *Denial {
	return &Denial{Fact: *FactOf(reason), cause: cause}
}

// GivenUp is the denial of a check whose context ended while it waited: its budget is spent, or Envoy gave it up.
func GivenUp(ctx context.Context, waitingFor string) *Denial {
	cause := errors.New("waiting for " + waitingFor)
	if errors.Is(ctx.Err(), context.Canceled) {
		return Unavailable(Cancelled, cause)
	}
	return Unavailable(TimeBudgetSpent, cause)
}

// At says at which step the denial arose, for a reason that may arise at several.
func (d *Denial) At(step string) *Denial {
	d.Step = step
	return d
}

// Copied is the same denial for somebody else to hold; checks that wait together share one.
func (d *Denial) Copied() *Denial {
	if d == nil {
		return nil
	}
	own := *d
	return &own
}

// Of turns any verifier's error into the one answer it stands for.
func Of(err error) *Denial {
	if denial, ok := errors.AsType[*Denial](err); ok {
		return denial
	}
	return Unavailable(InternalError, err)
}
