package extauthz

import "extauthz/extauthz/internal/identity"

// Identity is who a request comes from: Subject, the user's id, is never empty; Email and Name are empty when they are
// not known; Method is how it was proven, "jwks", "hs256" or "session"; IssuedAt and ExpiresAt are zero when there is no
// such time. It is a value; copies are independent.
type Identity = identity.Identity
