# The JWT part of the check as a policy: the issuer's keys, iss, aud, times, and headers for the backend.
package envoy.authz

default decision := {"allowed": false, "http_status": 401}

decision := {"allowed": true, "headers": {"x-user-id": claims.sub, "x-user-email": claims.email, "x-user-name": claims.name, "x-auth-method": "jwks"}} if {
	authorization := input.attributes.request.http.headers.authorization
	startswith(authorization, "Bearer ")
	[valid, _, claims] := io.jwt.decode_verify(substring(authorization, 7, -1), {
		"cert": opa.runtime().env.JWKS,
		"iss": opa.runtime().env.BETTER_AUTH_URL,
		"aud": opa.runtime().env.API_AUDIENCE,
	})
	valid
}
