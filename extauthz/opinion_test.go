package extauthz

import (
	"crypto"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/jose/jwk"
)

// secondOpinion judges a JWT by golang-jwt, as one would set that up: the key by kid with its own algorithm, issuer, audience, exp required, iat
// looked at, leeway for the JWKS and none for the secret.
func secondOpinion(token string, keys map[string]*jwk.Key) error {
	common := []golangjwt.ParserOption{
		golangjwt.WithTimeFunc(fixedClock), golangjwt.WithIssuer(testIssuer), golangjwt.WithAudience("https://other.example.com", testAudience),
		golangjwt.WithExpirationRequired(), golangjwt.WithIssuedAt(), golangjwt.WithStrictDecoding(),
	}
	jwks := golangjwt.NewParser(append(common, golangjwt.WithValidMethods(jose.AsymmetricAlgorithms), golangjwt.WithLeeway(issuer.Leeway))...)
	_, err := jwks.Parse(token, func(parsed *golangjwt.Token) (any, error) {
		id, _ := parsed.Header["kid"].(string)
		known := keys[id]
		if known == nil || known.Algorithm != parsed.Method.Alg() {
			return nil, fmt.Errorf("no key %q for %s", id, parsed.Method.Alg())
		}
		return crypto.PublicKey(known.Public), nil
	})
	if err == nil {
		return nil
	}
	shared := golangjwt.NewParser(append(common, golangjwt.WithValidMethods([]string{jose.AlgorithmHS256}))...)
	_, err2 := shared.Parse(token, func(*golangjwt.Token) (any, error) { return []byte(testSecret), nil })
	if err2 == nil {
		return nil
	}
	return fmt.Errorf("%w; %w", err, err2)
}

// stricterThanTheSecond says, for each reason for which this server alone refuses, the line of the verdict table that it is.
var stricterThanTheSecond = map[Reason]string{
	ReasonMissingSubject:      `a valid token with no sub, or one that is empty, not a string, or holds control characters: 401 "Invalid token: missing user ID"`,
	ReasonUnsupportedType:     "one kind of JWT is not taken for another: typ is absent or JWT",
	ReasonOAuthNotConfigured:  `an OAuth access token, where OAuth is off: 401, reason oauth_not_configured`,
	ReasonProofRequired:       `a token with cnf: 401, reason proof_required`,
	ReasonMalformedToken:      "a header's name stands once; crit is not honoured, so a token that insists on it is refused",
	ReasonMalformedClaims:     "a claim stands once and has its type; exp lies in a calendar's range",
	ReasonMalformedCredential: "base64url is strict: no line ends",
}

// makeToken issues a token that is good in all but none, one or two things.
func makeToken(random *rand.Rand) string {
	s := signers()
	type choice struct {
		weight int
		key    signer
	}
	choices := []choice{{60, s["ed"]}, {12, s["es256"]}, {2, s["es512"]}, {3, s["rs"]}, {3, s["ps"]}, {4, s["stranger"]}, {2, s["weak"]}, {2, s["es384"]}}
	hs := random.IntN(100) < 12
	by := choices[0].key
	for at, i := random.IntN(88), 0; i < len(choices); i++ {
		if at -= choices[i].weight; at < 0 {
			by = choices[i].key
			break
		}
	}
	pick := func(values ...string) string { return values[random.IntN(len(values))] }
	sometimes := func(share int) bool { return random.IntN(100) < share }
	header := []string{member("alg", by.algorithm), member("kid", by.id)}
	if hs {
		header = header[:0]
		header = append(header, member("alg", jose.AlgorithmHS256))
	}
	if sometimes(4) {
		header[0] = pick(`"alg":"none"`, `"alg":"HS256"`, `"alg":"RS256"`, `"alg":"PS256"`, `"alg":"EdDSA"`, `"alg":"HS512"`, `"alg":7`, `"x":1`)
	}
	if sometimes(4) && len(header) > 1 {
		header[1] = pick(`"kid":"ed"`, `"kid":"rs"`, `"kid":"shared"`, `"kid":"encryption"`, `"kid":""`, `"kid":null`, `"kid":["ed"]`, `"x":1`)
	}
	if sometimes(4) {
		header = append(header, pick(`"typ":"JWT"`, `"typ":"jwt"`, `"typ":"at+jwt"`, `"typ":"logout+jwt"`, `"typ":"better-auth.session-cache+jwt"`, `"crit":["exp"]`, `"b64":false`,
			`"jku":"https://evil.example.com"`, `"kid":"ed"`, `"alg":"EdDSA"`, `"cty":"JWT"`))
	}
	claims := map[string]string{
		"iss": member("iss", testIssuer), "aud": member("aud", testAudience), "sub": member("sub", "user-1"),
		"iat": member("iat", in(-10)), "exp": member("exp", in(900)), "email": member("email", "zoe@example.com"), "name": member("name", "Zoë Day"),
	}
	number := func(name string, values ...int) string { return member(name, in(values[random.IntN(len(values))])) }
	for range random.IntN(3) {
		switch random.IntN(10) {
		case 0:
			claims["iss"] = pick(`"iss":"https://evil.example.com"`, `"iss":"https://app.example.com/"`, `"iss":null`, `"iss":["https://app.example.com"]`, `"x":1`, `"iss":""`)
		case 1:
			claims["aud"] = pick(`"aud":"https://evil.example.com"`, `"aud":["https://api.example.com"]`, `"aud":["a","https://other.example.com"]`, `"aud":[]`, `"aud":null`, `"aud":["https://api.example.com",7]`, `"x":1`, `"aud":{}`)
		case 2:
			claims["sub"] = pick(`"sub":""`, `"sub":7`, `"sub":null`, `"x":1`, `"sub":"a\r\nb"`, `"sub":"other"`, `"sub":["user-1"]`)
		case 3:
			claims["exp"] = pick(number("exp", -3600, -61, -60, -59, -1, 0, 1, 59), `"exp":"soon"`, `"exp":null`, `"exp":1e30`, `"exp":-1`, `"x":1`, `"exp":true`, `"exp":1772367300.5`)
		case 4:
			claims["iat"] = pick(number("iat", -3600, 0, 1, 59, 60, 61, 3600), `"iat":"now"`, `"iat":null`, `"x":1`, `"iat":1e30`)
		case 5:
			claims["nbf"] = pick(number("nbf", -3600, 0, 1, 59, 60, 61, 3600), `"nbf":"now"`, `"nbf":null`)
		case 6:
			claims["email"] = pick(`"email":null`, `"email":7`, `"email":""`, `"x":1`)
		case 7:
			claims["name"] = pick(`"name":null`, `"name":[]`, `"sub":"admin"`, `"exp":9999999999`)
		case 8:
			claims["jti"] = pick(`"jti":"a"`, `"jti":7`)
		case 9:
			claims["kind"] = pick(`"cnf":{"jkt":"x"}`, `"azp":"client"`, `"client_id":"client","scope":"openid"`, `"client_id":"client"`, `"scope":"openid"`, `"at_hash":"x"`)
		}
	}
	var list []string
	for _, claim := range claims {
		list = append(list, claim)
	}
	payload := object(list...)
	if sometimes(1) {
		payload = pick(`[]`, `null`, `{`, payload+" ", payload+"{}", " "+payload, "")
	}
	if hs {
		return jwtOf(object(header...), payload, hmacOf(pick(testSecret, testSecret, testSecret, testSecret, testSecret, testSecret, "another-secret-of-more-than-32-characters")))
	}
	return jwtOf(object(header...), payload, by.sign)
}

// Two implementations judge the same credentials. Where only this one refuses, the verdict table has the line; nothing is allowed that
// golang-jwt refuses. For session tokens Better Auth itself is asked, in the end-to-end tests.
func TestSecondOpinion(t *testing.T) {
	count := sized(46_000, 3_000)
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret)})
	document, err := json.Marshal(map[string]any{"keys": testKeys()})
	if err != nil {
		t.Fatal(err)
	}
	keys, _, err := jwk.ParseKeys(document)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	all := originals()
	for i := range all {
		all[i].cookie = false
	}
	var (
		mu                 sync.Mutex
		bothAllow, bothDen int
		stricter           = map[Reason]int{}
		work               sync.WaitGroup
	)
	for worker := range 4 {
		work.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(worker)))
			for range count / 4 {
				token := makeToken(random)
				if random.IntN(4) == 0 { // or a mutation
					for token, _ = forge(random, all); strings.Count(token, ".") != 2; token, _ = forge(random, all) {
					}
				}
				d := judgeUntilDecided(t, a, token, false)
				second := secondOpinion(token, keys)
				mu.Lock()
				switch {
				case d.Denial == nil && second == nil:
					bothAllow++
				case d.Denial != nil && second != nil:
					bothDen++
				case d.Denial == nil:
					t.Errorf("seed %d: only this server allows %s: %v", seed, token, second)
				default:
					stricter[d.Denial.Reason()]++
					if stricterThanTheSecond[d.Denial.Reason()] == "" {
						t.Errorf("seed %d: only this server refuses %s: %v", seed, token, d.Denial)
					}
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	t.Logf("%d credentials: both allow %d, both refuse %d, only this server refuses %v", count/4*4, bothAllow, bothDen, stricter)
	if bothAllow < count/10 || bothDen < count/10 {
		t.Error("one outcome is hardly reached")
	}
}
