package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"extauthz/cmd/extauthz/internal/doctor/envoy"
	"extauthz/extauthz/operator"
)

// Two filters, of which one stands before CORS, and a listener that is not checked.
func TestDoctorReadsFilterOrder(t *testing.T) {
	const manager = `{"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": `
	config := `{"a": ` + manager + `"checked", "http_filters": [
		{"typed_config": {"@type": "x/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"}}, {"typed_config": {"@type": "x/envoy.extensions.filters.http.cors.v3.Cors"}}]},
		"b": ` + manager + `"open"}}`
	path := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	printFindings(&text, envoy.Diagnose(t.Context(), path))
	for _, want := range []string{"FAIL  envoy       CORS: its filter stands behind ext_authz", "warn  envoy       filter: not in open", "FAIL  envoy       service: not by gRPC"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}

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
