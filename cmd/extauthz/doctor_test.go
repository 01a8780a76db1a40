package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"extauthz/extauthz/operator"
)

// JSON for machines, and the exit status by the worst.
func TestDoctorJSON(t *testing.T) {
	jwks, issue := newIssuer(t)
	t.Setenv("BETTER_AUTH_URL", issuer)
	t.Setenv("API_AUDIENCE", audience)
	t.Setenv("JWKS_URL", jwks.URL)
	t.Setenv("BETTER_AUTH_SECRET", "a-secret-of-more-than-thirty-two-characters")
	token := issue(map[string]any{"iss": issuer, "aud": "http://other.example.com", "sub": "user-1", "exp": 4102444800})
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"doctor", "--json", "--token", "-"}, strings.NewReader(token), &stdout, &stderr); code != exitFault {
		t.Errorf("exit status %d: %s", code, stderr.String())
	}
	var found []operator.Finding
	if err := json.Unmarshal(stdout.Bytes(), &found); err != nil {
		t.Fatal(err)
	}
	failing := map[string]bool{}
	for _, f := range found {
		if f.Level == operator.LevelFailure {
			failing[f.Part+" "+f.Tried] = true
		}
	}
	if len(failing) != 1 || !failing["credential audience"] {
		t.Errorf("failing: %v", failing)
	}
	if strings.Contains(stdout.String(), token[len(token)-40:]) {
		t.Error("the token is printed")
	}
}
