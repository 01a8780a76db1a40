package extauthz

import "extauthz/extauthz/internal/identity"

// The headers that the backend gets. Their values are percent-encoded ([EncodeHeader]).
const (
	HeaderUserID    = identity.HeaderUserID    // the subject
	HeaderUserEmail = identity.HeaderUserEmail // when known
	HeaderUserName  = identity.HeaderUserName  // when known
	HeaderMethod    = identity.HeaderMethod    // jwks, hs256 or session
	HeaderIssuedAt  = identity.HeaderIssuedAt  // Unix seconds; JWT only
	HeaderExpiresAt = identity.HeaderExpiresAt // Unix seconds
)
