package jwk_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"sync"

	"extauthz/extauthz/internal/jose/jwk"
)

// signer is a private key as an issuer has it.
type signer struct {
	algorithm string
	private   crypto.Signer
}

// signers are made once; RSA keys take their time.
var signers = sync.OnceValue(func() []signer {
	_, ed, err1 := ed25519.GenerateKey(rand.Reader)
	p256, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p521, err3 := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	rs, err4 := rsa.GenerateKey(rand.Reader, 2048)
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			panic(err)
		}
	}
	return []signer{{"EdDSA", ed}, {"ES256", p256}, {"ES512", p521}, {"RS256", rs}, {"PS256", rs}}
})

func must(signature []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return signature
}

// sign signs as RFC 7518 §3 and RFC 8037 §3.1 have it.
func (s signer) sign(message []byte) []byte {
	short, long := sha256.Sum256(message), sha512.Sum512(message)
	switch key := s.private.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(key, message)
	case *ecdsa.PrivateKey:
		digest := short[:]
		if key.Curve == elliptic.P521() {
			digest = long[:]
		}
		r, t, err := ecdsa.Sign(rand.Reader, key, digest)
		size := (key.Curve.Params().BitSize + 7) / 8
		return append(must(r.FillBytes(make([]byte, size)), err), t.FillBytes(make([]byte, size))...)
	case *rsa.PrivateKey:
		if s.algorithm == "PS256" {
			return s.signPSS(short[:], rsa.PSSSaltLengthEqualsHash)
		}
		return must(rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, short[:]))
	}
	panic("no such key")
}

func (s signer) signPSS(digest []byte, salt int) []byte {
	options := &rsa.PSSOptions{SaltLength: salt}
	return must(rsa.SignPSS(rand.Reader, s.private.(*rsa.PrivateKey), crypto.SHA256, digest, options))
}

// jwk is the public key as a JWKS lists it, by the algorithm as its kid; changes are laid over it, nil removes a member.
func (s signer) jwk(changes map[string]any) map[string]any {
	jwk := map[string]any{"kid": s.algorithm, "alg": s.algorithm}
	encode := base64.RawURLEncoding.EncodeToString
	switch public := s.private.Public().(type) {
	case ed25519.PublicKey:
		jwk["kty"], jwk["crv"], jwk["x"] = "OKP", "Ed25519", encode(public)
	case *ecdsa.PublicKey:
		point := must(public.Bytes())
		half := len(point) / 2
		jwk["kty"], jwk["crv"], jwk["x"], jwk["y"] = "EC", public.Curve.Params().Name, encode(point[1:half+1]), encode(point[half+1:])
	case *rsa.PublicKey:
		jwk["kty"], jwk["n"], jwk["e"] = "RSA", encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes())
	}
	for name, value := range changes {
		if jwk[name] = value; value == nil {
			delete(jwk, name)
		}
	}
	return jwk
}

func document(keys ...map[string]any) []byte { return must(json.Marshal(map[string]any{"keys": keys})) }

// key is the public key as it is read.
func (s signer) key(changes map[string]any) *jwk.Key {
	keys, _, err := jwk.ParseKeys(document(s.jwk(changes)))
	if err != nil {
		panic(err)
	}
	for _, key := range keys {
		return key
	}
	panic("no key")
}
