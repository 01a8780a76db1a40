package extauthz

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
	KindJWT:     {StepShape, StepKey, StepSignature, StepClaims, StepTimes, StepIssuer, StepAudience, StepSubject},
	KindHS256:   {StepShape, StepKey, StepSignature, StepClaims, StepTimes, StepIssuer, StepAudience, StepSubject},
	KindSession: {StepShape, StepKey, StepSignature, StepRow, StepTimes, StepSubject},
}

// Step is one step of an [Explanation].
type Step struct {
	Name string
	// Found says in a few words what was found; empty when the step was not reached.
	Found string
	// Denial is what the step alone would answer; nil when it passed or was not reached.
	Denial *Denial
	// Reached is false for a step behind one that must pass first.
	Reached bool
}

// Explanation is how one credential is judged, step by step.
type Explanation struct {
	Steps    []Step
	Identity Identity // meaningful when Denial is nil
	Denial   *Denial  // the answer; nil means allow. Where several steps fail, it is one of them.
}

// Explain judges a credential as [Authorizer.Check] would, except for the time budget and for what
// the request is besides (its site, its other cookies), and says how each step went. Once a signature is verified all
// claims are judged, so that several faults show at once. A credential of no known kind is an outage, as is one that
// could not be judged.
//
// It leaves no trace: nothing is logged, remembered or counted, neither a check nor a use of a former secret, nor a
// query that no check shares. Only the fetch of the JWKS that an unknown kid causes, within the bound that all
// fetches have in common, is counted as one.
func (a *Authorizer) Explain(ctx context.Context, presented Credential) Explanation {
	identity, err := a.verifiers.Verify(dryrun.With(ctx), presented)
	e := Explanation{Identity: identity}
	failed := ""
	if err != nil {
		e.Denial = reason.Of(err).Copied()
		failed = cmp.Or(e.Denial.Step, StepCredential)
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
	for i, name := range steps {
		step := Step{Name: name, Reached: i <= last}
		switch {
		case i < last || e.Denial == nil:
			step.Found = a.found(name, &presented, &identity)
		case i == last:
			step.Denial = e.Denial.Copied()
		}
		e.Steps = append(e.Steps, step)
	}
	if claims := slices.Index(steps, StepClaims); claims >= 0 && slices.Index(steps, failed) >= claims {
		a.explainClaims(&e, &presented)
	}
	return e
}

// explainClaims judges each claim on its own.
func (a *Authorizer) explainClaims(e *Explanation, credential *Credential) {
	claims, err := jose.ParseClaims(credential.JWT.Payload)
	if err != nil {
		return
	}
	claims.IsAccessToken = credential.JWT.IsAccessToken
	expected := &a.expected[credential.Kind]
	verdicts := map[string]error{
		StepClaims:   claims.Profile.Check(claims.Subject),
		StepTimes:    expected.CheckTimes(&claims.Times, a.now()),
		StepIssuer:   expected.CheckIssuer(claims.Issuer, claims.HasIssuer),
		StepAudience: expected.CheckAudience(claims.Audience),
		StepSubject:  identity.CheckSubject(claims.Subject),
	}
	identity := claims.Identity(e.Identity.Method)
	for i := range e.Steps {
		step := &e.Steps[i]
		verdict, isClaim := verdicts[step.Name]
		switch {
		case !isClaim:
		case verdict != nil:
			*step = Step{Name: step.Name, Denial: reason.Of(verdict).Copied(), Reached: true}
		default:
			*step = Step{Name: step.Name, Found: a.found(step.Name, credential, &identity), Reached: true}
		}
	}
}

// found says what a step that passed has found.
func (a *Authorizer) found(step string, credential *Credential, identity *Identity) string {
	switch step {
	case StepShape:
		return credential.Describe()
	case StepKey:
		switch {
		case credential.Kind == KindJWT:
			return fmt.Sprintf("kid %s, %s, from %s", show.Quoted(credential.JWT.KeyID),
				credential.JWT.Algorithm, a.keys.Fetcher.Shown)
		case credential.Kind == KindSession && credential.Signature == "" && !a.requireSignature:
			return "none needed for a raw token"
		case !a.secrets.IsConfigured():
			return "no secret is configured, so the signature does not count"
		}
		return "the shared secret"
	case StepSignature:
		if credential.Kind == KindSession && credential.Signature == "" {
			return "none, and none needed in a Bearer credential"
		}
		if credential.Kind == KindSession && !a.secrets.IsConfigured() {
			return "not checked"
		}
		return "fits"
	case StepClaims:
		return "each once, and of its type"
	case StepTimes:
		return fmt.Sprintf("expires %s, in %s", show.Time(identity.ExpiresAt), identity.ExpiresAt.Sub(a.now()).Round(time.Second))
	case StepIssuer:
		claims, err := jose.ParseClaims(credential.JWT.Payload)
		return show.Claim(claims.Issuer, err == nil)
	case StepAudience:
		return "one of " + show.List(a.expected[credential.Kind].Audiences)
	case StepRow:
		return "there, with its user"
	}
	return show.Quoted(identity.Subject)
}
