package issuer

import (
	"cmp"
	"context"
	"slices"

	"extauthz/extauthz/internal/dryrun"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
)

// Step is one step of an [Explanation].
type Step struct {
	Name string
	// Found says in a few words what was found; empty when the step was not reached.
	Found string
	// Denial is what the step alone would answer; nil when it passed or was not reached.
	Denial *reason.Denial
	// Reached is false for a step behind one that must pass first.
	Reached bool
}

// Explanation is how one credential is judged, step by step.
type Explanation struct {
	Steps    []Step
	Identity identity.Identity // meaningful when Denial is nil
	Issuer   string            // whose it is; empty where there is one issuer, or for nobody's
	Denial   *reason.Denial    // the answer; nil means allow. Where several steps fail, it is one of them.
}

// ExplainRecognized judges a credential step by step, and leaves no trace.
func (i *Issuer) ExplainRecognized(ctx context.Context, presented Recognized) Explanation {
	who, err := i.Verify(dryrun.With(ctx), presented)
	e := Explanation{Identity: who}
	failed := ""
	if err != nil {
		e.Denial = reason.Of(err).Copied()
		failed = cmp.Or(e.Denial.Step(), reason.StepCredential)
	}
	var steps []string
	if presented.Kind != nil {
		steps = presented.Kind.Steps
	}
	if failed != "" && !slices.Contains(steps, failed) { // a fault of the credential as a whole, or of this server
		e.Steps = append(e.Steps, Step{Name: failed, Denial: e.Denial.Copied(), Reached: true})
	}
	last := len(steps) - 1
	if failed != "" {
		last = slices.Index(steps, failed)
	}
	for at, name := range steps {
		step := Step{Name: name, Reached: at <= last}
		switch {
		case at < last || e.Denial == nil:
			step.Found = presented.Kind.Found(i, name, &presented.Credential, &who)
		case at == last:
			step.Denial = e.Denial.Copied()
		}
		e.Steps = append(e.Steps, step)
	}
	if claims := slices.Index(steps, reason.StepClaims); claims >= 0 && slices.Index(steps, failed) >= claims {
		i.explainClaims(&e, &presented)
	}
	return e
}

// explainClaims judges each claim on its own.
func (i *Issuer) explainClaims(e *Explanation, presented *Recognized) {
	claims, err := jose.ParseClaims(presented.JWT.Payload)
	if err != nil {
		return
	}
	claims.IsAccessToken = presented.JWT.IsAccessToken
	expected := i.expectations(presented.Kind)
	verdicts := map[string]error{
		reason.StepClaims:   claims.Profile.Check(claims.Subject),
		reason.StepTimes:    expected.CheckTimes(&claims.Times, i.Now()),
		reason.StepIssuer:   expected.CheckIssuer(claims.Issuer, claims.HasIssuer),
		reason.StepAudience: expected.CheckAudience(claims.Audience),
		reason.StepSubject:  claims.CheckUser(i.Now()),
	}
	who := claims.Identity(e.Identity.Method)
	for at := range e.Steps {
		step := &e.Steps[at]
		verdict, isClaim := verdicts[step.Name]
		switch {
		case !isClaim:
		case verdict != nil:
			*step = Step{Name: step.Name, Denial: reason.Of(verdict).Copied(), Reached: true}
		default:
			found := presented.Kind.Found(i, step.Name, &presented.Credential, &who)
			*step = Step{Name: step.Name, Found: found, Reached: true}
		}
	}
}
