package extauthz

import "extauthz/extauthz/internal/part"

// Part is what the server depends on, and how it is: Name is "jwks", "redis" or "database", OK tells that its last answer was
// good, Since when that changed last, and Fault why it is not, in one line without a secret. Fault is empty when the
// part is OK, or has not answered yet.
type Part = part.Part
