package explain

import (
	"testing"

	"extauthz/extauthz"
	"extauthz/extauthz/operator"
)

// A credential waits for the part that judges it, also where each of several issuers has one, and for no other.
func TestWaitsForItsPart(t *testing.T) {
	one := extauthz.IssuerConfig{Name: "shop", Issuer: "https://shop.example.com", Audiences: []string{"https://api.example.com"}}
	sessions := one
	sessions.Name, sessions.Issuer = "docs", "https://docs.example.com"
	sessions.DatabaseURL = "postgresql://nobody@127.0.0.1:1/none"
	for title, config := range map[string]extauthz.Config{
		"one issuer": {Issuer: one.Issuer, Audiences: one.Audiences, DatabaseURL: sessions.DatabaseURL},
		"several":    {Several: []extauthz.IssuerConfig{one, sessions}},
	} {
		authorizer, err := extauthz.New(config)
		if err != nil {
			t.Fatal(err)
		}
		defer authorizer.Close()
		const jwt, byHS256, session = "eyJhbGciOiJFZERTQSJ9.e30.AA", "eyJhbGciOiJIUzI1NiJ9.e30.AA", "4fQk9ZrTnWc2JxLm8sVbHy3PdEa6GuKo"
		for text, want := range map[string]bool{jwt: true, byHS256: false, session: true, "no.token": false} {
			if got := isAwaited(authorizer.Missing(), operator.PartOf(text, false)); got != want {
				t.Errorf("%s: %q waits: %t, want %t; missing is %q", title, text, got, want, authorizer.Missing())
			}
		}
		if isAwaited([]string{"jwks"}, "database") || isAwaited(nil, "jwks") {
			t.Errorf("%s: waits for another part", title)
		}
	}
}
