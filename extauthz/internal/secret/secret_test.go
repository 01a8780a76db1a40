package secret_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/secret"
)

const (
	shared = "a-secret-of-more-than-32-characters!"
	token  = "LiveLiveLiveLiveLiveLiveLiveLive"
)

func signatureOf(token, by string) string {
	mac := hmac.New(sha256.New, []byte(by))
	mac.Write([]byte(token))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func newSet(current string, former ...string) *secret.Set {
	secrets := secret.Secrets{Current: []byte(current), FormerForSessions: true}
	for _, one := range former {
		secrets.Former = append(secrets.Former, []byte(one))
	}
	return secret.New(secrets, nil, func(secret.Use) {})
}

// No secret prints itself.
func TestSecretsDoNotPrintThemselves(t *testing.T) {
	for _, text := range []string{fmt.Sprint(secret.Value(shared)), fmt.Sprintf("%v %s %#v", secret.Value(shared), secret.Value(shared), secret.Value(shared))} {
		if strings.Contains(text, "secret") {
			t.Error(text)
		}
	}
}

// FuzzSessionSignature: of all texts, one is the signature of a token.
func FuzzSessionSignature(f *testing.F) {
	secrets := newSet(shared)
	f.Add(token, signatureOf(token, shared))
	f.Add("another", signatureOf(token, shared))
	f.Add(token, signatureOf(token, "another secret"))
	f.Add(token, "")
	f.Fuzz(func(t *testing.T, token, signature string) {
		err := secrets.VerifySession(t.Context(), &credential.Credential{Token: token, Signature: signature})
		if isRight := signature == signatureOf(token, shared); isRight != (err == nil) {
			t.Fatalf("%q by %q: %v", token, signature, err)
		}
		if err != nil && reason.Of(err).Reason() != reason.BadSignature {
			t.Fatalf("%v", err)
		}
	})
}

// BenchmarkVerifySession is one HMAC, and one more for each former secret that has to be tried.
func BenchmarkVerifySession(b *testing.B) {
	for name, set := range map[string]*secret.Set{"current": newSet(shared), "former": newSet("another secret", shared)} {
		b.Run(name, func(b *testing.B) {
			presented := credential.Credential{Token: token, Signature: signatureOf(token, shared)}
			b.ReportAllocs()
			for b.Loop() {
				if err := set.VerifySession(b.Context(), &presented); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
