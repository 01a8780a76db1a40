package issuer_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/reason"
)

const (
	jwtText       = "eyJhbGciOiJFZERTQSIsImtpZCI6Im9uZSJ9.eyJzdWIiOiJ1c2VyLTEiLCJleHAiOjF9.c2lnbmF0dXJl"
	hs256Text     = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c2VyLTEiLCJleHAiOjF9.c2lnbmF0dXJl"
	noneText      = "eyJhbGciOiJub25lIn0.e30."
	rawText       = "LiveLiveLiveLiveLiveLiveLiveLive"
	signatureText = "Zm9yIGEgdGVzdCwgYW5kIG9mIG5vIHNlY3JldCBhdCE="
	signedText    = rawText + "." + signatureText
	escapedText   = rawText + ".Zm9yIGEgdGVzdCwgYW5kIG9mIG5vIHNlY3JldCBhdCE%3D"
	encryptedText = "eyJhbGciOiJkaXIifQ..aXY.dGV4dA.dGFn"
)

// credentials are those whose shapes must be told apart, and texts that have none.
var credentials = []string{
	"", jwtText, hs256Text, noneText, rawText, signedText, escapedText, encryptedText, jwtText + ".", "." + jwtText, jwtText + "=", jwtText + "\n", strings.ToLower(jwtText),
	rawText + ".", rawText + "." + signatureText[1:], rawText + ".." + signatureText, signedText + "." + signatureText, strings.TrimSuffix(signedText, "="), escapedText + "%",
	"%2e%2E" + escapedText, rawText + "%00", rawText + "%2C", "a b", "a;b", `a"b`, `a\b`, "é", strings.Repeat("a", 257), "a,b", "%zz", "+",
}

// FuzzRecognizeBearer: what is taken for a credential is, put together again, what came.
func FuzzRecognizeBearer(f *testing.F) {
	for _, text := range credentials {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		read, err := issuer.Kinds().Recognize(credential.Presented{Text: text})
		if err != nil {
			if denial := reason.Of(err); denial.Status() != http.StatusUnauthorized {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if read.Cookie {
			t.Fatalf("%q came by no cookie", text)
		}
		checkReassembles(t, text, &read)
	})
}

// FuzzRecognizeCookie: a cookie is a signed session token or nothing.
func FuzzRecognizeCookie(f *testing.F) {
	for _, text := range credentials {
		f.Add(text)
		f.Add(`"` + text + `"`)
	}
	f.Fuzz(func(t *testing.T, value string) {
		read, err := issuer.Kinds().Recognize(credential.Presented{Text: value, Cookie: true})
		if err != nil {
			return
		}
		if read.Kind.Method != identity.MethodSession || read.Signature == "" || !read.Cookie {
			t.Fatalf("%q was read as %+v", value, read)
		}
		if len(value) >= 2 && value[0] == '"' {
			value = value[1 : len(value)-1]
		}
		checkReassembles(t, value, &read)
	})
}

func checkReassembles(t *testing.T, text string, read *issuer.Recognized) {
	t.Helper()
	whole := read.Token
	if read.Signature != "" {
		whole += "." + read.Signature
	}
	if read.Kind.Method == identity.MethodSession {
		decoded, err := url.PathUnescape(text)
		if err != nil || !strings.Contains(text, "%") {
			decoded = text
		}
		text = decoded
	}
	if whole != text {
		t.Fatalf("%q was read as %q", text, whole)
	}
}

// BenchmarkRecognize is what each check of a session does before it is judged.
func BenchmarkRecognize(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := issuer.Kinds().Recognize(credential.Presented{Text: escapedText, Cookie: true}); err != nil {
			b.Fatal(err)
		}
	}
}
