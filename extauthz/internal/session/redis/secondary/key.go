// Package secondary is what Better Auth keeps of sessions in its secondaryStorage: under which keys, in which form, and
// which of it is a session that is signed in. It imports claim. It does not know what keeps the values.
package secondary

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// DefaultPrefix is in front of every key of Better Auth's own adapter for Redis.
const DefaultPrefix = "better-auth:"

// MaxToken bounds a token, in bytes. Better Auth's own have 32.
const MaxToken = 256

// The beginnings of keys that Better Auth keeps beside the tokens, in the same space: a token that looks like one would
// read what is no session.
const (
	markerName = "revoked-sessions-before-"
	listName   = "active-sessions-"
)

// Keys makes keys.
type Keys struct {
	Prefix string // in front of every key
	// Hashed says that the adapter keeps a token under its SHA-256, in lower-case hexadecimal.
	Hashed bool
}

// IsToken tells whether a text may be a session token: unreserved characters of a URL (RFC 3986 §2.3), which cannot name
// anything else that Better Auth keeps.
func IsToken(text string) bool {
	if text == "" || len(text) > MaxToken || strings.HasPrefix(text, markerName) || strings.HasPrefix(text, listName) {
		return false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '~':
		default:
			return false
		}
	}
	return true
}

// Session is the key of a token's session.
func (k Keys) Session(token string) string {
	if k.Hashed {
		return k.Prefix + hash(token)
	}
	return k.Prefix + token
}

// Markers are the keys of a user's marker, before which every session counts as revoked. An adapter that hashes may do so
// with tokens alone or with every key, so both places count.
func (k Keys) Markers(userID string) []string {
	name := markerName + userID
	if k.Hashed {
		return []string{k.Prefix + name, k.Prefix + hash(name)}
	}
	return []string{k.Prefix + name}
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
