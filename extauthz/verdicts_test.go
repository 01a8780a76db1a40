package extauthz

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
)

// verdict is one row of the verdict table: what a client sends, and what it gets. A refused row is
// named by its reason code.
type verdict struct {
	reason  Reason // empty: allowed
	title   string
	method  string // GET when empty
	headers []header
	want    Identity // when allowed: Subject and Method
}

func bearer(token string) []header { return []header{{"authorization", "Bearer " + token}} }

func cookie(value string) []header {
	return []header{{"cookie", "theme=dark; " + credential.DefaultCookie + "=" + value + "; lang=en"}}
}

// verdictTable has many rows for each line of the documented table: a line is a family.
func verdictTable() []verdict {
	s := signers()
	ed := s["ed"]
	good := ed.issue(goodClaims(nil))
	goodHS := hs256(goodClaims(nil))
	signed := signedSession(liveToken, testSecret)
	encoded := url.QueryEscape(signed)
	byJWKS, byHS256 := Identity{Subject: "user-1", Method: identity.MethodJWKS}, Identity{Subject: "user-1", Method: identity.MethodHS256}
	bySession := Identity{Subject: "user-2", Method: identity.MethodSession}

	allowed := func(title string, want Identity, headers []header) verdict {
		return verdict{title: title, headers: headers, want: want}
	}
	refused := func(reason Reason, title string, headers []header) verdict {
		return verdict{reason: reason, title: title, headers: headers}
	}
	issued := func(changes map[string]any) []header { return bearer(ed.issue(goodClaims(changes))) }
	withHeader := func(members ...string) []header {
		return bearer(jwtOf(object(members...), goodClaims(nil), ed.sign))
	}
	payload := func(text string) []header { return bearer(ed.issue(text)) }
	parts := strings.Split(good, ".")

	withMany := func(count int, headers []header) []header {
		for len(headers) < count {
			headers = append(headers, header{"x-" + strings.Repeat("a", len(headers)), ""})
		}
		return headers
	}

	rows := []verdict{
		// A request has a bounded number of header fields.
		allowed("990 header fields", byJWKS, withMany(990, bearer(good))), // some tests add a few
		refused(ReasonTooManyHeaders, "1,001 header fields", withMany(request.MaxHeaders+1, bearer(good))),
		refused(ReasonTooManyHeaders, "1,001 header fields and no credential", withMany(request.MaxHeaders+1, nil)),

		// A credential is there, once.
		refused(ReasonMissingCredential, "nothing", nil),
		refused(ReasonMissingCredential, "an empty Authorization", []header{{"authorization", ""}}),
		refused(ReasonUnsupportedScheme, "Basic", []header{{"authorization", "Basic dXNlcjpwYXNz"}}),
		refused(ReasonMissingCredential, "Bearer alone", []header{{"authorization", "Bearer"}}),
		refused(ReasonMissingCredential, "Bearer and a space", []header{{"authorization", "Bearer "}}),
		refused(ReasonMissingCredential, "an empty cookie", cookie("")),
		refused(ReasonMissingCredential, "an empty cookie before a good one", cookie("; "+credential.DefaultCookie+"="+encoded)),
		refused(ReasonUnsupportedScheme, "a token without a scheme", []header{{"authorization", good}}),
		refused(ReasonUnsupportedScheme, "a scheme that only begins with Bearer", []header{{"authorization", "Bearers " + good}}),
		refused(ReasonMissingCredential, "another cookie", []header{{"cookie", "session=" + encoded}}),
		refused(ReasonMissingCredential, "the cookie of several accounts", []header{{"cookie", "better-auth.session_token_multi-abc=" + encoded}}),
		refused(ReasonCookieCacheAlone, "the cookie-cache cookie", []header{{"cookie", "better-auth.session_data=" + encoded}}),
		refused(ReasonMissingCredential, "an admin's cookie", []header{{"cookie", "better-auth.admin_session=" + encoded}}),
		refused(ReasonMissingCredential, "the cookie's name in another case", []header{{"cookie", "Better-Auth.session_token=" + encoded}}),
		refused(ReasonMissingCredential, "the cookie's name with something before it", []header{{"cookie", "x-better-auth.session_token=" + encoded}}),
		refused(ReasonMissingCredential, "a cookie without a value", []header{{"cookie", "better-auth.session_token"}}),
		refused(ReasonMissingCredential, "the __Host- form, which Better Auth does not set", []header{{"cookie", "__Host-better-auth.session_token=" + encoded}}),
		refused(ReasonRepeatedAuthorization, "two Authorization headers, both good", append(bearer(good), bearer(good)...)),
		refused(ReasonRepeatedAuthorization, "a good one and a Basic one", append(bearer(good), header{"authorization", "Basic eA=="})),
		refused(ReasonRepeatedAuthorization, "merged with a comma", []header{{"authorization", "Bearer " + good + ",Bearer " + good}}),
		refused(ReasonRepeatedAuthorization, "merged with a comma, Basic first", []header{{"authorization", "Basic eA==, Bearer " + good}}),
		refused(ReasonRepeatedAuthorization, "a trailing comma", []header{{"authorization", "Bearer " + good + ","}}),
		refused(ReasonRepeatedAuthorization, "merged, and a good cookie", append([]header{{"authorization", "Basic eA==,Basic eA=="}}, cookie(encoded)...)),

		// Its shape.
		refused(ReasonMalformedCredential, "Bearer and a tab", []header{{"authorization", "Bearer\t" + good}}),
		refused(ReasonMalformedCredential, "Bearer and a colon", []header{{"authorization", "Bearer: " + good}}),
		refused(ReasonMalformedCredential, "two tokens", bearer(good+" "+good)),
		refused(ReasonMalformedCredential, "a quoted token", bearer(`"`+good+`"`)),
		refused(ReasonMalformedCredential, "a JWT of two parts", bearer(parts[0]+"."+parts[1])),
		refused(ReasonMalformedCredential, "five parts, and no JWE", bearer("a.b.c.d.e")),
		refused(ReasonEncryptedToken, "a JWE", bearer(encodeSegment(`{"alg":"dir","enc":"A256CBC-HS512"}`)+"..aXY.Y2lwaGVy.dGFn")),
		refused(ReasonAPIKeysNotConfigured, "an API key", []header{{"x-api-key", "sk_zhwmWQrhxHyCzUhU"}}),
		refused(ReasonStatelessSession, "a session that nobody has, and an encrypted cookie cache",
			cookie(url.QueryEscape(signedSession(unknownToken, testSecret))+"; better-auth.session_data="+encodeSegment(`{"alg":"dir","enc":"A256CBC-HS512"}`)+"..aXY.Y2lwaGVy.dGFn")),
		refused(ReasonMalformedCredential, "a percent-encoded JWT", bearer(strings.Replace(good, ".", "%2E", 1))),
		refused(ReasonMalformedCredential, "a bad percent-encoding", bearer(liveToken+"%zz")),
		refused(ReasonMalformedCredential, "a session token percent-encoded twice", bearer(url.QueryEscape(encoded))),
		refused(ReasonMalformedCredential, "a signature that is too short", bearer(signed[:len(signed)-2]+"=")),
		refused(ReasonMalformedCredential, "a signature in base64url", bearer(liveToken+"."+strings.Repeat("-", 43)+"=")),
		refused(ReasonMalformedCredential, "a session token with a control character", bearer(liveToken+"%00")),
		refused(ReasonMalformedCredential, "a session token that is too long", bearer(strings.Repeat("a", 257))),
		refused(ReasonMalformedCredential, "bytes that are not ASCII", bearer("Zoë")),
		refused(ReasonMalformedCredential, "a JWT with padding", bearer(good+"==")),
		refused(ReasonMalformedCredential, "quotes with nothing between them", cookie(`""`)),
		refused(ReasonMalformedCredential, "a JWT in the cookie", cookie(good)),
		refused(ReasonMalformedCredential, "a plus that is not one", cookie(strings.ReplaceAll(encoded, "%3D", "+"))),
		refused(ReasonOversizedCredential, "a token of more than 64 KiB", bearer(strings.Repeat("a", 65<<10))),
		refused(ReasonOversizedCredential, "a cookie of more than 64 KiB", cookie(strings.Repeat("a", 65<<10))),
		refused(ReasonUnsignedCookie, "a raw token in the cookie", cookie(liveToken)),
		refused(ReasonMalformedToken, "no header", bearer("."+parts[1]+"."+parts[2])),
		refused(ReasonMalformedToken, "stray bits behind the signature", bearer(good[:len(good)-1]+strayBits(good[len(good)-1]))),
		refused(ReasonMalformedToken, "stray bits behind the header", bearer(strayHeader(ed))),
		refused(ReasonMalformedToken, "a header that is not JSON", bearer(encodeSegment("alg: EdDSA")+"."+parts[1]+"."+parts[2])),
		refused(ReasonMalformedToken, "a header that is an array", bearer(jwtOf(`["alg"]`, goodClaims(nil), ed.sign))),
		refused(ReasonMalformedToken, "something behind the header's object", bearer(jwtOf(`{"alg":"EdDSA","kid":"ed"}{}`, goodClaims(nil), ed.sign))),
		refused(ReasonMalformedToken, "alg twice", withHeader(member("alg", "EdDSA"), member("kid", "ed"), member("alg", "EdDSA"))),
		refused(ReasonMalformedToken, "kid twice, once escaped", withHeader(member("alg", "EdDSA"), member("kid", "ed"), `"k\u0069d":"ed"`)),
		refused(ReasonMalformedToken, "a kid that is a number", withHeader(member("alg", "EdDSA"), member("kid", 7))),
		refused(ReasonMalformedToken, "an alg that is null", withHeader(`"alg":null`, member("kid", "ed"))),
		refused(ReasonMalformedToken, "a typ that is a number", withHeader(member("alg", "EdDSA"), member("kid", "ed"), member("typ", 1))),
		refused(ReasonMalformedToken, "crit", withHeader(member("alg", "EdDSA"), member("kid", "ed"), member("crit", []string{"exp"}))),
		refused(ReasonMalformedToken, "an empty crit", withHeader(member("alg", "EdDSA"), member("kid", "ed"), member("crit", []string{}))),
		refused(ReasonMalformedToken, "an unencoded payload", withHeader(member("alg", "EdDSA"), member("kid", "ed"), member("b64", false))),
		refused(ReasonUnsupportedType, "a cookie-cache token by a JWKS key", withHeader(member("alg", "EdDSA"), member("kid", "ed"), member("typ", "better-auth.session-cache+jwt"))),
		refused(ReasonUnsupportedType, "a logout token", withHeader(member("alg", "EdDSA"), member("kid", "ed"), member("typ", "logout+jwt"))),
		refused(ReasonUnsupportedAlgorithm, "alg none", bearer(encodeSegment(`{"alg":"none"}`)+"."+parts[1]+".")),
		refused(ReasonUnsupportedAlgorithm, "alg None", bearer(encodeSegment(`{"alg":"None","kid":"ed"}`)+"."+parts[1]+"."+parts[2])),
		refused(ReasonUnsupportedAlgorithm, "no alg", withHeader(member("kid", "ed"))),
		refused(ReasonUnsupportedAlgorithm, "HS512 with the right secret", bearer(jwtOf(object(member("alg", "HS512")), goodClaims(nil), hmacOf(testSecret)))),
		refused(ReasonUnsupportedAlgorithm, "hs256 in lower case", bearer(jwtOf(object(member("alg", "hs256")), goodClaims(nil), hmacOf(testSecret)))),
		refused(ReasonUnsupportedAlgorithm, "RS512", bearer(jwtOf(object(member("alg", "RS512"), member("kid", "rs")), goodClaims(nil), s["rs"].sign))),
		refused(ReasonUnsupportedAlgorithm, "ES384", bearer(s["es384"].issue(goodClaims(nil)))),

		// Its key.
		refused(ReasonMissingKeyID, "no kid", withHeader(member("alg", "EdDSA"))),
		refused(ReasonMissingKeyID, "an empty kid", withHeader(member("alg", "EdDSA"), member("kid", ""))),
		refused(ReasonUnknownKey, "a kid that the issuer does not have", withHeader(member("alg", "EdDSA"), member("kid", "made-up"))),
		refused(ReasonUnknownKey, "a kid in another case", withHeader(member("alg", "EdDSA"), member("kid", "ED"))),
		refused(ReasonUnusableKey, "RSA with 1024 bits", bearer(s["weak"].issue(goodClaims(nil)))),
		refused(ReasonUnusableKey, "a key for encryption", withHeader(member("alg", "EdDSA"), member("kid", "encryption"))),
		refused(ReasonUnusableKey, "a key whose key_ops leave out verify", withHeader(member("alg", "EdDSA"), member("kid", "signing-only"))),
		refused(ReasonUnusableKey, "a private key in the JWKS", withHeader(member("alg", "EdDSA"), member("kid", "published-private"))),
		refused(ReasonUnusableKey, "a key whose alg does not fit it", bearer(jwtOf(object(member("alg", "ES256"), member("kid", "odd-alg")), goodClaims(nil), s["es256"].sign))),
		refused(ReasonUnusableKey, "a symmetric key in the JWKS", bearer(jwtOf(object(member("alg", "EdDSA"), member("kid", "shared")), goodClaims(nil), hmacOf(testSecret)))),
		refused(ReasonUnusableKey, "a point that is not on the curve", bearer(jwtOf(object(member("alg", "ES256"), member("kid", "broken")), goodClaims(nil), s["es256"].sign))),
		refused(ReasonKeyAlgorithmMismatch, "RS256 by a key marked PS256", bearer(jwtOf(object(member("alg", "RS256"), member("kid", "ps")), goodClaims(nil), signer{"RS256", "ps", s["ps"].private}.sign))),
		refused(ReasonKeyAlgorithmMismatch, "PS256 by a key without alg, which means RS256", bearer(jwtOf(object(member("alg", "PS256"), member("kid", "rs-without-alg")), goodClaims(nil), signer{"PS256", "", s["rs"].private}.sign))),
		refused(ReasonKeyAlgorithmMismatch, "EdDSA with the kid of an EC key", bearer(jwtOf(object(member("alg", "EdDSA"), member("kid", "es256")), goodClaims(nil), ed.sign))),

		// Its signature.
		refused(ReasonBadSignature, "by a stranger under a known kid", bearer(s["stranger"].issue(goodClaims(nil)))),
		refused(ReasonBadSignature, "by a stranger, expired", bearer(s["stranger"].issue(goodClaims(map[string]any{"exp": in(-3600)})))),
		refused(ReasonBadSignature, "no signature", bearer(parts[0]+"."+parts[1]+".")),
		refused(ReasonBadSignature, "other claims under a good signature", bearer(parts[0]+"."+encodeSegment(goodClaims(map[string]any{"sub": "admin"}))+"."+parts[2])),
		refused(ReasonBadSignature, "ECDSA in DER", bearer(derES256(s["es256"]))),
		refused(ReasonBadSignature, "ECDSA of zeros (CVE-2022-21449)", bearer(jwtOf(object(member("alg", "ES256"), member("kid", "es256")), goodClaims(nil), func([]byte) []byte { return make([]byte, 64) }))),
		refused(ReasonBadSignature, "ECDSA with a zero before each integer", bearer(jwtOf(object(member("alg", "ES256"), member("kid", "es256")), goodClaims(nil), func(m []byte) []byte {
			raw := s["es256"].sign(m)
			return slices.Concat([]byte{0}, raw[:32], []byte{0}, raw[32:])
		}))),
		refused(ReasonBadSignature, "PS256 with a salt of another length", bearer(jwtOf(object(member("alg", "PS256"), member("kid", "ps")), goodClaims(nil), func(m []byte) []byte {
			digest := sha256.Sum256(m)
			signature, err := rsa.SignPSS(rand.Reader, s["ps"].private.(*rsa.PrivateKey), crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: 20})
			if err != nil {
				panic(err)
			}
			return signature
		}))),
		refused(ReasonBadSignature, "a key of the token's own in jwk", bearer(jwtOf(object(member("alg", "EdDSA"), member("kid", "ed"), member("jwk", signers()["stranger"].jwk(nil))), goodClaims(nil), s["stranger"].sign))),
		refused(ReasonBadSignature, "HS256 with the public key as secret", bearer(jwtOf(object(member("alg", "HS256"), member("kid", "ed")), goodClaims(nil), hmacOf(ed.jwk(nil)["x"].(string))))),
		refused(ReasonBadSignature, "HS256 with another secret", bearer(jwtOf(object(member("alg", "HS256")), goodClaims(nil), hmacOf("another")))),
		refused(ReasonBadSignature, "HS256 with an empty secret", bearer(jwtOf(object(member("alg", "HS256")), goodClaims(nil), hmacOf("")))),
		refused(ReasonBadSignature, "HS256 with half a signature", bearer(jwtOf(object(member("alg", "HS256")), goodClaims(nil), func(m []byte) []byte { return hmacOf(testSecret)(m)[:16] }))),
		refused(ReasonBadSignature, "a session token signed with another secret", bearer(signedSession(liveToken, "another"))),
		refused(ReasonBadSignature, "a session token under another's signature", bearer(unknownToken+strings.TrimPrefix(signed, liveToken))),
		refused(ReasonBadSignature, "a session signature with stray bits", bearer(signed[:len(signed)-2]+strayBits(signed[len(signed)-2])+"=")),
		refused(ReasonBadSignature, "a cookie signed with another secret", cookie(url.QueryEscape(signedSession(liveToken, "another")))),
		refused(ReasonBadSignature, "an expired session with a bad signature", bearer(signedSession(expiredToken, "another"))),
		refused(ReasonBadSignature, "the first of two cookies bad", cookie(url.QueryEscape(signedSession(liveToken, "another"))+"; "+credential.DefaultCookie+"="+encoded)),
		refused(ReasonBadSignature, "the __Secure- cookie bad, the plain one good", []header{{"cookie", credential.DefaultCookie + "=" + encoded + "; __Secure-" + credential.DefaultCookie + "=" + url.QueryEscape(signedSession(liveToken, "another"))}}),
		refused(ReasonBadSignature, "a bad Bearer credential and a good cookie", append(bearer(s["stranger"].issue(goodClaims(nil))), cookie(encoded)...)),

		// Its claims.
		refused(ReasonMalformedClaims, "claims that are an array", payload(`[]`)),
		refused(ReasonMalformedClaims, "claims that are not JSON", payload(`exp=1`)),
		refused(ReasonMalformedClaims, "no claims", payload(``)),
		refused(ReasonMalformedClaims, "something behind the claims", payload(goodClaims(nil)+`{}`)),
		refused(ReasonMalformedClaims, "no exp", issued(map[string]any{"exp": nil})),
		refused(ReasonMalformedClaims, "exp as a string", issued(map[string]any{"exp": fmt.Sprint(in(900))})),
		refused(ReasonMalformedClaims, "exp true", issued(map[string]any{"exp": true})),
		refused(ReasonMalformedClaims, "exp past any calendar", payload(object(member("iss", testIssuer), member("aud", testAudience), member("sub", "user-1"), `"exp":1e30`))),
		refused(ReasonMalformedClaims, "exp past any number", payload(object(member("iss", testIssuer), member("aud", testAudience), member("sub", "user-1"), `"exp":1e400`))),
		refused(ReasonMalformedClaims, "exp null", payload(object(member("iss", testIssuer), member("aud", testAudience), member("sub", "user-1"), `"exp":null`))),
		refused(ReasonMalformedClaims, "exp twice", payload(strings.Replace(goodClaims(nil), "{", fmt.Sprintf(`{"exp":%d,`, in(900)), 1))),
		refused(ReasonMalformedClaims, "sub twice", payload(strings.Replace(goodClaims(nil), "{", `{"sub":"admin",`, 1))),
		refused(ReasonMalformedClaims, "sub twice, once escaped", payload(strings.Replace(goodClaims(nil), "{", `{"s\u0075b":"admin",`, 1))),
		refused(ReasonMalformedClaims, "nbf as a string", issued(map[string]any{"nbf": "0"})),
		refused(ReasonMalformedClaims, "iat as a string", issued(map[string]any{"iat": "0"})),
		refused(ReasonMalformedClaims, "iat past any calendar", issued(map[string]any{"iat": 1e30})),
		refused(ReasonMalformedClaims, "iss as an array", issued(map[string]any{"iss": []string{testIssuer}})),
		refused(ReasonMalformedClaims, "aud with a number in it", issued(map[string]any{"aud": []any{testAudience, 1}})),
		refused(ReasonMalformedClaims, "aud as an object", issued(map[string]any{"aud": map[string]any{testAudience: true}})),
		refused(ReasonMalformedClaims, "jti as a number", issued(map[string]any{"jti": 1})),
		refused(ReasonMalformedClaims, "name as an object", issued(map[string]any{"name": map[string]any{"first": "Zoë"}})),
		refused(ReasonMalformedClaims, "e-mail as a number", issued(map[string]any{"email": 1})),
		refused(ReasonMalformedClaims, "bytes that are not UTF-8", payload(strings.Replace(goodClaims(nil), "user-1", "user-\xff", 1))),
		refused(ReasonMalformedClaims, "half a surrogate pair", payload(strings.Replace(goodClaims(nil), "user-1", `user-\ud800`, 1))),
		refused(ReasonMalformedClaims, "HS256 without exp", bearer(hs256(goodClaims(map[string]any{"exp": nil})))),

		// Its kind; TestTokenProfiles has many more.
		refused(ReasonProofRequired, "a token that is bound to a key", issued(map[string]any{"cnf": map[string]any{"jkt": "thumbprint"}})),
		refused(ReasonOAuthNotConfigured, "typ at+jwt", withHeader(member("alg", "EdDSA"), member("kid", "ed"), member("typ", "application/at+jwt"))),
		refused(ReasonOAuthNotConfigured, "a claim azp", issued(map[string]any{"azp": "client"})),

		// Its times. Better Auth's own keys get 60 s of leeway, the shared secret none.
		refused(ReasonExpired, "exp an hour ago", issued(map[string]any{"exp": in(-3600)})),
		refused(ReasonExpired, "exp 60 s ago, to the second", issued(map[string]any{"exp": in(-60)})),
		allowed("exp 59 s ago", byJWKS, issued(map[string]any{"exp": in(-59)})),
		allowed("exp with a fraction, 59.5 s ago", byJWKS, issued(map[string]any{"exp": float64(in(-60)) + 0.5})),
		refused(ReasonExpired, "exp before 1970", issued(map[string]any{"exp": -1})),
		refused(ReasonExpired, "expired, and the issuer wrong", issued(map[string]any{"exp": in(-3600), "iss": "https://evil.example"})),
		refused(ReasonExpired, "expired, and no subject", issued(map[string]any{"exp": in(-3600), "sub": nil})),
		refused(ReasonExpired, "HS256, now", bearer(hs256(goodClaims(map[string]any{"exp": in(0)})))),
		refused(ReasonExpired, "HS256, a second ago", bearer(hs256(goodClaims(map[string]any{"exp": in(-1)})))),
		allowed("HS256 with a second left", byHS256, bearer(hs256(goodClaims(map[string]any{"exp": in(1)})))),
		refused(ReasonExpired, "a raw session", bearer(expiredToken)),
		refused(ReasonExpired, "a signed session", bearer(signedSession(expiredToken, testSecret))),
		refused(ReasonExpired, "a session by cookie", cookie(url.QueryEscape(signedSession(expiredToken, testSecret)))),
		refused(ReasonNotYetValid, "nbf in 61 s", issued(map[string]any{"nbf": in(61)})),
		allowed("nbf in 60 s", byJWKS, issued(map[string]any{"nbf": in(60)})),
		refused(ReasonNotYetValid, "HS256, nbf in a second", bearer(hs256(goodClaims(map[string]any{"nbf": in(1)})))),
		allowed("HS256, nbf now", byHS256, bearer(hs256(goodClaims(map[string]any{"nbf": in(0)})))),
		refused(ReasonIssuedInFuture, "iat in 61 s", issued(map[string]any{"iat": in(61)})),
		allowed("iat in 60 s", byJWKS, issued(map[string]any{"iat": in(60)})),
		refused(ReasonIssuedInFuture, "HS256, iat in a second", bearer(hs256(goodClaims(map[string]any{"iat": in(1)})))),
		allowed("no iat", byJWKS, issued(map[string]any{"iat": nil})),

		// Its issuer and audience.
		refused(ReasonWrongIssuer, "another", issued(map[string]any{"iss": "https://evil.example"})),
		refused(ReasonWrongIssuer, "none", issued(map[string]any{"iss": nil})),
		refused(ReasonWrongIssuer, "one that begins with ours", issued(map[string]any{"iss": testIssuer + ".evil.example"})),
		refused(ReasonWrongIssuer, "ours in another case", issued(map[string]any{"iss": strings.ToUpper(testIssuer)})),
		refused(ReasonWrongIssuer, "ours with a slash that was not configured", issued(map[string]any{"iss": testIssuer + "/"})),
		refused(ReasonWrongIssuer, "HS256", bearer(hs256(goodClaims(map[string]any{"iss": "https://evil.example"})))),
		refused(ReasonWrongIssuer, "Better Auth's own cookie cache: signed with the secret, no iss, aud or sub", bearer(hs256(object(member("session", map[string]any{"userId": "user-1"}), member("iat", in(-1)), member("exp", in(300)))))),
		refused(ReasonWrongAudience, "another", issued(map[string]any{"aud": "https://evil.example"})),
		refused(ReasonWrongAudience, "none", issued(map[string]any{"aud": nil})),
		refused(ReasonWrongAudience, "an empty array", issued(map[string]any{"aud": []string{}})),
		refused(ReasonWrongAudience, "an empty string", issued(map[string]any{"aud": ""})),
		refused(ReasonWrongAudience, "two joined by a comma", issued(map[string]any{"aud": testAudience + ",https://other.example.com"})),
		refused(ReasonWrongAudience, "HS256", bearer(hs256(goodClaims(map[string]any{"aud": "https://evil.example"})))),
		allowed("ours among several", byJWKS, issued(map[string]any{"aud": []string{"https://evil.example", testAudience}})),
		allowed("the other of ours", byJWKS, issued(map[string]any{"aud": "https://other.example.com"})),

		// Its subject.
		refused(ReasonMissingSubject, "none", issued(map[string]any{"sub": nil})),
		refused(ReasonMissingSubject, "empty", issued(map[string]any{"sub": ""})),
		refused(ReasonMissingSubject, "a number", issued(map[string]any{"sub": 7})),
		refused(ReasonMissingSubject, "an array", issued(map[string]any{"sub": []string{"user-1"}})),
		refused(ReasonMissingSubject, "with CR and LF", issued(map[string]any{"sub": "user-1\r\nx-user-id: admin"})),
		refused(ReasonMissingSubject, "with NUL", issued(map[string]any{"sub": "user-1\x00"})),
		refused(ReasonMissingSubject, "with DEL", issued(map[string]any{"sub": "user-1\x7f"})),
		refused(ReasonMissingSubject, "with a control character past ASCII", issued(map[string]any{"sub": "user-1\u0085"})),
		refused(ReasonMissingSubject, "HS256", bearer(hs256(goodClaims(map[string]any{"sub": ""})))),
		refused(ReasonMissingSubject, "a session whose user's id holds CR and LF", bearer(oddToken)),

		// Its row.
		refused(ReasonUnknownSession, "a raw token that nobody has", bearer(unknownToken)),
		refused(ReasonUnknownSession, "a signed token that nobody has", bearer(signedSession(unknownToken, testSecret))),
		refused(ReasonUnknownSession, "a cookie that nobody has", cookie(url.QueryEscape(signedSession(unknownToken, testSecret)))),
		refused(ReasonUnknownSession, "a live token in another case", bearer(strings.ToLower(liveToken))),
		refused(ReasonUnknownSession, "a quote for SQL", bearer("'or'1'='1")),

		// Allowed.
		allowed("EdDSA", byJWKS, bearer(good)),
		allowed("ES256", byJWKS, bearer(s["es256"].issue(goodClaims(nil)))),
		allowed("ES512", byJWKS, bearer(s["es512"].issue(goodClaims(nil)))),
		allowed("RS256", byJWKS, bearer(s["rs"].issue(goodClaims(nil)))),
		allowed("PS256", byJWKS, bearer(s["ps"].issue(goodClaims(nil)))),
		allowed("RS256 by a key without alg", byJWKS, bearer(signer{"RS256", "rs-without-alg", s["rs"].private}.issue(goodClaims(nil)))),
		allowed("EdDSA by a key without alg", byJWKS, bearer(signer{"EdDSA", "ed-without-alg", ed.private}.issue(goodClaims(nil)))),
		allowed("HS256", byHS256, bearer(goodHS)),
		allowed("HS256 with a kid", byHS256, bearer(jwtOf(object(member("alg", "HS256"), member("kid", "any")), goodClaims(nil), hmacOf(testSecret)))),
		allowed("typ JWT", byJWKS, withHeader(member("alg", "EdDSA"), member("kid", "ed"), member("typ", "JWT"))),
		allowed("typ jwt", byJWKS, withHeader(member("alg", "EdDSA"), member("kid", "ed"), member("typ", "jwt"))),
		allowed("jku, which is not followed", byJWKS, withHeader(member("alg", "EdDSA"), member("kid", "ed"), member("jku", "https://evil.example"))),
		allowed("bearer in lower case", byJWKS, []header{{"authorization", "bearer " + good}}),
		allowed("BEARER and several spaces", byJWKS, []header{{"authorization", "BEARER   " + good}}),
		allowed("no e-mail and name", byJWKS, issued(map[string]any{"email": nil, "name": nil})),
		verdict{ReasonUserBanned, "a ban in the claims", "GET", issued(map[string]any{"banned": true}), byJWKS},
		allowed("a ban in the claims that is over", byJWKS, issued(map[string]any{"banned": true, "banExpires": "2001-01-01T00:00:00.000Z"})),
		allowed("e-mail and name null", byJWKS, payload(object(member("iss", testIssuer), member("aud", testAudience), member("sub", "user-1"), member("exp", in(9)), `"email":null`, `"name":null`))),
		allowed("a good Bearer credential and a bad cookie", byJWKS, append(bearer(good), cookie("bad")...)),
		allowed("a raw session token", bySession, bearer(liveToken)),
		allowed("a signed session token", bySession, bearer(signed)),
		allowed("a signed session token, percent-encoded", bySession, bearer(encoded)),
		allowed("the cookie", bySession, cookie(encoded)),
		allowed("the cookie, not encoded", bySession, cookie(signed)),
		allowed("the cookie, quoted", bySession, cookie(`"`+encoded+`"`)),
		allowed("the __Secure- cookie", bySession, []header{{"cookie", "__Secure-" + credential.DefaultCookie + "=" + encoded}}),
		allowed("the second of two cookies bad", bySession, cookie(encoded+"; "+credential.DefaultCookie+"=bad")),
		allowed("Bearer alone and the cookie", bySession, append([]header{{"authorization", "Bearer "}}, cookie(encoded)...)),
		allowed("Basic and the cookie", bySession, append([]header{{"authorization", "Basic eA=="}}, cookie(encoded)...)),
	}

	// Where a cookie's request comes from.
	cross := func(reason Reason, title, method string, extra ...header) {
		rows = append(rows, verdict{reason, title, method, append(cookie(encoded), extra...), bySession})
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "get"} {
		cross(ReasonCrossSite, method+" from another site", method, header{"sec-fetch-site", "cross-site"})
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
		cross("", method+" from another site", method, header{"sec-fetch-site", "cross-site"})
	}
	cross("", "POST from the same origin", "POST", header{"sec-fetch-site", "same-origin"})
	cross("", "POST from the same site", "POST", header{"sec-fetch-site", "same-site"})
	cross("", "POST by the user's own doing", "POST", header{"sec-fetch-site", "none"})
	cross("", "POST, Sec-Fetch-Site before Origin", "POST", header{"sec-fetch-site", "same-origin"}, header{"origin", "https://evil.example"})
	cross("", "POST by no browser", "POST")
	cross("", "POST, Origin of the same host", "POST", header{"origin", "https://api.example.com"})
	cross("", "POST, Origin of the same site", "POST", header{"origin", "https://app.example.com:8443"})
	cross(ReasonCrossSite, "POST, Sec-Fetch-Site unknown", "POST", header{"sec-fetch-site", "sideways"})
	cross(ReasonCrossSite, "POST, Sec-Fetch-Site twice", "POST", header{"sec-fetch-site", "same-origin"}, header{"sec-fetch-site", "cross-site"})
	cross(ReasonCrossSite, "POST, Sec-Fetch-Site cross-site, Origin our own", "POST", header{"sec-fetch-site", "cross-site"}, header{"origin", "https://api.example.com"})
	cross(ReasonCrossSite, "POST, Origin of another site", "POST", header{"origin", "https://evil.example"})
	cross(ReasonCrossSite, "POST, Origin that begins with ours", "POST", header{"origin", "https://api.example.com.evil.example"})
	cross(ReasonCrossSite, "POST, Origin that ends with ours", "POST", header{"origin", "https://evilexample.com"})
	cross(ReasonCrossSite, "POST, Origin null", "POST", header{"origin", "null"})
	cross(ReasonCrossSite, "POST, Origin empty", "POST", header{"origin", ""})
	cross(ReasonCrossSite, "POST, Origin without TLS", "POST", header{"origin", "http://api.example.com"})
	cross(ReasonCrossSite, "a WebSocket from another site", "GET", header{"upgrade", "websocket"}, header{"origin", "https://evil.example"})
	cross("", "a WebSocket from our site", "GET", header{"upgrade", "websocket"}, header{"origin", "https://api.example.com"})
	rows = append(rows,
		verdict{"", "POST from another site with a Bearer JWT", "POST", append(bearer(good), header{"sec-fetch-site", "cross-site"}), byJWKS},
		verdict{"", "POST from another site with a Bearer session token", "POST", append(bearer(signed), header{"sec-fetch-site", "cross-site"}), bySession},
		verdict{ReasonExpired, "POST from another site with an expired cookie", "POST", append(cookie(url.QueryEscape(signedSession(expiredToken, testSecret))), header{"sec-fetch-site", "cross-site"}), Identity{}},
	)
	return rows
}

// strayBits is the same base64 digit with its lowest bit, which decodes to nothing, turned over.
func strayBits(digit byte) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	if i := strings.IndexByte(digits, digit); i >= 0 {
		return string(digits[i^1])
	}
	return map[byte]string{'-': "_", '_': "-", '+': "/", '/': "+"}[digit]
}

// strayHeader is a token whose header segment has stray bits, signed as it stands.
func strayHeader(s signer) string {
	header := encodeSegment(`{"alg":"EdDSA","kid":"ed" }`) // 27 bytes would leave none; see below
	if len(header)%4 == 0 {
		header = encodeSegment(`{"alg":"EdDSA", "kid":"ed" }`)
	}
	header = header[:len(header)-1] + strayBits(header[len(header)-1])
	signed := header + "." + encodeSegment(goodClaims(nil))
	return signed + "." + encodeSegment(string(s.sign([]byte(signed))))
}

func derES256(s signer) string {
	return jwtOf(object(member("alg", "ES256"), member("kid", s.id)), goodClaims(nil), func(message []byte) []byte {
		raw := s.sign(message)
		integer := func(b []byte) []byte {
			b = append([]byte{0}, b...)
			return append([]byte{2, byte(len(b))}, b...)
		}
		body := append(integer(raw[:32]), integer(raw[32:])...)
		return append([]byte{0x30, byte(len(body))}, body...)
	})
}

func TestVerdicts(t *testing.T) {
	a := startAuthorizer(t, Config{
		JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t),
	})
	seen := map[Reason]bool{}
	for _, row := range verdictTable() {
		seen[row.reason] = true
		name := string(row.reason)
		if name == "" {
			name = "allowed"
		}
		for wireName, request := range wire {
			t.Run(name+"/"+row.title+"/"+wireName, func(t *testing.T) {
				method := row.method
				if method == "" {
					method = "GET"
				}
				response := decidedByCheck(t, a, request(method, row.headers))
				if row.reason != "" {
					expectDenial(t, response, row.reason)
					return
				}
				expectAllowed(t, response, row.want)
			})
		}
	}
	seen[ReasonMalformedSession] = true // what Redis keeps: TestSessionsInRedis
	// Outages and what a route asks for have tests of their own; everything else must have a row here.
	for _, fact := range reason.Facts() {
		if fact.Status != 503 && !seen[fact.Reason] && fact.Reason != ReasonSecretNotConfigured && fact.Reason != ReasonUnsignedToken && fact.Reason != ReasonSessionsNotConfigured && fact.Step != reason.StepRoute {
			t.Errorf("no row for the reason %s", fact.Reason)
		}
	}
}

// HTTP/2 may split cookies over several fields, which Envoy joins again. HTTP/1.1 may not (RFC 6265
// §5.4), and there Envoy's headers merge them with a comma: what stands behind one may be the value of
// another cookie, so it is not read. header_map keeps them apart.
func TestCookieOverSeveralHeaders(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t)})
	headers := append([]header{{"cookie", "search=x"}}, cookie(url.QueryEscape(signedSession(liveToken, testSecret)))...)
	headers[1].value = strings.TrimPrefix(headers[1].value, "theme=dark; ")
	expectAllowed(t, decidedByCheck(t, a, wire["header_map"]("GET", headers)), Identity{Subject: "user-2", Method: identity.MethodSession})
	expectDenial(t, decidedByCheck(t, a, wire["headers"]("GET", headers)), ReasonMissingCredential)
}

// Without a secret and a database these kinds are refused, and say why.
func TestVerdictsWhereNotConfigured(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL})
	for _, row := range []verdict{
		{ReasonSecretNotConfigured, "HS256", "", bearer(hs256(goodClaims(nil))), Identity{}},
		{ReasonSecretNotConfigured, "HS256 with an empty secret", "", bearer(jwtOf(`{"alg":"HS256"}`, goodClaims(nil), hmacOf(""))), Identity{}},
		{ReasonSecretNotConfigured, "a cookie", "", cookie(url.QueryEscape(signedSession(liveToken, testSecret))), Identity{}},
		{ReasonSecretNotConfigured, "a cookie signed with an empty secret", "", cookie(url.QueryEscape(signedSession(liveToken, ""))), Identity{}},
		{ReasonSessionsNotConfigured, "a raw session token", "", bearer(liveToken), Identity{}},
		{ReasonSessionsNotConfigured, "a signed session token", "", bearer(signedSession(liveToken, testSecret)), Identity{}},
	} {
		t.Run(string(row.reason)+"/"+row.title, func(t *testing.T) {
			response, err := a.Check(t.Context(), wire["headers"]("GET", row.headers))
			if err != nil {
				t.Fatal(err)
			}
			expectDenial(t, response, row.reason)
		})
	}
}

// With sessions on and no secret, a Bearer token's signature is not needed and not looked at.
func TestSignedSessionWithoutSecret(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: sessionsDatabase(t)})
	for _, token := range []string{liveToken, signedSession(liveToken, "whatever")} {
		expectAllowed(t, decidedByCheck(t, a, bearerRequest(token)), Identity{Subject: "user-2", Method: identity.MethodSession})
	}
}

// A slash behind the configured URL does no harm, whether Better Auth writes it into iss or not.
func TestIssuerWithSlash(t *testing.T) {
	a := startAuthorizer(t, Config{Issuer: testIssuer + "/", JWKSURL: serveKeys(t, testKeys()).URL})
	for _, issuer := range []string{testIssuer, testIssuer + "/"} {
		response, err := a.Check(t.Context(), bearerRequest(signers()["ed"].issue(goodClaims(map[string]any{"iss": issuer}))))
		if err != nil {
			t.Fatal(err)
		}
		expectAllowed(t, response, Identity{Subject: "user-1", Method: identity.MethodJWKS})
	}
}
