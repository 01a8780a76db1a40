package doctor

import (
	"strings"
	"testing"

	"extauthz/cmd/extauthz/internal/settings"
)

// The prefixes that are Better Auth's come from the settings.
func TestAuthPaths(t *testing.T) {
	for _, row := range []struct{ issuer, jwks, want string }{
		{"https://app.example.com", "", "/api/auth/"},
		{"https://app.example.com/", "", "/api/auth/"},
		{"https://app.example.com/api/auth", "", "/api/auth/"},
		{"https://app.example.com/custom", "", "/api/auth/ /custom/"},
		{"https://app.example.com", "http://auth.internal:3000/login/jwks", "/api/auth/ /login/"},
		{"https://app.example.com", "http://auth.internal:3000/jwks", "/api/auth/"},
		{"my-app", "https://app.example.com/api/auth/jwks", "/api/auth/"},
	} {
		s := &settings.Settings{}
		s.Config.Issuer, s.Config.JWKSURL = row.issuer, row.jwks
		if got := strings.Join(AuthPaths(s), " "); got != row.want {
			t.Errorf("%q %q: %s, want %s", row.issuer, row.jwks, got, row.want)
		}
	}
}
