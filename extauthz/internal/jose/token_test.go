package jose_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
)

const payload = `{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"user-1","iat":1772366390,"exp":1772367300,` +
	`"email":"zoe@example.com","name":"Zoë Day","emailVerified":true,"image":null,"id":"user-1"}`

// headers are those that a reader must tell apart, with the reason that each is refused for.
var headers = map[string]reason.Reason{
	`{"alg":"EdDSA","kid":"one"}`:                       "",
	`{"alg":"EdDSA","kid":"one","typ":"JWT"}`:           "",
	`{"alg":"EdDSA","typ":"application/jwt"}`:           "",
	`{"alg":"EdDSA","typ":"at+jwt"}`:                    "",
	`{"alg":"EdDSA","typ":"dpop+jwt"}`:                  reason.UnsupportedType,
	`{"alg":"EdDSA","typ":"better-auth.session+jwt"}`:   reason.UnsupportedType,
	`{"alg":"EdDSA","jku":"https://evil.example/jwks"}`: "", // passed over: a token does not choose its own key
	`{"alg":"EdDSA","crit":["exp"],"exp":1}`:            reason.MalformedToken,
	`{"alg":"EdDSA","crit":[]}`:                         reason.MalformedToken,
	`{"alg":"EdDSA","b64":false}`:                       reason.MalformedToken,
	`{"alg":"EdDSA","b64":true}`:                        reason.MalformedToken,
	`{"alg":"EdDSA","alg":"HS256"}`:                     reason.MalformedToken,
	`{"alg":"EdDSA","\u0061lg":"HS256"}`:                reason.MalformedToken,
	`{"alg":7}`:                                         reason.MalformedToken,
	`{"alg":"EdDSA","kid":null}`:                        reason.MalformedToken,
	`{"alg":"EdDSA"} {}`:                                reason.MalformedToken,
	`["EdDSA"]`:                                         reason.MalformedToken,
	"":                                                  reason.MalformedToken,
}

// compact is a token of these parts.
func compact(header, payload string, sign func([]byte) []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(header)) + "." + encode([]byte(payload))
	return signed + "." + encode(sign([]byte(signed)))
}

func unsigned([]byte) []byte { return []byte("no signature") }

func TestHeaders(t *testing.T) {
	for header, expected := range headers {
		parsed, err := jose.Parse(compact(header, payload, unsigned))
		got := reason.Reason("")
		if err != nil {
			got = reason.Of(err).Reason()
		}
		if got != expected {
			t.Errorf("%s: reason %q, expected %q", header, got, expected)
		}
		if isAccess := strings.Contains(header, "at+jwt"); parsed.IsAccessToken != isAccess {
			t.Errorf("%s: an access token: %t", header, parsed.IsAccessToken)
		}
	}
}

// FuzzParseJWT: a token has one spelling, and its header says the same to a second parser.
func FuzzParseJWT(f *testing.F) {
	for header := range headers {
		f.Add(compact(header, payload, unsigned))
	}
	whole := compact(`{"alg":"EdDSA","kid":"one"}`, payload, unsigned)
	for _, odd := range []string{"", "..", "a.b", "a.b.c.d", whole + "=", whole + "\n", "\r" + whole, strings.Replace(whole, ".", "..", 1)} {
		f.Add(odd)
	}
	f.Fuzz(func(t *testing.T, token string) {
		parsed, err := jose.Parse(token)
		if err != nil {
			return
		}
		if again := string(parsed.Signed) + "." + jose.Base64URL.EncodeToString(parsed.Signature); again != token {
			t.Fatalf("%q is also %q", token, again)
		}
		header, payload, _ := strings.Cut(string(parsed.Signed), ".")
		if again := jose.Base64URL.EncodeToString(parsed.Payload); again != payload {
			t.Fatalf("the payload %q is also %q", payload, again)
		}
		decoded, err := jose.Base64URL.DecodeString(header)
		if err != nil {
			t.Fatal(err)
		}
		var second map[string]any
		if err := json.NewDecoder(bytes.NewReader(decoded)).Decode(&second); err != nil {
			t.Fatalf("%s was read, which encoding/json refuses: %v", decoded, err)
		}
		for name, got := range map[string]string{"alg": parsed.Algorithm, "kid": parsed.KeyID} {
			if want, _ := second[name].(string); got != want {
				t.Fatalf("%s: %s is %q, want %q", decoded, name, got, want)
			}
		}
		if second["crit"] != nil || second["b64"] != nil {
			t.Fatalf("%s insists on an extension", decoded)
		}
	})
}

func BenchmarkParseJWT(b *testing.B) {
	token := compact(`{"alg":"EdDSA","kid":"one"}`, payload, unsigned)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := jose.Parse(token); err != nil {
			b.Fatal(err)
		}
	}
}
