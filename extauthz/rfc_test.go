package extauthz

import (
	"encoding/base64"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/jose/jwk"
)

// rfcExample is a token printed in an RFC, with its key as a JWK.
type rfcExample struct {
	where, token, key string
	// reason is what the whole check says of it, whose clock stands at the example's own time: none of these is a Better Auth
	// token, and all are refused for what they lack and not for their signature.
	reason Reason
}

const (
	rfc7515HMACKey = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
	rfc7515Claims  = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
)

var rfcExamples = []rfcExample{
	{"RFC 7515 §A.1 and RFC 7519 §3.1, HS256", "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + rfc7515Claims + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "", ReasonWrongIssuer},
	{"RFC 7515 §A.2, RS256", "eyJhbGciOiJSUzI1NiJ9." + rfc7515Claims + ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
		`{"kty":"RSA","alg":"RS256","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}`, ReasonMissingKeyID},
	{"RFC 7515 §A.3, ES256", "eyJhbGciOiJFUzI1NiJ9." + rfc7515Claims + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
		`{"kty":"EC","crv":"P-256","alg":"ES256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`, ReasonMissingKeyID},
	{"RFC 7515 §A.4, ES512", "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
		`{"kty":"EC","crv":"P-521","alg":"ES512","x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk","y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"}`, ReasonMissingKeyID},
	{"RFC 8037 §A.4, EdDSA", "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
		`{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, ReasonMissingKeyID},
	{"RFC 7515 §A.5 and RFC 7519 §6.1, unsecured", "eyJhbGciOiJub25lIn0." + rfc7515Claims + ".", "", ReasonUnsupportedAlgorithm},
	{"RFC 7519 §A.1, encrypted", "eyJhbGciOiJSU0ExXzUiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0.QR1Owv2ug2.AxY8DCtDaGlsbGljb3RoZQ.MKOle7UQrG6nSxTLX6Mqwt0orbHvAKeWnDYvpIAeZ72.kfJ4TW7UXnFlTM", "", ReasonEncryptedToken},
}

// The examples of RFC 7515, 7519 and 8037: signatures that are printed there fit, with one bit changed they do not, and none passes for a
// Better Auth token.
func TestRFCExamples(t *testing.T) {
	shared, err := base64.RawURLEncoding.DecodeString(rfc7515HMACKey)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1300819380-60, 0) // a minute before their exp
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: shared, Now: func() time.Time { return at }})
	for _, example := range rfcExamples {
		t.Run(example.where, func(t *testing.T) {
			d := judgeUntilDecided(t, a, example.token, false)
			if d.Denial == nil || d.Denial.Reason() != example.reason {
				t.Errorf("%v, want %s", d.Denial, example.reason)
			}
			token, err := jose.Parse(example.token)
			if err != nil || example.key == "" && token.Algorithm != jose.AlgorithmHS256 {
				return
			}
			fits := issuer.FitsHMAC(&token)(shared)
			verify := func() bool { return issuer.FitsHMAC(&token)(shared) }
			if example.key != "" {
				keys, _, err := jwk.ParseKeys(fmt.Appendf(nil, `{"keys":[{"kid":"example",%s]}`, example.key[1:]))
				if err != nil || keys["example"] == nil || keys["example"].Fault != "" {
					t.Fatalf("%v %+v", err, keys["example"])
				}
				verify = func() bool { return keys["example"].Verify(token.Signed, token.Signature) }
				fits = verify()
			}
			if !fits {
				t.Error("its signature does not fit")
			}
			token.Signed[len(token.Signed)-1] ^= 1
			if verify() {
				t.Error("its signature fits other claims, too")
			}
		})
	}
}

// rfc8725 maps each section of the JSON Web Token best current practices to the tests that hold it. A test is named as go test -run takes it;
// what follows TestVerdicts is a row of the verdict table.
var rfc8725 = []struct {
	section, about string
	tests          []string
}{
	{"2.1", "weak signatures and insufficient signature validation", []string{"TestVerdicts/unsupported_algorithm/alg none", "TestMutatedCredentials", "TestWycheproofTokens"}},
	{"2.2", "weak symmetric keys", []string{"TestVerdicts/bad_signature/HS256 with an empty secret", "TestShortSecretIsTold"}},
	{"2.3", "incorrect composition of encryption and signature", []string{"TestVerdicts/encrypted_token/a JWE", "TestRFCExamples"}},
	{"2.4", "plaintext leakage through analysis of ciphertext length", nil}, // nothing is encrypted here
	{"2.5", "insecure use of elliptic-curve encryption", nil},               // likewise
	{"2.6", "multiplicity of JSON encodings", []string{"FuzzParseClaims", "FuzzParseJWT", "TestVerdicts/malformed_claims/sub twice, once escaped"}},
	{"2.7", "substitution attacks", []string{"TestVerdicts/wrong_issuer/another", "TestVerdicts/wrong_audience/another"}},
	{"2.8", "cross-JWT confusion", []string{"TestVerdicts/unsupported_type/a cookie-cache token by a JWKS key"}},
	{"2.9", "indirect attacks on the server", []string{"TestAdvisories", "TestFetchesAreSharedAndBounded"}},
	{"3.1", "perform algorithm verification", []string{"TestVerdicts/key_algorithm_mismatch/RS256 by a key marked PS256"}},
	{"3.2", "use appropriate algorithms", []string{"TestVerdicts/unsupported_algorithm/alg none", "TestWycheproofTokens"}},
	{"3.3", "validate all cryptographic operations", []string{"TestWycheproofSignatures", "TestWycheproofHMAC"}},
	{"3.4", "validate cryptographic inputs", []string{"TestWycheproofTokens", "TestVerdicts/unusable_key/a point that is not on the curve"}},
	{"3.5", "ensure cryptographic keys have sufficient entropy", []string{"TestShortSecretIsTold", "TestVerdicts/unusable_key/RSA with 1024 bits"}},
	{"3.6", "avoid compression of encryption inputs", nil}, // no JWE, so no zip
	{"3.7", "use UTF-8", []string{"FuzzParseClaims", "TestVerdicts/malformed_claims/bytes that are not UTF-8"}},
	{"3.8", "validate issuer and subject", []string{"TestVerdicts/wrong_issuer/another", "TestVerdicts/missing_subject/none"}},
	{"3.9", "use and validate audience", []string{"TestVerdicts/wrong_audience/another"}},
	{"3.10", "do not trust received claims", []string{"TestAdvisories", "TestVerdicts/bad_signature/a key of the token's own in jwk"}},
	{"3.11", "use explicit typing", []string{"TestVerdicts/unsupported_type/a cookie-cache token by a JWKS key"}},
	{"3.12", "use mutually exclusive validation rules for different kinds of JWTs", []string{"TestVerdicts/unsupported_type/a cookie-cache token by a JWKS key", "TestVerdicts/wrong_issuer/Better Auth's own cookie cache: signed with the secret, no iss, aud or sub"}},
}

// Each section has a test that exists, or a reason why it cannot matter here; docs/security.md lists the same, and names no test that there is not.
func TestSecurityPage(t *testing.T) {
	names := map[string]bool{}
	var files []string
	for _, room := range []string{".", "../cmd", "../envoy", "../k8s"} {
		err := filepath.WalkDir(room, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() && entry.Name() == "node_modules" {
				return filepath.SkipDir
			}
			if strings.HasSuffix(path, "_test.go") {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range parsed.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok {
				names[function.Name.Name] = true
			}
		}
	}
	for _, row := range verdictTable() {
		names["TestVerdicts/"+string(row.reason)+"/"+row.title] = true
	}
	page, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range rfc8725 {
		held := "does not apply: nothing is encrypted"
		if section.tests != nil {
			held = "`" + strings.Join(section.tests, "`, `") + "`"
		}
		for _, name := range section.tests {
			if !names[name] {
				t.Errorf("§%s: there is no %s", section.section, name)
			}
		}
		if line := fmt.Sprintf("| %s | %s | %s |\n", section.section, section.about, held); !strings.Contains(string(page), line) {
			t.Errorf("docs/security.md lacks %s", line)
		}
	}
	for _, match := range regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)").FindAllStringSubmatch(string(page), -1) {
		if !names[match[1]] {
			t.Errorf("docs/security.md names %s, which there is not", match[1])
		}
	}
}
