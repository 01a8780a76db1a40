package issuer

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/dryrun"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/show"
)

var stepsOf = [credential.Kinds][]string{
	credential.KindJWT:     {reason.StepShape, reason.StepKey, reason.StepSignature, reason.StepClaims, reason.StepTimes, reason.StepIssuer, reason.StepAudience, reason.StepSubject},
	credential.KindHS256:   {reason.StepShape, reason.StepKey, reason.StepSignature, reason.StepClaims, reason.StepTimes, reason.StepIssuer, reason.StepAudience, reason.StepSubject},
	credential.KindSession: {reason.StepShape, reason.StepKey, reason.StepSignature, reason.StepRow, reason.StepTimes, reason.StepSubject},
}

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
	Denial   *reason.Denial    // the answer; nil means allow. Where several steps fail, it is one of them.
}

// Explain judges a credential step by step, and leaves no trace. What no kind of credential looks like has one step.
func (i *Issuer) Explain(ctx context.Context, presented credential.Presented) Explanation {
	read, err := presented.Read()
	if err != nil {
		denial := reason.Of(err)
		return Explanation{Denial: denial, Steps: []Step{{Name: denial.Step(), Denial: denial.Copied(), Reached: true}}}
	}
	return i.ExplainRead(ctx, read)
}

// PartOf names the part that judges a credential, as an operator knows it; empty when none is asked.
func PartOf(presented credential.Presented) string {
	read, err := presented.Read()
	if err != nil {
		return ""
	}
	return map[credential.Kind]string{credential.KindJWT: "jwks", credential.KindSession: "database"}[read.Kind]
}

// ExplainRead is Explain for a credential that was read.
func (i *Issuer) ExplainRead(ctx context.Context, presented credential.Credential) Explanation {
	identity, err := i.Verify(dryrun.With(ctx), presented)
	e := Explanation{Identity: identity}
	failed := ""
	if err != nil {
		e.Denial = reason.Of(err).Copied()
		failed = cmp.Or(e.Denial.Step(), reason.StepCredential)
	}
	var steps []string
	if presented.Kind < credential.Kinds {
		steps = stepsOf[presented.Kind]
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
			step.Found = i.found(name, &presented, &identity)
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
func (i *Issuer) explainClaims(e *Explanation, credential *credential.Credential) {
	claims, err := jose.ParseClaims(credential.JWT.Payload)
	if err != nil {
		return
	}
	claims.IsAccessToken = credential.JWT.IsAccessToken
	expected := &i.expected[credential.Kind]
	verdicts := map[string]error{
		reason.StepClaims:   claims.Profile.Check(claims.Subject),
		reason.StepTimes:    expected.CheckTimes(&claims.Times, i.Now()),
		reason.StepIssuer:   expected.CheckIssuer(claims.Issuer, claims.HasIssuer),
		reason.StepAudience: expected.CheckAudience(claims.Audience),
		reason.StepSubject:  identity.CheckSubject(claims.Subject),
	}
	identity := claims.Identity(e.Identity.Method)
	for at := range e.Steps {
		step := &e.Steps[at]
		verdict, isClaim := verdicts[step.Name]
		switch {
		case !isClaim:
		case verdict != nil:
			*step = Step{Name: step.Name, Denial: reason.Of(verdict).Copied(), Reached: true}
		default:
			*step = Step{Name: step.Name, Found: i.found(step.Name, credential, &identity), Reached: true}
		}
	}
}

// found says what a step that passed has found.
func (i *Issuer) found(step string, presented *credential.Credential, identity *identity.Identity) string {
	switch step {
	case reason.StepShape:
		return presented.Describe()
	case reason.StepKey:
		switch {
		case presented.Kind == credential.KindJWT:
			return fmt.Sprintf("kid %s, %s, from %s", show.Quoted(presented.JWT.KeyID),
				presented.JWT.Algorithm, i.Keys.Fetcher.Shown)
		case presented.Kind == credential.KindSession && presented.Signature == "" && !i.RequireSignature:
			return "none needed for a raw token"
		case !i.Secrets.IsConfigured():
			return "no secret is configured, so the signature does not count"
		}
		return "the shared secret"
	case reason.StepSignature:
		if presented.Kind == credential.KindSession && presented.Signature == "" {
			return "none, and none needed in a Bearer credential"
		}
		if presented.Kind == credential.KindSession && !i.Secrets.IsConfigured() {
			return "not checked"
		}
		return "fits"
	case reason.StepClaims:
		return "each once, and of its type"
	case reason.StepTimes:
		return fmt.Sprintf("expires %s, in %s", show.Time(identity.ExpiresAt), identity.ExpiresAt.Sub(i.Now()).Round(time.Second))
	case reason.StepIssuer:
		claims, err := jose.ParseClaims(presented.JWT.Payload)
		return show.Claim(claims.Issuer, err == nil)
	case reason.StepAudience:
		return "one of " + show.List(i.expected[presented.Kind].Audiences)
	case reason.StepRow:
		return "there, with its user"
	}
	return show.Quoted(identity.Subject)
}
