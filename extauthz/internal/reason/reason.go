// Package reason has the reason table: each way in which a check does not allow, with its answer, its meaning and what
// to do about it, and the denial that carries one. It imports nothing of this module. It does not know who gives a
// reason, nor how an answer is encoded.
package reason

// Reason is why a check did not allow. It is one word for one cause, the same in the log, in the
// metric's label, in the dynamic metadata, in the tests' names and in docs/reasons.md.
type Reason string

const (
	TooManyHeaders        Reason = "too_many_headers"
	OversizedMessage      Reason = "oversized_message"
	UndecodableMessage    Reason = "undecodable_message"
	MissingCredential     Reason = "missing_credential"
	APIKeysNotConfigured  Reason = "api_keys_not_configured"
	CookieCacheAlone      Reason = "cookie_cache_alone"
	UnsupportedScheme     Reason = "unsupported_scheme"
	RepeatedAuthorization Reason = "repeated_authorization"
	MalformedCredential   Reason = "malformed_credential"
	OversizedCredential   Reason = "oversized_credential"
	UnsignedCookie        Reason = "unsigned_cookie"

	EncryptedToken        Reason = "encrypted_token"
	MalformedToken        Reason = "malformed_token"
	UnsupportedAlgorithm  Reason = "unsupported_algorithm"
	UnsupportedType       Reason = "unsupported_type"
	MissingKeyID          Reason = "missing_key_id"
	UnknownKey            Reason = "unknown_key"
	UnusableKey           Reason = "unusable_key"
	KeyAlgorithmMismatch  Reason = "key_algorithm_mismatch"
	UnsignedToken         Reason = "unsigned_token"
	SecretNotConfigured   Reason = "secret_not_configured"
	BadSignature          Reason = "bad_signature"
	MalformedClaims       Reason = "malformed_claims"
	Expired               Reason = "expired"
	NotYetValid           Reason = "not_yet_valid"
	IssuedInFuture        Reason = "issued_in_future"
	WrongIssuer           Reason = "wrong_issuer"
	WrongAudience         Reason = "wrong_audience"
	ProofRequired         Reason = "proof_required"
	OAuthNotConfigured    Reason = "oauth_not_configured"
	MissingSubject        Reason = "missing_subject"
	UserBanned            Reason = "user_banned"
	SessionsNotConfigured Reason = "sessions_not_configured"
	UnknownSession        Reason = "unknown_session"
	StatelessSession      Reason = "stateless_session"
	MalformedSession      Reason = "malformed_session"
	CrossSite             Reason = "cross_site"
	JWKSUnavailable       Reason = "jwks_unavailable"
	DatabaseUnavailable   Reason = "database_unavailable"
	RedisUnavailable      Reason = "redis_unavailable"
	TimeBudgetSpent       Reason = "time_budget_spent"
	Overloaded            Reason = "overloaded"
	Cancelled             Reason = "cancelled"
	InternalError         Reason = "internal_error"
	Closed                Reason = "closed"
	BadRouteSettings      Reason = "bad_route_settings"
	MethodRefused         Reason = "method_refused"
	ClaimRequired         Reason = "claim_required"
)

// The steps of a check.
const (
	StepCredential = "credential" // one credential is there
	StepShape      = "shape"      // it is a JWT or a session token
	StepKey        = "key"        // the key or secret for its signature is there
	StepSignature  = "signature"
	StepClaims     = "claims" // each has its type, and they are a user's own token's
	StepTimes      = "times"  // exp, nbf, iat; a session's expiresAt
	StepIssuer     = "issuer"
	StepAudience   = "audience"
	StepRow        = "row"     // the session's row in PostgreSQL
	StepSubject    = "subject" // the user: an id that can be told, and no ban
	StepRoute      = "route"   // what the route's context_extensions ask for
	StepSite       = "site"    // where a cookie's request comes from
)
