package extauthz

import "extauthz/extauthz/internal/secret"

// Secrets are Better Auth's shared secrets, and what those before a rotation are still good for: Current signs, Former
// are those before it, and count for nothing unless FormerForHS256 lets them verify HS256 tokens, or FormerForSessions
// the signature of a session token or cookie. The zero value turns off all that needs a secret.
type Secrets = secret.Secrets
