package reason

import (
	"context"
	"errors"
	"fmt"
)

// Denial is the answer to a request that is not allowed: a refusal (401, 403, 431) or an outage (503). It is an error,
// so that a verifier returns it as one. It has no fields that its holder could change, and each holder has one of its
// own. The zero value is the denial for [InternalError].
type Denial struct {
	fact      *Fact
	step      string // where it arose, for a reason that may arise at several steps
	got, want string
	cause     error // what failed, for an outage
}

// row is the reason's row in the table.
func (d *Denial) row() *Fact {
	if d.fact == nil {
		return FactOf(InternalError)
	}
	return d.fact
}

// Reason is why.
func (d *Denial) Reason() Reason { return d.row().Reason }

// Status is the HTTP status of the answer.
func (d *Denial) Status() int { return d.row().Status }

// Detail is what the client is told: the answer's body is {"detail": Detail}.
func (d *Denial) Detail() string { return d.row().Detail }

// Meaning says what was found, for an operator.
func (d *Denial) Meaning() string { return d.row().Meaning }

// Fix says what to do about it, for an operator.
func (d *Denial) Fix() string { return d.row().Fix }

// Step is the step of the check that failed; empty where that is not known.
func (d *Denial) Step() string {
	if d.step != "" {
		return d.step
	}
	return d.row().Step
}

// Got is what came, where it differs from what is wanted; else it is empty. It never holds a token or a secret.
func (d *Denial) Got() string { return d.got }

// Want is what should have come, where something else did; else it is empty. It never holds a token or a secret.
func (d *Denial) Want() string { return d.want }

// Error gives the reason and what differed; it never holds a credential.
func (d *Denial) Error() string {
	text := string(d.Reason())
	if d.got != "" || d.want != "" {
		text += fmt.Sprintf(": got %s, want %s", d.got, d.want)
	}
	if d.cause != nil {
		text += ": " + d.cause.Error()
	}
	return text
}

// Unwrap returns what failed, for an outage; else nil.
func (d *Denial) Unwrap() error { return d.cause }

// Deny is the denial for a reason.
func Deny(reason Reason) *Denial { return &Denial{fact: FactOf(reason)} }

// Differing is Deny where two values differed. Neither is to hold a token or a secret.
func Differing(reason Reason, got, want string) *Denial {
	return &Denial{fact: FactOf(reason), got: got, want: want}
}

// IsMissing tells that the request brought nothing that is judged here.
func (d *Denial) IsMissing() bool { return d.Detail() == DetailMissing }

// Unavailable is the denial of what could not be checked: always 503, never 401 and never allow.
func Unavailable(reason Reason, cause error) *Denial {
	return &Denial{fact: FactOf(reason), cause: cause}
}

// GivenUp is the denial of a check whose context ended while it waited: its budget is spent, or Envoy gave it up.
func GivenUp(ctx context.Context, waitingFor string) *Denial {
	cause := errors.New("waiting for " + waitingFor)
	if errors.Is(ctx.Err(), context.Canceled) {
		return Unavailable(Cancelled, cause)
	}
	return Unavailable(TimeBudgetSpent, cause)
}

// At is the same denial that arose at a step, for a reason that may arise at several.
func (d *Denial) At(step string) *Denial {
	own := *d
	own.step = step
	return &own
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
