package extauthz

import "extauthz/extauthz/internal/issuer"

// Step is one step of an [Explanation]: its Name, what was Found, empty when the step was not reached, what the step alone
// would answer (Denial), nil when it passed or was not reached, and whether it was Reached.
type Step = issuer.Step

// Explanation is how one credential is judged, step by step: its Steps, the Identity, meaningful when Denial is nil, and
// the Denial, nil for an allow. Where several steps fail, it is one of them.
type Explanation = issuer.Explanation
