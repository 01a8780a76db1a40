// Package jwk reads keys and key sets (RFC 7517, 7518) as strictly as RFC 8725 asks, and verifies signatures by them.
// It imports show, and it alone imports the JOSE library. It does not know where keys come from, nor what is signed by
// them.
package jwk

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	jwx "github.com/lestrrat-go/jwx/v2/jwk"

	"extauthz/extauthz/internal/show"
)

// This file is the only one that knows the JOSE library, which reads JWKs. Signatures are verified by
// the standard library itself: the JOSE library's verifiers take any salt length in PS256, and
// cost more.

// Bounds of an RSA key's modulus, in bits: RFC 7518 §3.3 asks for 2048 or more; past 8192 one
// verification costs too much for what it adds.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// Key is one entry of a JWKS. Its algorithm is fixed when it is read; a token cannot choose.
type Key struct {
	ID        string
	Algorithm string
	Public    crypto.PublicKey // nil for a key with a fault
	// fault is why the key may not verify tokens; empty for a good key. A listed key that is of no
	// use stays known, so that its tokens are refused without asking the issuer again.
	Fault string
	Since time.Time // when it was first fetched; for operators
}

// readPublic takes the public key out of a JWK and fixes its algorithm: the JWK's own alg, which
// must fit the key, or where it has none the only one (for RSA the usual one) that does.
func (k *Key) readPublic(document []byte, algorithm string) error {
	decoded, err := jwx.ParseKey(document)
	if err != nil {
		return errors.New("not a well-formed JWK")
	}
	var public any
	if err := decoded.Raw(&public); err != nil {
		return errors.New("not a well-formed public key")
	}
	var fitting []string
	switch public := public.(type) {
	case ed25519.PublicKey:
		if len(public) != ed25519.PublicKeySize {
			return errors.New("not an Ed25519 public key of 32 bytes")
		}
		fitting = []string{"EdDSA"}
	case *ecdsa.PublicKey:
		if _, err := public.ECDH(); err != nil {
			return errors.New("its point is not on the curve")
		}
		fitting = map[string][]string{"P-256": {"ES256"}, "P-521": {"ES512"}}[public.Curve.Params().Name]
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("RSA with %d bits, not %d to %d", bits, minRSABits, maxRSABits)
		}
		if isROCA(public.N) {
			return errors.New("RSA of a flawed generator, whose private keys can be found (CVE-2017-15361)")
		}
		fitting = []string{"RS256", "PS256"}
	}
	if len(fitting) == 0 {
		return errors.New("its type or curve is not one that Better Auth issues")
	}
	if algorithm == "" {
		algorithm = fitting[0]
	}
	if !slices.Contains(fitting, algorithm) {
		return fmt.Errorf("its alg %q does not fit it", show.Clip(algorithm))
	}
	k.Public, k.Algorithm = public, algorithm
	return nil
}

// isROCA tells a modulus by the flawed generator of CVE-2017-15361: modulo each small prime it is a power of 65537. Of
// other moduli one in two hundred million looks so.
func isROCA(modulus *big.Int) bool {
	for _, prime := range []int64{
		3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
		113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
	} {
		remainder := new(big.Int).Mod(modulus, big.NewInt(prime)).Int64()
		power := int64(1)
		for power != remainder {
			if power = power * 65537 % prime; power == 1 {
				return false
			}
		}
	}
	return true
}

// Equal tells whether two keys would verify the same tokens.
func (k *Key) Equal(other *Key) bool {
	public, ok := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.ID == other.ID && k.Algorithm == other.Algorithm && k.Fault == other.Fault && public.Equal(other.Public)
}

// Verify tells whether the signature is this key's over the signed bytes (RFC 7518 §3, RFC 8037 §3.1).
func (k *Key) Verify(signed, signature []byte) bool {
	switch public := k.Public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(public, signed, signature)
	case *ecdsa.PublicKey:
		return verifyECDSA(public, signed, signature)
	case *rsa.PublicKey:
		digest := sha256.Sum256(signed)
		if k.Algorithm == "PS256" {
			// The salt is as long as the digest and nothing else (RFC 7518 §3.5).
			return rsa.VerifyPSS(public, crypto.SHA256, digest[:], signature,
				&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
	}
	return false
}

// verifyECDSA takes the two integers at their full length, one behind the other (RFC 7518 §3.4).
func verifyECDSA(public *ecdsa.PublicKey, signed, signature []byte) bool {
	size := (public.Curve.Params().BitSize + 7) / 8
	if len(signature) != 2*size {
		return false
	}
	r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
	if public.Curve == elliptic.P521() {
		digest := sha512.Sum512(signed)
		return ecdsa.Verify(public, digest[:], r, s)
	}
	digest := sha256.Sum256(signed)
	return ecdsa.Verify(public, digest[:], r, s)
}

// Describe says of a key what an operator tells it by.
func (k *Key) Describe() string {
	if k.Fault != "" {
		return strings.TrimSpace(k.Algorithm + " (ignored: " + k.Fault + ")")
	}
	return k.Algorithm
}
