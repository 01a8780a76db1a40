package extauthz

import "extauthz/extauthz/internal/keyset"

// Key is a key of the issuer's, as the JWKS in use has it: ID is its kid, which the issuer chose, so escape it before it
// is shown; Algorithm its own, empty when it may not be used; Fault why it may not; Since when it was first fetched.
type Key = keyset.Entry
