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
		"Send fewer; Envoy's own bound is `max_headers_count`, 100 by default."},
	{OversizedMessage, http.StatusServiceUnavailable, DetailUnavailable, StepCredential,
		"Envoy's message for the check, the request's body with it, is larger than `Config.MaxMessageBytes`, " +
			"8 MiB by default.",
		"Leave `with_request_body` out of the filter: no body is looked at. " +
			"Or lower its `max_request_bytes`, or raise the bound."},
	{UndecodableMessage, http.StatusServiceUnavailable, DetailUnavailable, StepCredential,
		"The message for the check cannot be decoded, is cut off, or takes longer than 10 s to come in.",
		"See that an Envoy sends it, in the v3 API, and that nothing in between changes it; " +
			"the error says what is wrong."},
	{MissingCredential, http.StatusUnauthorized, DetailMissing, StepCredential,
		"No Authorization header with the scheme Bearer, and no session cookie.",
		"Send `Authorization: Bearer …` or the session cookie. " +
			"With Envoy's `allowed_headers`, list `authorization` and `cookie`."},
	{APIKeysNotConfigured, http.StatusUnauthorized, DetailMissing, StepCredential,
		"An API key in `x-api-key`, and no Bearer token and no session cookie. " +
			"API keys are not checked by this server.",
		"Send a JWT or a session token. A route for API keys must not be checked here: " +
			"let its backend verify them by Better Auth's `/api/auth/api-key/verify`."},
	{CookieCacheAlone, http.StatusUnauthorized, DetailMissing, StepCredential,
		"Better Auth's cookie cache (`session_data`) without the session cookie (`session_token`). " +
			"The cache is no credential: it outlives a sign-out.",
		"Send the session cookie too; browsers send both. " +
			"With `cookiePrefix` its name is another: set `Config.SessionCookie`. " +
			"A Better Auth without a database is not supported by its cookies: send its JWTs."},
	{UnsupportedScheme, http.StatusUnauthorized, DetailMissing, StepCredential,
		"An Authorization header with another scheme than Bearer, such as Basic or DPoP, " +
			"or with a token and no scheme, and no session cookie.",
		"Write `Bearer` and a space before the token. Other schemes are not supported."},
	{RepeatedAuthorization, http.StatusUnauthorized, detailInvalid, StepCredential,
		"More than one Authorization header, or one that holds a comma.",
		"Send exactly one Authorization header with one credential."},
	{MalformedCredential, http.StatusUnauthorized, detailInvalid, StepShape,
		"The credential is neither a JWT (three base64url parts) nor a session token, raw or `value.signature`.",
		"Send the token as Better Auth issued it, whole and unquoted."},
	{OversizedCredential, http.StatusUnauthorized, detailInvalid, StepShape,
		"The credential is longer than 64 KiB.",
		"Put less into the token (`definePayload`)."},
	{UnsignedCookie, http.StatusUnauthorized, detailInvalid, StepShape,
		"The session cookie holds no signature; Better Auth always signs it.",
		"Send the cookie unchanged. A raw session token belongs into `Authorization: Bearer …`."},
	{EncryptedToken, http.StatusUnauthorized, detailInvalid, StepShape,
		"An encrypted JWT (JWE, five parts), such as Better Auth's cookie cache with the strategy `jwe`.",
		"Send a signed JWT of Better Auth's jwt plugin or the session token, " +
			"and not the value of the cookie `session_data`."},
	{MalformedToken, http.StatusUnauthorized, detailInvalid, StepShape,
		"A JWT whose base64url or header is not strictly well-formed: padding, stray bits, a repeated name, " +
			"a `crit` header.",
		"Issue the token with a JOSE library and pass it on unchanged."},
	{UnsupportedType, http.StatusUnauthorized, detailInvalid, StepShape,
		"Another kind of JWT than a user's own, by its `typ` or a claim: a cookie cache, an ID token (`at_hash`), " +
			"a logout token (`events`).",
		"Send a token of Better Auth's jwt plugin (`/api/auth/token`): its `typ` is absent or `JWT`."},
	{UnsupportedAlgorithm, http.StatusUnauthorized, detailInvalid, StepShape,
		"The header's `alg` is not one of EdDSA, ES256, ES512, PS256, RS256 and HS256.",
		"Sign with an algorithm that Better Auth issues."},
	{MissingKeyID, http.StatusUnauthorized, detailInvalid, StepKey,
		"A token with an asymmetric `alg` and no `kid`.",
		"Issue the token with the `kid` of its key; Better Auth does."},
	{UnknownKey, http.StatusUnauthorized, detailInvalid, StepKey,
		"No key of the JWKS has this `kid`, after a fetch that began when the check had arrived.",
		"Check that `Config.Issuer` (or `Config.JWKSURL`) is the issuer of this token, " +
			"and that its key was not withdrawn."},
	{UnusableKey, http.StatusUnauthorized, detailInvalid, StepKey,
		"The JWKS lists the key, but it may not verify tokens: RSA under 2048 bits, symmetric, private, " +
			"`use` other than `sig`, an `alg` that does not fit it, or a member of a wrong type or that stands twice.",
		"Create a fresh signing key in Better Auth."},
	{KeyAlgorithmMismatch, http.StatusUnauthorized, detailInvalid, StepKey,
		"The header's `alg` is not the key's own.",
		"Sign with the algorithm that the JWKS gives for this `kid`."},
	{SecretNotConfigured, http.StatusUnauthorized, detailInvalid, StepKey,
		"An HS256 token or a session cookie, and no `Config.Secret` to check its signature with.",
		"Set `Config.Secret` to Better Auth's secret."},
	{UnsignedToken, http.StatusUnauthorized, detailInvalid, StepSignature,
		"A raw session token, and `Config.RequireSignature` wants one with its signature.",
		"Send the token as Better Auth's `set-auth-token` header gives it (`value.signature`), or the session cookie."},
	{BadSignature, http.StatusUnauthorized, detailInvalid, StepSignature,
		"The signature does not fit the credential and its key.",
		"If this is no forgery: the secret here and in Better Auth must be the same, " +
			"and the token must arrive unchanged."},
	{MalformedClaims, http.StatusUnauthorized, detailInvalid, StepClaims,
		"Signed, but the claims are not a JSON object in which each name stands once and has its type, " +
			"with a numeric `exp`.",
		"Issue `exp` as a number of seconds, `aud` as a string or an array of strings, `email` and `name` as strings."},
	{Expired, http.StatusUnauthorized, detailExpired, StepTimes,
		"The signature is right; the token's `exp` or the session's `expiresAt` is past.",
		"Get a fresh token or sign in again. If it should be alive, compare the clocks."},
	{NotYetValid, http.StatusUnauthorized, detailInvalid, StepTimes,
		"The token's `nbf` lies in the future.",
		"Compare the clocks of the issuer and of this server."},
	{IssuedInFuture, http.StatusUnauthorized, detailInvalid, StepTimes,
		"The token's `iat` lies in the future.",
		"Compare the clocks of the issuer and of this server."},
	{ProofRequired, http.StatusUnauthorized, detailInvalid, StepClaims,
		"The token is bound to a key (`cnf`: DPoP, RFC 9449, or a client certificate, RFC 8705) and came as plain " +
			"Bearer, which proves nothing.",
		"Have the client ask for tokens that are not bound, or send a token of Better Auth's jwt plugin; " +
			"proofs are not checked here."},
	{OAuthNotConfigured, http.StatusUnauthorized, detailInvalid, StepClaims,
		"An OAuth access token (`typ` `at+jwt`, a claim `azp`, `client_id` together with `scope`, or a `sub` that is " +
			"the `client_id`): it is a client's, with that client's rights, and not the user's own.",
		"Send a token of Better Auth's jwt plugin (`/api/auth/token`) or a session token. " +
			"A project's own claim must not be named `azp`."},
	{WrongIssuer, http.StatusUnauthorized, detailInvalid, StepIssuer,
		"The token's `iss` is none of the accepted issuers: those of `Config.Issuers`, " +
			"or else the origin of `Config.Issuer`.",
		"If the token is Better Auth's: put its `iss` into `Config.Issuers`, to the letter. It need not be a URL. " +
			"Or set `jwt.issuer` in Better Auth to an accepted one."},
	{WrongAudience, http.StatusUnauthorized, detailInvalid, StepAudience,
		"The token's `aud` holds none of `Config.Audiences`.",
		"Set `Config.Audiences` to the token's `aud`, or `jwt.audience` in Better Auth to `Config.Audiences`."},
	{SessionsNotConfigured, http.StatusUnauthorized, detailInvalid, StepRow,
		"A session token, and no `Config.DatabaseURL` to look it up in.",
		"Set `Config.DatabaseURL` to Better Auth's database. " +
			"A Better Auth without one (stateless, or `secondaryStorage` alone) has no session that can be looked " +
			"up: send its JWTs."},
	{UnknownSession, http.StatusUnauthorized, detailInvalid, StepRow,
		"No row of the session table has this token, or its user has no row.",
		"Sign in again. If the session should exist, check that `Config.DatabaseURL` is Better Auth's database. " +
			"Opaque OAuth tokens and API keys look like session tokens, and are not supported; " +
			"a Better Auth without a database has no sessions that could be looked up."},
	{StatelessSession, http.StatusUnauthorized, detailInvalid, StepRow,
		"No session row is known for the cookie, and an encrypted cookie cache came with it: the session was ended, " +
			"or Better Auth runs without a database and keeps it in that cache alone, which is not supported.",
		"If Better Auth has a database: set `Config.DatabaseURL` to it, and sign in again. " +
			"If it has none (stateless): give it one, or send its JWTs as `Authorization: Bearer …`."},
	{MissingSubject, http.StatusUnauthorized, detailNoSubject, StepSubject,
		"A valid token whose `sub` is missing, empty, not a string, or holds control characters.",
		"Issue tokens with the user's id as `sub`."},
	{CrossSite, http.StatusForbidden, detailCrossSite, StepSite,
		"An unsafe method, or a WebSocket, authenticated by the cookie and sent from another site.",
		"Call from the same site, list the page's origin in `Config.TrustedOrigins`, " +
			"or send the token as `Authorization: Bearer …`."},
	{MethodRefused, http.StatusForbidden, detailForbidden, StepRoute,
		"The route's `methods` (context_extensions) do not list how this user was authenticated.",
		"Send the kind of credential that the route asks for."},
	{ClaimRequired, http.StatusForbidden, detailForbidden, StepRoute,
		"The route asks for a claim (`claim.NAME` in its context_extensions) that the token does not have with this " +
			"value; session tokens have none.",
		"Issue the claim (`definePayload` in Better Auth's jwt plugin), or give the user the role."},
	{BadRouteSettings, http.StatusServiceUnavailable, DetailUnavailable, StepRoute,
		"The route's context_extensions hold a name or a value that is not known.",
		"Correct Envoy's configuration: `audience`, `methods`, `optional` and `claim.NAME` are known, " +
			"and only narrow the server's settings."},
	{JWKSUnavailable, http.StatusServiceUnavailable, DetailUnavailable, StepKey,
		"The JWKS was never fetched, is older than a day, or lacks this `kid` and cannot be fetched now.",
		"See that this server reaches the JWKS (`<Config.Issuer>/api/auth/jwks`, or `<Config.Issuer>/jwks` where " +
			"that has a path), or set `Config.JWKSURL`; the error says how the fetch failed."},
	{DatabaseUnavailable, http.StatusServiceUnavailable, DetailUnavailable, StepRow,
		"PostgreSQL could not be asked, or its tables do not fit.",
		"See that this server reaches `Config.DatabaseURL`; the error says what failed."},
	{TimeBudgetSpent, http.StatusServiceUnavailable, DetailUnavailable, "",
		"The check's time budget (400 ms, or less when the caller's deadline is nearer) ran out before there was an " +
			"answer.",
		"Look for a slow database or issuer. In Envoy, give the filter a timeout of 0.5 s."},
	{Overloaded, http.StatusServiceUnavailable, DetailUnavailable, "",
		"More checks wait for the database, for the JWKS or for their signature's turn than can be answered in time, " +
			"so this one was not begun; or the messages of others take all the memory that messages may take. " +
			"JWTs whose signature is remembered go before.",
		"Give the server more CPU or more replicas. " +
			"Where the log's `client` shows a few addresses with made-up tokens, rate-limit them in Envoy."},
	{Cancelled, http.StatusServiceUnavailable, DetailUnavailable, "",
		"Envoy gave the check up before there was an answer, as it does when its client goes away. " +
			"Nobody got the answer.",
		"Nothing, unless there are many: then see what the checks wait for."},
	{InternalError, http.StatusServiceUnavailable, DetailUnavailable, StepCredential,
		"A fault of this server; the request was refused.",
		"Report it with the log line."},
	{Closed, http.StatusServiceUnavailable, DetailUnavailable, StepCredential,
		"The check came after the Authorizer was closed, by the server that it is embedded in.",
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
