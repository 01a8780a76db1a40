package reason

import "net/http"

// The details are the bodies that clients of the Python verifier already know.
const (
	detailTooMany     = "Too many header fields"
	DetailMissing     = "Not authenticated: Missing Authorization header"
	detailInvalid     = "Invalid token"
	detailExpired     = "Token has expired"
	detailNoSubject   = "Invalid token: missing user ID"
	detailCrossSite   = "Cross-site request refused"
	detailForbidden   = "Forbidden"
	DetailUnavailable = "Authentication service unavailable"
)

// Fact is what a reason stands for: the answer that it gives, and how to find and fix its cause.
type Fact struct {
	Reason  Reason
	Status  int    // HTTP status of the answer
	Detail  string // the answer's body is {"detail": Detail}
	Step    string // of the check that failed, one of the Step names; empty for what may arise at several
	Meaning string // what was found
	Fix     string // what to do about it
}

// facts is the reason table, in the order of the steps.
var facts = []Fact{
	{TooManyHeaders, http.StatusRequestHeaderFieldsTooLarge, detailTooMany, StepCredential,
		"The request has more than 1,000 header fields.",
		"Send fewer. Envoy's own limit is `max_headers_count`, 100 by default."},
	{OversizedMessage, http.StatusServiceUnavailable, DetailUnavailable, StepCredential,
		"Envoy's message for the check, including the request's body, is larger than `Config.MaxMessageBytes`, 8 " +
			"MiB by default.",
		"Remove `with_request_body` from the filter: extauthz does not use the body. Or lower its " +
			"`max_request_bytes`, or raise the limit."},
	{UndecodableMessage, http.StatusServiceUnavailable, DetailUnavailable, StepCredential,
		"The message for the check cannot be decoded, is truncated, or takes longer than 10 s to arrive.",
		"Check that Envoy sends it, in the v3 API, and that nothing in between changes it. The error says what is " +
			"wrong."},
	{MissingCredential, http.StatusUnauthorized, DetailMissing, StepCredential,
		"There is no Authorization header with the scheme Bearer, and no session cookie.",
		"Send `Authorization: Bearer …` or the session cookie. With Envoy's `allowed_headers`, list " +
			"`authorization` and `cookie`."},
	{APIKeysNotConfigured, http.StatusUnauthorized, DetailMissing, StepCredential,
		"The request has an API key in `x-api-key`, and no Bearer token or session cookie. extauthz does not " +
			"check API keys.",
		"Send a JWT or a session token. Turn the check off on a route for API keys, and let its backend verify " +
			"them by Better Auth's `/api/auth/api-key/verify`."},
	{CookieCacheAlone, http.StatusUnauthorized, DetailMissing, StepCredential,
		"The request has Better Auth's cookie cache (`session_data`) without the session cookie " +
			"(`session_token`). The cache is not accepted, because it outlives a sign-out.",
		"Send the session cookie too, as browsers do. With `cookiePrefix` it has another name: set " +
			"`Config.SessionCookie`. Cookies of a Better Auth without a database are not supported: send its JWTs."},
	{UnsupportedScheme, http.StatusUnauthorized, DetailMissing, StepCredential,
		"The Authorization header has another scheme than Bearer, such as Basic or DPoP, or a token without a " +
			"scheme. There is no session cookie.",
		"Write `Bearer` and a space before the token. Other schemes are not supported."},
	{RepeatedAuthorization, http.StatusUnauthorized, detailInvalid, StepCredential,
		"There is more than one Authorization header, or one that holds a comma.",
		"Send exactly one Authorization header with one credential."},
	{MalformedCredential, http.StatusUnauthorized, detailInvalid, StepShape,
		"The credential is neither a JWT (three base64url parts) nor a session token, raw or `value.signature`.",
		"Send the token as Better Auth issued it, complete and unquoted."},
	{OversizedCredential, http.StatusUnauthorized, detailInvalid, StepShape,
		"The credential is longer than 64 KiB.",
		"Put less data into the token (`definePayload`)."},
	{UnsignedCookie, http.StatusUnauthorized, detailInvalid, StepShape,
		"The session cookie has no signature. Better Auth always signs it.",
		"Send the cookie unchanged. Send a raw session token as `Authorization: Bearer …`."},
	{EncryptedToken, http.StatusUnauthorized, detailInvalid, StepShape,
		"The token is an encrypted JWT (JWE, five parts), such as Better Auth's cookie cache with the strategy " +
			"`jwe`.",
		"Send a signed JWT of Better Auth's jwt plugin or the session token, not the value of the cookie " +
			"`session_data`."},
	{MalformedToken, http.StatusUnauthorized, detailInvalid, StepShape,
		"The JWT's base64url or header is not strictly well-formed: padding, stray bits, a repeated name, or a " +
			"`crit` header.",
		"Issue the token with a JOSE library, and pass it on unchanged."},
	{UnsupportedType, http.StatusUnauthorized, detailInvalid, StepShape,
		"The JWT is not a user's token, by its `typ` or a claim. It is a cookie cache, an ID token (`at_hash`), " +
			"or a logout token (`events`).",
		"Send a token of Better Auth's jwt plugin (`/api/auth/token`): its `typ` is absent or `JWT`."},
	{UnsupportedAlgorithm, http.StatusUnauthorized, detailInvalid, StepShape,
		"The header's `alg` is not EdDSA, ES256, ES512, PS256, RS256 or HS256.",
		"Sign with an algorithm that Better Auth issues."},
	{MissingKeyID, http.StatusUnauthorized, detailInvalid, StepKey,
		"The token has an asymmetric `alg` and no `kid`.",
		"Issue the token with the `kid` of its key, as Better Auth does."},
	{UnknownKey, http.StatusUnauthorized, detailInvalid, StepKey,
		"The JWKS has no key with this `kid`, after a fetch that began when the check had arrived.",
		"Check that `Config.Issuer` (or `Config.JWKSURL`) is the issuer of this token, and that its key was not " +
			"withdrawn."},
	{UnusableKey, http.StatusUnauthorized, detailInvalid, StepKey,
		"The JWKS lists the key, but the key may not verify tokens: RSA under 2048 bits, symmetric, private, " +
			"`use` other than `sig`, an `alg` that does not fit it, or a member that is repeated or has a wrong type.",
		"Create a new signing key in Better Auth."},
	{KeyAlgorithmMismatch, http.StatusUnauthorized, detailInvalid, StepKey,
		"The header's `alg` is not the key's own.",
		"Sign with the algorithm that the JWKS gives for this `kid`."},
	{SecretNotConfigured, http.StatusUnauthorized, detailInvalid, StepKey,
		"The credential is an HS256 token or a session cookie, and `Config.Secret` is not set to verify its " +
			"signature.",
		"Set `Config.Secret` to Better Auth's secret."},
	{UnsignedToken, http.StatusUnauthorized, detailInvalid, StepSignature,
		"The session token is raw, and `Config.RequireSignature` requires a signature.",
		"Send the token from Better Auth's `set-auth-token` header (`value.signature`), or the session cookie."},
	{BadSignature, http.StatusUnauthorized, detailInvalid, StepSignature,
		"The signature does not match the credential and its key.",
		"If the credential is not forged, check that the secret is the same here and in Better Auth, and that the " +
			"token arrives unchanged."},
	{MalformedClaims, http.StatusUnauthorized, detailInvalid, StepClaims,
		"The JWT is signed, but its claims are not a JSON object with unique names, correct types and a numeric " +
			"`exp`.",
		"Issue `exp` as a number of seconds, `aud` as a string or an array of strings, `email` and `name` as " +
			"strings."},
	{Expired, http.StatusUnauthorized, detailExpired, StepTimes,
		"The signature is right. The token's `exp` or the session's `expiresAt` is in the past.",
		"Get a new token or sign in again. If it should not have expired, compare the clocks."},
	{NotYetValid, http.StatusUnauthorized, detailInvalid, StepTimes,
		"The token's `nbf` is in the future.",
		"Compare the clocks of the issuer and of this server."},
	{IssuedInFuture, http.StatusUnauthorized, detailInvalid, StepTimes,
		"The token's `iat` is in the future.",
		"Compare the clocks of the issuer and of this server."},
	{ProofRequired, http.StatusUnauthorized, detailInvalid, StepClaims,
		"The token is bound to a key (`cnf`: DPoP, RFC 9449, or a client certificate, RFC 8705), but came as " +
			"Bearer, without a proof.",
		"Let the client request tokens that are not bound, or send a token of Better Auth's jwt plugin. extauthz " +
			"does not check proofs."},
	{OAuthNotConfigured, http.StatusUnauthorized, detailInvalid, StepClaims,
		"The token is an OAuth access token (`typ` `at+jwt`, a claim `azp`, `client_id` together with `scope`, or " +
			"a `sub` that equals `client_id`). It has a client's rights, not the user's.",
		"Send a token of Better Auth's jwt plugin (`/api/auth/token`) or a session token. Do not name your own " +
			"claim `azp`."},
	{WrongIssuer, http.StatusUnauthorized, detailInvalid, StepIssuer,
		"The token's `iss` is not accepted. Accepted are `Config.Issuers`, or, if that is empty, the origin of " +
			"`Config.Issuer`.",
		"If the token is Better Auth's, add its exact `iss` to `Config.Issuers`. It need not be a URL. Or set " +
			"`jwt.issuer` in Better Auth to an accepted one."},
	{WrongAudience, http.StatusUnauthorized, detailInvalid, StepAudience,
		"The token's `aud` has none of `Config.Audiences`.",
		"Set `Config.Audiences` to the token's `aud`, or `jwt.audience` in Better Auth to `Config.Audiences`."},
	{SessionsNotConfigured, http.StatusUnauthorized, detailInvalid, StepRow,
		"The credential is a session token, and neither `Config.DatabaseURL` nor `Config.RedisURL` is set to look it up.",
		"Set `Config.DatabaseURL` to Better Auth's database, or `Config.RedisURL` to its `secondaryStorage`. " +
			"A Better Auth without either (stateless) has no session to look up: send its JWTs."},
	{UnknownSession, http.StatusUnauthorized, detailInvalid, StepRow,
		"No row of the session table has this token, or its user has no row; or Redis has no session for it, " +
			"or the user's sessions were revoked after it was made.",
		"Sign in again. If the session should exist, check that `Config.DatabaseURL` is Better Auth's database, " +
			"and `Config.RedisURL` and `Config.RedisPrefix` those of its `secondaryStorage`. " +
			"Opaque OAuth tokens and API keys look like session tokens, and are not supported. A Better Auth without " +
			"a database has no sessions to look up."},
	{StatelessSession, http.StatusUnauthorized, detailInvalid, StepRow,
		"The cookie's session has no row, and the request has an encrypted cookie cache. The session has ended, " +
			"or Better Auth runs without a database and keeps sessions only in that cache, which is not supported.",
		"If Better Auth has a database, set `Config.DatabaseURL` to it, and sign in again. If it has none " +
			"(stateless), add one, or send its JWTs as `Authorization: Bearer …`."},
	{MalformedSession, http.StatusUnauthorized, detailInvalid, StepRow,
		"What Redis keeps under the token is no session as Better Auth writes it: no object, another token's or " +
			"user's, without an expiry, of another type, or too long. Better Auth lets some of these pass.",
		"See who else writes to that Redis, and that `Config.RedisPrefix` is the adapter's; sign in again."},
	{MissingSubject, http.StatusUnauthorized, detailNoSubject, StepSubject,
		"The token is valid, but its `sub` is missing, empty, not a string, or holds control characters.",
		"Issue tokens with the user's id as `sub`."},
	{UserBanned, http.StatusForbidden, detailForbidden, StepSubject,
		"The user is banned (`banned` of Better Auth's admin plugin, until `banExpires`): by the user's row for a " +
			"session, by the claims for a JWT, which are as of its issue.",
		"If the user should pass: unban them in Better Auth. A JWT from before needs to be fetched anew."},
	{CrossSite, http.StatusForbidden, detailCrossSite, StepSite,
		"A request with an unsafe method, or a WebSocket, was authenticated by the cookie and came from another " +
			"site.",
		"Call from the same site, list the page's origin in `Config.TrustedOrigins`, or send the token as " +
			"`Authorization: Bearer …`."},
	{MethodRefused, http.StatusForbidden, detailForbidden, StepRoute,
		"The route's `methods` (context_extensions) do not list the method that authenticated this user.",
		"Send a credential of a method that the route accepts."},
	{ClaimRequired, http.StatusForbidden, detailForbidden, StepRoute,
		"The route asks for a role, an organization or a claim (`role`, `organization`, `claim.NAME` in its " +
			"context_extensions) that the user does not have: a JWT in its claims, a session in its row.",
		"Give the user the role, or issue the claim (`definePayload` in Better Auth's jwt plugin). " +
			"Where the log says that the rule refuses everybody, name the column or claim in Config.Identity."},
	{BadRouteSettings, http.StatusServiceUnavailable, DetailUnavailable, StepRoute,
		"The route's context_extensions have an unknown name or value.",
		"Correct Envoy's configuration. Known names are `audience`, `methods`, `optional`, `role`, `organization` and " +
			"`claim.NAME`. They " +
			"can only restrict the server's settings."},
	{JWKSUnavailable, http.StatusServiceUnavailable, DetailUnavailable, StepKey,
		"The JWKS was never fetched, is older than a day, or lacks this `kid` and cannot be fetched now.",
		"Check that this server reaches the JWKS (`<Config.Issuer>/api/auth/jwks`, or `<Config.Issuer>/jwks` if " +
			"that has a path), or set `Config.JWKSURL`. The error says how the fetch failed."},
	{DatabaseUnavailable, http.StatusServiceUnavailable, DetailUnavailable, StepRow,
		"PostgreSQL could not be queried, or its tables do not match.",
		"Check that this server reaches `Config.DatabaseURL`. The error says what failed."},
	{RedisUnavailable, http.StatusServiceUnavailable, DetailUnavailable, StepRow,
		"Redis could not be asked, is no master, or refuses to answer.",
		"See that this server reaches `Config.RedisURL`, and that the user may `+get` and `+role` there; " +
			"the error says what failed."},
	{TimeBudgetSpent, http.StatusServiceUnavailable, DetailUnavailable, "",
		"The check's deadline (400 ms, or the caller's if that is earlier) passed before there was an answer.",
		"Look for a slow database or issuer. In Envoy, give the filter a timeout of 0.5 s."},
	{Overloaded, http.StatusServiceUnavailable, DetailUnavailable, "",
		"More checks wait for the database, for the JWKS or for a signature verification than can be answered in " +
			"time, so this check was not started. Or the messages of other checks use all the memory for messages. " +
			"JWTs whose signature is remembered have priority.",
		"Give the server more CPU or more replicas. If the log's `client` shows a few addresses with made-up " +
			"tokens, rate-limit them in Envoy."},
	{Cancelled, http.StatusServiceUnavailable, DetailUnavailable, "",
		"Envoy cancelled the check before there was an answer, for instance because its client disconnected. " +
			"Nobody got the answer.",
		"Nothing, unless there are many: then find out what the checks wait for."},
	{InternalError, http.StatusServiceUnavailable, DetailUnavailable, StepCredential,
		"A fault of this server. The request was refused.",
		"Report it with the log line."},
	{Closed, http.StatusServiceUnavailable, DetailUnavailable, StepCredential,
		"The check came after the embedding server had closed the Authorizer.",
		"Stop the gRPC server before you call `Close`."},
}

var byReason = func() map[Reason]*Fact {
	byReason := make(map[Reason]*Fact, len(facts))
	for i := range facts {
		byReason[facts[i].Reason] = &facts[i]
	}
	return byReason
}()

// FactOf is the row of a reason, nil for one that is none. It is not to be changed.
func FactOf(reason Reason) *Fact { return byReason[reason] }

// Facts returns the reason table, one row a reason, in the order of the check's steps. The slice is the caller's.
func Facts() []Fact { return append([]Fact(nil), facts...) }
