package jwk_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"testing"

	"extauthz/extauthz/internal/jose/jwk"
)

// A key verifies what was signed by it, by its own algorithm and in that algorithm's one form.
func TestKeysVerify(t *testing.T) {
	message := []byte("signed")
	for _, s := range signers() {
		key, signature := s.key(nil), s.sign(message)
		if key.Fault != "" || key.Algorithm != s.algorithm || !key.Verify(message, signature) {
			t.Errorf("%s: %+v", s.algorithm, key)
		}
		if key.Verify([]byte("Signed"), signature) {
			t.Errorf("%s: verified what was not signed", s.algorithm)
		}
		for title, other := range map[string][]byte{
			"longer by a zero behind": append(signature[:len(signature):len(signature)], 0),
			"longer by a zero before": append([]byte{0}, signature...),
			"shorter":                 signature[:len(signature)-1],
			"none":                    nil,
		} {
			if key.Verify(message, other) {
				t.Errorf("%s: a signature that is %s", s.algorithm, title)
			}
		}
	}
	rs, ps := signers()[3], signers()[4]
	digest := sha256.Sum256(message)
	for _, salt := range []int{1, 20, 64, 222} {
		if ps.key(nil).Verify(message, ps.signPSS(digest[:], salt)) {
			t.Errorf("PS256 by a salt of %d bytes (RFC 7518 §3.5)", salt)
		}
	}
	if rs.key(nil).Verify(message, ps.sign(message)) || ps.key(nil).Verify(message, rs.sign(message)) {
		t.Error("RS256 and PS256 taken for each other")
	}
}

// A key that must not verify tokens is listed with its fault, and verifies none.
func TestKeysWithFaults(t *testing.T) {
	ed, rs := signers()[0], signers()[3]
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	// 65537 has all moduli of the flawed generator among its powers, modulo each small prime; so has 1.
	flawed := big.NewInt(1)
	for _, prime := range []int64{3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101,
		103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167} {
		flawed.Mul(flawed, big.NewInt(prime))
	}
	flawed.Lsh(flawed, uint(2047-flawed.BitLen())).Add(flawed, big.NewInt(1))
	if flawed.BitLen() < 2047 {
		t.Fatal(flawed.BitLen())
	}
	flawed.Lsh(flawed.Sub(flawed, big.NewInt(1)), 1).Add(flawed, big.NewInt(1))
	for title, key := range map[string]*jwk.Key{
		"private":              ed.key(map[string]any{"d": "AA"}),
		"a prime of it":        rs.key(map[string]any{"p": "AA"}),
		"symmetric":            ed.key(map[string]any{"kty": "oct"}),
		"symmetric by its key": ed.key(map[string]any{"k": "AA"}),
		"for encryption":       ed.key(map[string]any{"use": "enc"}),
		"for signing":          ed.key(map[string]any{"key_ops": []string{"sign"}}),
		"for nothing":          ed.key(map[string]any{"key_ops": []string{}}),
		"of another algorithm": ed.key(map[string]any{"alg": "ES256"}),
		"weak":                 signer{"RS256", weak}.key(nil),
		"of a flawed generator": rs.key(map[string]any{
			"n": base64.RawURLEncoding.EncodeToString(flawed.Bytes())}),
	} {
		if key.Fault == "" || key.Public != nil || key.Verify([]byte("signed"), ed.sign([]byte("signed"))) {
			t.Errorf("%s: %+v", title, key)
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	var listed []map[string]any
	for _, s := range signers() {
		listed = append(listed, s.jwk(nil))
	}
	ed := signers()[0]
	listed = append(listed, ed.jwk(map[string]any{"use": "enc"}), ed.jwk(map[string]any{"kid": nil}), ed.jwk(map[string]any{"d": "AA"}),
		ed.jwk(map[string]any{"key_ops": []string{"verify"}, "alg": nil}), map[string]any{"kty": "oct", "k": "AA", "kid": "shared"})
	f.Add(document(listed...))
	f.Add([]byte(`{"keys":[{"kid":"a","kid":"b","kty":"RSA","n":"AQ","e":"AQ"}]}`))
	f.Add([]byte(`{"keys":[{"kid":"a","kty":"EC","crv":"P-256"},{"kid":"b","kty":"OKP","crv":"X25519","x":"AA"}]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		keys, _, err := jwk.ParseKeys(document)
		if err != nil {
			return
		}
		for id, key := range keys {
			if id == "" || key.ID != id || (key.Fault == "") != (key.Public != nil) {
				t.Errorf("%q: %+v", id, key)
			}
			if key.Fault == "" && key.Verify([]byte("signed"), []byte("no signature")) {
				t.Errorf("%q verifies anything", id)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	message := make([]byte, 300) // as long as a token's
	for _, s := range signers() {
		key, signature := s.key(nil), s.sign(message)
		b.Run(s.algorithm, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !key.Verify(message, signature) {
					b.Fatal("refused")
				}
			}
		})
	}
}
