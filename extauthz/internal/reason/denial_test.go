package reason_test

import (
	"context"
	"errors"
	"testing"

	"extauthz/extauthz/internal/reason"
)

// A denial tells what its reason's row says, and is the same whatever is made of it.
func TestDenialTellsItsRow(t *testing.T) {
	for _, fact := range reason.Facts() {
		denial := reason.Differing(fact.Reason, "one", "another")
		told := reason.Fact{Reason: denial.Reason(), Status: denial.Status(), Detail: denial.Detail(), Step: denial.Step(),
			Meaning: denial.Meaning(), Fix: denial.Fix()}
		if told != fact {
			t.Errorf("%+v, want %+v", told, fact)
		}
		if moved := denial.At(reason.StepRow); moved.Step() != reason.StepRow || denial.Step() != fact.Step {
			t.Errorf("%s: At gives %q and leaves %q", fact.Reason, moved.Step(), denial.Step())
		}
		if denial.Error() != string(fact.Reason)+": got one, want another" {
			t.Errorf("%q", denial.Error())
		}
	}
}

// A denial that nobody made a reason for is a fault of this server, and no allow.
func TestDenialWithoutReasonIsAnOutage(t *testing.T) {
	if zero := new(reason.Denial); zero.Reason() != reason.InternalError || zero.Status() != 503 {
		t.Errorf("the zero value is %s, status %d", zero.Reason(), zero.Status())
	}
	if made := reason.Deny("made_up"); made.Reason() != reason.InternalError || made.Status() != 503 {
		t.Errorf("a reason that is none gives %s, status %d", made.Reason(), made.Status())
	}
	cause := errors.New("cause")
	if denial := reason.Of(cause); denial.Reason() != reason.InternalError || !errors.Is(denial, cause) {
		t.Errorf("%v", denial)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if denial := reason.GivenUp(ended, "a test"); denial.Reason() != reason.Cancelled {
		t.Errorf("%v", denial)
	}
}
