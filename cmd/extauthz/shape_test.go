package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"extauthz/cmd/extauthz/internal/settings"
	"extauthz/cmd/extauthz/internal/sources"
)

const schemaPage = "../../docs/extauthz.schema.json"

// docs/extauthz.schema.json is what `extauthz config --schema` prints.
func TestSchemaPage(t *testing.T) {
	var want bytes.Buffer
	if err := settings.WriteSchema(&want); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(schemaPage, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(schemaPage)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not as the code has it; make it anew with UPDATE_DOCS=1 go test -run TestSchemaPage ./cmd/extauthz", schemaPage)
	}
}

// What an editor says by the schema is what the command says.
func TestSchemaAgreesWithTheCommand(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile(schemaPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		file  string
		valid bool
	}{
		{"better-auth-url: https://app.example.com", true},
		{"api-audience: https://api.example.com", true},
		{"api-audience: [https://api.example.com, https://other.example.com]", true},
		{"listen: ['127.0.0.1:0']\nmax-connection-age: 1h30m\nshutdown-delay: 1.5s", true},
		{"former-secrets: [hs256, sessions]", true},
		{"shadow: report", true},
		{"shadow: report-and-trust-client-headers", true},
		{"reflection: true", true},
		{"audit-allow-rate: 0.01", true},
		{"database-connections: 100\nremembered-tokens: 0", true},
		{"better-auth-secret: s3cret", false},
		{"audience: https://api.example.com", false},
		{"shadow: on", false},
		{"shadow: [report]", false},
		{"reflection: maybe", false},
		{"max-connection-age: soon", false},
		{"database-connections: 101", false},
		{"database-connections: 1.5", false},
		{"audit-allow-rate: 1.5", false},
		{"former-secrets: [everything]", false},
		{"api-audience: []", false},
		{"api-audience: ['a,b']", false},
		{"issuers: my-app", true},
		{"issuers: [https://app.example.com, 'Zoë, of course', 'urn:example:auth']", true},
		{"issuers: []", false},
		{"issuers: ['']", false},
		{"jwks-url:", false},
		{"{}", true},
	} {
		var document any
		if err := yaml.Unmarshal([]byte(row.file), &document); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(document); (err == nil) != row.valid {
			t.Errorf("%q: by the schema %v, want valid: %t", row.file, err, row.valid)
		}
		path := filepath.Join(t.TempDir(), "extauthz.yaml")
		if err := os.WriteFile(path, []byte(row.file), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := sources.Load("config", []string{"--config", path}, func(string) string { return "" }, nil)
		if (err == nil) != row.valid {
			t.Errorf("%q: by the command %v, want valid: %t", row.file, err, row.valid)
		}
	}
}
