package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"extauthz/cmd/extauthz/internal/commandtest"
)

// An issuer that is put into the file, changed in it or taken out takes effect without a restart, at a signal and by
// itself, and no check of another one fails meanwhile. A list that cannot be used changes nothing.
func TestIssuersAreReloaded(t *testing.T) {
	jwks, issue := newIssuer(t)
	path := filepath.Join(t.TempDir(), "extauthz.yaml")
	issuer := func(name, audience string) string {
		return fmt.Sprintf("  - {name: %s, better-auth-url: 'http://%s.example.com', jwks-url: '%s', api-audience: %s}\n", name, name,
			jwks.URL, audience)
	}
	write := func(items ...string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("issuers:\n"+strings.Join(items, "")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tokenOf := func(name string) string {
		return issue(map[string]any{"iss": "http://" + name + ".example.com", "aud": "api", "sub": "user-1", "exp": time.Now().Unix() + 600})
	}
	write(issuer("shop", "api"))
	p := startProgram(t, "EXTAUTHZ_CONFIG="+path)
	shop, docs := tokenOf("shop"), tokenOf("docs")
	if !p.passes(t, shop) || p.passes(t, docs) {
		t.Fatal("the first list is not in force")
	}
	var load sync.WaitGroup
	var stop atomic.Bool
	load.Go(func() {
		for !stop.Load() {
			if response, err := p.checks.Check(t.Context(), checkOf(shop)); err != nil || response.GetOkResponse() == nil {
				if response.GetDeniedResponse().GetStatus().GetCode() != 503 { // by a busy machine, which is nobody's
					t.Errorf("shop's token: %v, %v", response, err)
					return
				}
			}
		}
	})
	write(issuer("docs", "api"), issuer("shop", "api"))
	p.hangup(t)
	if !p.passes(t, docs) {
		t.Error("an issuer that was added does not count")
	}
	write(issuer("docs", "other"), issuer("shop", "api"))
	commandtest.Eventually(t, "the change by itself", func() bool { return !p.passes(t, docs) })
	write(issuer("docs", "api"), issuer("docs", "api"), issuer("shop", "api"))
	commandtest.Eventually(t, "the refusal", func() bool {
		return strings.Contains(p.log.String(), "the earlier ones stay in force") && strings.Contains(p.log.String(), "is another issuer's too")
	})
	if p.passes(t, docs) {
		t.Error("half of a refused list is in force")
	}
	write(issuer("shop", "api"), issuer("docs", "api"))
	p.hangup(t)
	if !p.passes(t, docs) {
		t.Error("the corrected list is not in force")
	}
	write(issuer("shop", "api"))
	p.hangup(t)
	if p.passes(t, docs) {
		t.Error("an issuer that was taken out still counts")
	}
	stop.Store(true)
	load.Wait()

	// One issuer in place of a list is another configuration altogether.
	if err := os.WriteFile(path, []byte("better-auth-url: http://docs.example.com\napi-audience: api\njwks-url: "+jwks.URL+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	commandtest.Eventually(t, "the refusal", func() bool { return strings.Contains(p.log.String(), "need a restart") })
	if !p.passes(t, shop) || p.passes(t, docs) {
		t.Error("what waits for a restart is in force")
	}
}
