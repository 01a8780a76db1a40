package extauthz

import (
	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/identity"
)

// The headers that the backend gets. Their values are percent-encoded ([EncodeHeader]).
const (
	HeaderUserID    = identity.HeaderUserID    // the subject
	HeaderUserEmail = identity.HeaderUserEmail // when known
	HeaderUserName  = identity.HeaderUserName  // when known
	HeaderMethod    = identity.HeaderMethod    // jwks, hs256 or session
	HeaderIssuedAt  = identity.HeaderIssuedAt  // Unix seconds; JWT only
	HeaderExpiresAt = identity.HeaderExpiresAt // Unix seconds
)

// EncodeHeader makes any text fit for a header's value, so that one percent-decoding gives the original back: printable
// ASCII stays, except "%" and a space at either end; every other byte of the UTF-8 becomes %XX (RFC 3986 §2.1).
func EncodeHeader(value string) string { return checkwire.EncodeHeader(value) }
