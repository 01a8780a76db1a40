package extauthz

import (
	"sync"
	"testing"
)

// A call of SetIssuers that fails changes nothing, where the fault is another issuer's too: no function of it is called.
func TestFailedSetIssuersLeavesTheURLs(t *testing.T) {
	reader := func(text string) func() (string, error) { return func() (string, error) { return text, nil } }
	good := IssuerConfig{
		Name: "good", Issuer: "https://good.example", Audiences: []string{"a"}, Secret: []byte("secret-secret-secret-secret-secret"),
		RedisURL: "redis://127.0.0.1:1", ReadRedisURL: reader("redis://127.0.0.1:1"),
		DatabaseURL: "postgres://u@127.0.0.1:1/d", ReadDatabaseURL: reader("postgres://u@127.0.0.1:1/d"),
	}
	a, err := New(Config{Several: []IssuerConfig{good}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	other := good
	other.ReadRedisURL, other.ReadDatabaseURL = reader("redis://other"), reader("postgres://other")
	if err := a.SetIssuers([]IssuerConfig{other, {Name: "bad"}}); err == nil {
		t.Fatal("no error")
	}
	first, _ := a.only().redisURL.read()
	second, _ := a.only().databaseURL.read()
	if first != "redis://127.0.0.1:1" || second != "postgres://u@127.0.0.1:1/d" {
		t.Errorf("read from now on: %s and %s", first, second)
	}
	if err := a.SetIssuers([]IssuerConfig{other}); err != nil {
		t.Fatal(err)
	}
	first, _ = a.only().redisURL.read()
	second, _ = a.only().databaseURL.read()
	if first != "redis://other" || second != "postgres://other" {
		t.Errorf("after the change: %s and %s", first, second)
	}
}

// SetSecrets leaves what former secrets are good for as it is, also where ReplaceSecrets changes that at the same time.
func TestSetSecretsBesideReplaceSecrets(t *testing.T) {
	secret := []byte("secret-secret-secret-secret-secret")
	a, err := New(Config{Issuer: "https://good.example", Audiences: []string{"a"}, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for range 2000 {
		a.ReplaceSecrets(Secrets{Current: secret, Former: [][]byte{secret}, FormerForHS256: true})
		var calls sync.WaitGroup
		calls.Go(func() { a.SetSecrets(secret, [][]byte{secret}) })
		calls.Go(func() { a.ReplaceSecrets(Secrets{Current: secret, Former: [][]byte{secret}}) })
		calls.Wait()
		if a.only().config.secrets().FormerForHS256 {
			t.Fatal("former secrets count that were turned off")
		}
	}
}
