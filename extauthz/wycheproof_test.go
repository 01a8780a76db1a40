package extauthz

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"extauthz/envoy/parts"
	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/gate"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/jose/jwk"
	"extauthz/extauthz/internal/keyset"
	"extauthz/extauthz/internal/keyset/jwks"
	"extauthz/extauthz/internal/observe"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/secret"
	"extauthz/extauthz/operator"
)

// Project Wycheproof's vectors are fetched as the Go module that they are, and stay out of this repository.
const (
	wycheproofModule  = "github.com/C2SP/wycheproof"
	wycheproofVersion = "v0.0.0-20250901140545-b51abcfb8daf"
	wycheproofSum     = "h1:5BKKVVVj676FUWirLcouEEL6GCYR9X0opkMlEUck8FY="
)

type wycheproofFile struct {
	NumberOfTests int
	TestGroups    []struct {
		Comment      string
		Public       json.RawMessage // a JWK or a JWKS
		Private      json.RawMessage
		PublicKeyJWK map[string]any
		KeyJWK       map[string]any
		PublicKey    struct{ Modulus, PublicExponent string } // where there is no JWK
		TagSize      int
		SLen         int
		Tests        []struct {
			TcID    int
			Comment string
			JWS     string
			Key     string
			Msg     string
			Sig     string
			Tag     string
			Result  string
			Flags   []string
		}
	}
}

func readWycheproof(t *testing.T, name string) (file wycheproofFile) {
	t.Helper()
	installer, err := parts.NewInstaller(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := installer.GoModule("wycheproof", wycheproofModule, wycheproofVersion, wycheproofSum, ".")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(folder, "testvectors_v1", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	if file.NumberOfTests == 0 {
		t.Fatalf("%s holds no vectors", name)
	}
	return file
}

// wycheproofSignatures are the files of bare signatures, by the algorithm that they are of.
var wycheproofSignatures = map[string][]string{
	"EdDSA": {"ed25519_test.json"},
	"ES256": {"ecdsa_secp256r1_sha256_p1363_test.json"},
	"ES512": {"ecdsa_secp521r1_sha512_p1363_test.json"},
	"RS256": {"rsa_signature_2048_sha256_test.json", "rsa_signature_3072_sha256_test.json", "rsa_signature_4096_sha256_test.json", "rsa_signature_8192_sha256_test.json"},
	"PS256": {"rsa_pss_2048_sha256_mgf1_32_test.json", "rsa_pss_3072_sha256_mgf1_32_test.json", "rsa_pss_4096_sha256_mgf1_32_test.json", "rsa_pss_2048_sha256_mgf1_0_test.json"},
}

// Each algorithm's verification says of Wycheproof's signatures what Wycheproof says.
func TestWycheproofSignatures(t *testing.T) {
	for algorithm, files := range wycheproofSignatures {
		for _, name := range files {
			t.Run(name, func(t *testing.T) {
				for _, group := range readWycheproof(t, name).TestGroups {
					listed := group.PublicKeyJWK
					if listed == nil {
						listed = group.KeyJWK
					}
					if listed == nil {
						listed = map[string]any{"kty": "RSA", "n": base64OfHex(t, group.PublicKey.Modulus), "e": base64OfHex(t, group.PublicKey.PublicExponent)}
					}
					listed = maps.Clone(listed)
					listed["kid"], listed["alg"] = "wycheproof", algorithm
					document, err := json.Marshal(map[string]any{"keys": []any{listed}})
					if err != nil {
						t.Fatal(err)
					}
					keys, _, err := jwk.ParseKeys(document)
					if err != nil || keys["wycheproof"] == nil || keys["wycheproof"].Fault != "" {
						t.Fatalf("the key is not taken: %v %+v", err, keys["wycheproof"])
					}
					for _, vector := range group.Tests {
						message, err1 := hex.DecodeString(vector.Msg)
						signature, err2 := hex.DecodeString(vector.Sig)
						if err1 != nil || err2 != nil {
							t.Fatal(err1, err2)
						}
						want := vector.Result == "valid"
						if algorithm == "PS256" && group.SLen != 32 {
							// RFC 7518 §3.5: the salt is as long as the digest, whatever this file is about.
							want = vector.Comment == "s_len changed to 32"
						}
						if vector.Result == "acceptable" {
							want = false // legacy encodings (RFC 8017 wants the NULL parameter)
						}
						if fits := keys["wycheproof"].Verify(message, signature); fits != want {
							t.Errorf("%d, %s, %v: %t, want %s", vector.TcID, vector.Comment, vector.Flags, fits, vector.Result)
						}
					}
				}
			})
		}
	}
}

func base64OfHex(t *testing.T, text string) string {
	t.Helper()
	decoded, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	for len(decoded) > 0 && decoded[0] == 0 { // of ASN.1
		decoded = decoded[1:]
	}
	return base64.RawURLEncoding.EncodeToString(decoded)
}

// HMAC-SHA256, the shared secret's, whole and not cut short.
func TestWycheproofHMAC(t *testing.T) {
	for _, group := range readWycheproof(t, "hmac_sha256_test.json").TestGroups {
		for _, vector := range group.Tests {
			key, err1 := hex.DecodeString(vector.Key)
			message, err2 := hex.DecodeString(vector.Msg)
			tag, err3 := hex.DecodeString(vector.Tag)
			if err1 != nil || err2 != nil || err3 != nil {
				t.Fatal(err1, err2, err3)
			}
			want := vector.Result == "valid" && group.TagSize == 256
			token := jose.Token{Signed: message, Signature: tag}
			if fits := issuer.FitsHMAC(&token)(key); fits != want {
				t.Errorf("%d, %s: %t, want %t", vector.TcID, vector.Comment, fits, want)
			}
		}
	}
}

// wycheproofStricter says for each reason why a token that Wycheproof calls valid is refused here.
var wycheproofStricter = map[Reason]string{
	ReasonUnsupportedAlgorithm: "RS384, RS512, PS384, PS512, HS384 and HS512, which Better Auth does not issue",
	ReasonUnusableKey:          `a key whose alg is "ES521", which is none (RFC 7518 §3.1 has ES512)`,
	ReasonSecretNotConfigured:  "a symmetric key in a JWKS is never used",
	ReasonMalformedCredential:  `a "?" amid base64url, which some decoders skip`,
}

// wycheproofMistaken are vectors that say of themselves what they are not: these two call themselves padded, and hold the
// same well-formed token, without padding.
var wycheproofMistaken = map[string][]int{"json_web_signature_test.json": {367, 370}}

// Wycheproof's tokens and key sets: nothing that it calls invalid has its signature accepted, and what is valid there
// and refused here has its reason in the verdict table.
func TestWycheproofTokens(t *testing.T) {
	for _, name := range []string{"json_web_signature_test.json", "json_web_key_test.json"} {
		t.Run(name, func(t *testing.T) {
			accepted, refused, stricter := 0, 0, map[Reason]int{}
			for _, group := range readWycheproof(t, name).TestGroups {
				keys := group.Public
				var sharedSecret []byte
				if keys == nil {
					keys = group.Private
					if name == "json_web_signature_test.json" {
						sharedSecret = symmetricKey(t, keys)
					}
				}
				for _, vector := range group.Tests {
					err := judgeSignature(t, vector.JWS, keys, sharedSecret)
					switch {
					case err == nil && (vector.Result == "valid" || slices.Contains(wycheproofMistaken[name], vector.TcID)):
						accepted++
					case err == nil:
						t.Errorf("%d, %s, %s: accepted, want it %s", vector.TcID, group.Comment, vector.Comment, vector.Result)
					case vector.Result == "valid":
						stricter[reasonOf(err)]++
						if wycheproofStricter[reasonOf(err)] == "" {
							t.Errorf("%d, %s, %s: %v, want it accepted", vector.TcID, group.Comment, vector.Comment, err)
						}
					default:
						refused++
						if reason.Of(err).Status() != http.StatusUnauthorized {
							t.Errorf("%d, %s, %s: %v, want a 401", vector.TcID, group.Comment, vector.Comment, err)
						}
					}
				}
			}
			t.Logf("%d accepted, %d refused, %v stricter than Wycheproof", accepted, refused, stricter)
		})
	}
}

// symmetricKey is the value of a JWK for HS256, nil for another.
func symmetricKey(t *testing.T, raw json.RawMessage) []byte {
	t.Helper()
	var jwk struct{ Kty, Alg, K string }
	if err := json.Unmarshal(raw, &jwk); err != nil {
		t.Fatal(err)
	}
	if jwk.Kty != "oct" {
		return nil
	}
	value, err := base64.RawURLEncoding.DecodeString(jwk.K)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// judgeSignature takes a token as far as its signature, with a JWK or a JWKS for the issuer's.
func judgeSignature(t *testing.T, token string, keys json.RawMessage, sharedSecret []byte) error {
	t.Helper()
	var isSet struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(keys, &isSet); err != nil {
		t.Fatal(err)
	}
	document := []byte(keys)
	if isSet.Keys == nil {
		document = fmt.Appendf(nil, `{"keys":[%s]}`, keys)
	}
	parsed, _, err := jwk.ParseKeys(document)
	if err != nil {
		t.Fatal(err)
	}
	set := keyset.New(jwks.New("", "extauthz-test", nil, nil), fixedClock, testPanics(observe.NewMetrics(nil, operator.Version, jwks.Results())), observe.KeySet{Metrics: observe.NewMetrics(nil, operator.Version, jwks.Results()).Issuer("", false), Tracing: nil})
	set.Current.Store(&keyset.Snapshot{Keys: parsed, Fetched: testNow})
	read, err := issuer.Kinds().Recognize(credential.Presented{Text: token})
	if err != nil {
		return err
	}
	if read.Kind.Method == identity.MethodSession { // no JWT at all
		return reason.Deny(ReasonMalformedCredential)
	}
	if read.Kind.Method == identity.MethodHS256 {
		secrets := secret.New(Secrets{Current: sharedSecret}, nil, func(secret.Use) {})
		_, err := secrets.Signer(t.Context(), secret.ForHS256, issuer.FitsHMAC(&read.JWT))
		return err
	}
	if id := read.JWT.KeyID; parsed[id] == nil && id != "" {
		return reason.Deny(ReasonUnknownKey) // without asking an issuer that is not there
	}
	_, err = (&issuer.JwksVerifier{Issuer: &issuer.Issuer{Parts: issuer.Parts{Keys: set}}, Gate: gate.New()}).VerifySignature(t.Context(), &read.JWT)
	return err
}
