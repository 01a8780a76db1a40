package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"extauthz/cmd/extauthz/internal/commandtest"
)

// Wherever somebody puts a key or a password, in a URL's query or in the wrong setting, nothing that is printed shows
// it.
func TestNothingShowsASecret(t *testing.T) {
	const marker = "S3cr3tMarker"
	folder := t.TempDir()
	inFile := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	closed := "http://127.0.0.1:" + commandtest.ClosedPort(t)
	redirecting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://[bad/?"+r.URL.RawQuery)
		w.WriteHeader(http.StatusFound)
	}))
	defer redirecting.Close()
	for _, row := range []struct {
		title       string
		environment map[string]string
		args        []string
	}{
		{"a key in the JWKS's URL", map[string]string{"JWKS_URL": closed + "/jwks?apikey=" + marker}, nil},
		{"the same as a flag", nil, []string{"--jwks-url", closed + "/jwks?apikey=" + marker}},
		{"the same in the file", nil, []string{"--config", inFile("jwks.yaml", "jwks-url: "+closed+"/jwks?apikey="+marker+"\n")}},
		{"in a fragment", map[string]string{"JWKS_URL": closed + "/jwks#" + marker}, nil},
		{"and a redirect that holds it", map[string]string{"JWKS_URL": redirecting.URL + "/jwks?apikey=" + marker}, nil},
		{"in a URL of another scheme", map[string]string{"JWKS_URL": "ftp://host/jwks?apikey=" + marker}, nil},
		{"without a scheme", map[string]string{"JWKS_URL": "host/jwks?apikey=" + marker}, nil},
		{"in the base URL", map[string]string{"BETTER_AUTH_URL": "https://app.example.com?key=" + marker}, nil},
		{"in an issuer", map[string]string{"EXTAUTHZ_ISSUERS": "https://app.example.com?key=" + marker}, nil},
		{"in a trusted origin", map[string]string{"EXTAUTHZ_TRUSTED_ORIGINS": "https://u:" + marker + "@app.example.com"}, nil},
		{"with a comma in it, in a trusted origin", map[string]string{"EXTAUTHZ_TRUSTED_ORIGINS": "postgresql://u:12," + marker + "@db/app"}, nil},
		{"with a comma in it, in an audience", map[string]string{"API_AUDIENCE": "postgresql://u:x," + marker + "@db/app"}, nil},
		{"with a comma in it, as an address", map[string]string{"EXTAUTHZ_LISTEN": "postgresql://u:12," + marker + "@db/app"}, nil},
		{"with a comma in it, in an issuer", map[string]string{"EXTAUTHZ_ISSUERS": "postgresql://u:12," + marker + "@db/app"}, nil},
		{"in the proxy's URL", map[string]string{"JWKS_PROXY": "http://u:" + marker + "@127.0.0.1:" + commandtest.ClosedPort(t)}, nil},
		{"in a proxy's URL with a mistake", map[string]string{"JWKS_PROXY": "u:" + marker + "@proxy:1"}, nil},
		{"in the proxy of everybody else", map[string]string{"HTTPS_PROXY": "http://u:" + marker + "@127.0.0.1:1", "HTTP_PROXY": "http://u:" + marker + "@127.0.0.1:1"}, nil},
		{"in front of its host", map[string]string{"BETTER_AUTH_URL": "https://user:" + marker + "@app.example.com"}, nil},
		{"in an audience", map[string]string{"API_AUDIENCE": "https://api.example.com?key=" + marker}, nil},
		{"in a collector's URL", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": closed + "/?key=" + marker}, nil},
		{"in a collector's URL for traces", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": closed + "/v1/traces?key=" + marker}, nil},
		{"a connection string as an address", map[string]string{"EXTAUTHZ_LISTEN": "postgresql://u:" + marker + "@db/app"}, nil},
		{"a connection string as the path of its file", map[string]string{"DATABASE_URL_FILE": "postgresql://u:" + marker + "@db/app"}, nil},
		{"another as the path of its file", map[string]string{"DATABASE_URL_FILE": "host=db password=" + marker}, nil},
		{"the secret as the path of its file", map[string]string{"BETTER_AUTH_SECRET_FILE": marker + "kq3V9dYw2mZ8xT5bN7cR4h"}, nil},
		{"the secrets as the path of their file", map[string]string{"BETTER_AUTH_SECRETS_FILE": "2:" + marker + "kq3V9dYw2mZ8xT5bN7cR4h,1:x"}, nil},
		{"a key as the path of its file", map[string]string{"EXTAUTHZ_TLS_CERT_FILE": inFile("c", "x"), "EXTAUTHZ_TLS_KEY_FILE": "-----BEGIN PRIVATE KEY-----\n" + marker + "\n"}, nil},
		{"a connection string as a flag", nil, []string{"--database-url=postgresql://u:" + marker + "@db/app"}},
		{"as the name of a flag", nil, []string{"--postgresql://u:" + marker + "@db/app"}},
		{"as a flag of bad form", nil, []string{"---jwks-url=https://host?key=" + marker}},
		{"as an argument", nil, []string{"postgresql://u:" + marker + "@db/app"}},
		{"a secret in the file of settings", nil, []string{"--config", inFile("secret.yaml", "better-auth-secret: "+marker+"\n")}},
		{"a secret with a * in the file of settings", nil, []string{"--config", inFile("star.yaml", "better-auth-url: *"+marker+"\n")}},
		{"a connection string as a number", map[string]string{"EXTAUTHZ_DATABASE_CONNECTIONS": "postgresql://u:" + marker + "@db/app"}, nil},
		{"a secret as the shadow mode", map[string]string{"EXTAUTHZ_SHADOW": marker + "kq3V9dYw2mZ8xT5bN7cR4h"}, nil},
		{"a connection string as a kept header", map[string]string{"EXTAUTHZ_KEEP_HEADERS": "postgresql://u:" + marker + "@db/app"}, nil},
		{"a connection string as the audit log", map[string]string{"EXTAUTHZ_AUDIT_LOG": "postgresql://u:" + marker + "@db/app"}, nil},
	} {
		for _, command := range [][]string{{"config"}, {"serve", "--dry-run"}, {"serve", "--admin-page"}, {"doctor"}, {"doctor", "--json", "--url", closed + "/?key=" + marker}, {"doctor", "--envoy", closed + "/?key=" + marker}, {"doctor", "--envoy", "postgresql://u:" + marker + "@db/app"}, {"check", "eyJ.e30.x"}} {
			t.Run(row.title+"/"+strings.Join(command[:min(2, len(command))], " "), func(t *testing.T) {
				t.Setenv("EXTAUTHZ_LISTEN", "127.0.0.1:0")
				t.Setenv("EXTAUTHZ_ADMIN_LISTEN", "127.0.0.1:0")
				t.Setenv("BETTER_AUTH_URL", closed)
				for name, value := range row.environment {
					t.Setenv(name, value)
				}
				var out commandtest.Buffer
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := make(chan int)
				args := command
				if args[len(args)-1] == "--admin-page" {
					args = []string{"serve", "--admin-page=true", "--log-level=debug"}
				}
				go func() { ended <- run(ctx, append(args, row.args...), strings.NewReader(""), &out, &out) }()
				told := func() bool { return strings.Contains(out.String(), "JWKS fetch failed") }
				for waited := time.Now(); ; {
					select {
					case <-ended:
					case <-time.After(5 * time.Millisecond):
						if told() || time.Since(waited) > 20*time.Second {
							cancel()
							<-ended
						} else {
							continue
						}
					}
					break
				}
				if text := out.String(); strings.Contains(text, marker) || text == "" {
					t.Errorf("printed: %s", text)
				}
			})
		}
	}
}
