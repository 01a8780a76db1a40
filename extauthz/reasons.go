package extauthz

import "extauthz/extauthz/internal/reason"

// Reason is why a check did not allow. It is one word for one cause, the same in the log, in the
// metric's label, in the dynamic metadata, in the tests' names and in docs/reasons.md.
type Reason = reason.Reason

// Denial is the answer to a request that is not allowed: a refusal (401, 403, 431) or an outage (503). It is an
// error, and a *Denial is what to look for with [errors.As]. Its methods say why (Reason), what the client gets
// (Status, Detail), at which step it arose (Step), which two values differed (Got, Want), and for an operator what
// was found and what to do (Meaning, Fix). Nothing of it can be changed.
type Denial = reason.Denial

// The reasons, in the order of the check's steps.
const (
	ReasonTooManyHeaders        = reason.TooManyHeaders
	ReasonOversizedMessage      = reason.OversizedMessage
	ReasonUndecodableMessage    = reason.UndecodableMessage
	ReasonMissingCredential     = reason.MissingCredential
	ReasonAPIKeysNotConfigured  = reason.APIKeysNotConfigured
	ReasonCookieCacheAlone      = reason.CookieCacheAlone
	ReasonUnsupportedScheme     = reason.UnsupportedScheme
	ReasonRepeatedAuthorization = reason.RepeatedAuthorization
	ReasonMalformedCredential   = reason.MalformedCredential
	ReasonOversizedCredential   = reason.OversizedCredential
	ReasonUnsignedCookie        = reason.UnsignedCookie
	ReasonEncryptedToken        = reason.EncryptedToken
	ReasonMalformedToken        = reason.MalformedToken
	ReasonUnsupportedAlgorithm  = reason.UnsupportedAlgorithm
	ReasonUnsupportedType       = reason.UnsupportedType
	ReasonMissingKeyID          = reason.MissingKeyID
	ReasonUnknownKey            = reason.UnknownKey
	ReasonUnusableKey           = reason.UnusableKey
	ReasonKeyAlgorithmMismatch  = reason.KeyAlgorithmMismatch
	ReasonUnsignedToken         = reason.UnsignedToken
	ReasonSecretNotConfigured   = reason.SecretNotConfigured
	ReasonBadSignature          = reason.BadSignature
	ReasonMalformedClaims       = reason.MalformedClaims
	ReasonExpired               = reason.Expired
	ReasonNotYetValid           = reason.NotYetValid
	ReasonIssuedInFuture        = reason.IssuedInFuture
	ReasonWrongIssuer           = reason.WrongIssuer
	ReasonWrongAudience         = reason.WrongAudience
	ReasonProofRequired         = reason.ProofRequired
	ReasonOAuthNotConfigured    = reason.OAuthNotConfigured
	ReasonMissingSubject        = reason.MissingSubject
	ReasonUserBanned            = reason.UserBanned
	ReasonSessionsNotConfigured = reason.SessionsNotConfigured
	ReasonUnknownSession        = reason.UnknownSession
	ReasonStatelessSession      = reason.StatelessSession
	ReasonMalformedSession      = reason.MalformedSession
	ReasonCrossSite             = reason.CrossSite
	ReasonJWKSUnavailable       = reason.JWKSUnavailable
	ReasonDatabaseUnavailable   = reason.DatabaseUnavailable
	ReasonRedisUnavailable      = reason.RedisUnavailable
	ReasonTimeBudgetSpent       = reason.TimeBudgetSpent
	ReasonOverloaded            = reason.Overloaded
	ReasonCancelled             = reason.Cancelled
	ReasonInternalError         = reason.InternalError
	ReasonClosed                = reason.Closed
	ReasonBadRouteSettings      = reason.BadRouteSettings
	ReasonMethodRefused         = reason.MethodRefused
	ReasonClaimRequired         = reason.ClaimRequired
)
