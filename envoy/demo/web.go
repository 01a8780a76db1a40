package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/envoy/parts"
)

// otherOrigin is the API on an origin of its own, where CORS is needed: envoy/public-routes.yaml, run beside the other for
// the browser's tests.
func (d *demo) otherOrigin() string { return fmt.Sprintf("http://localhost:%d", d.ports.other) }

func (d *demo) authorityFile() string { return filepath.Join(d.folder, "ca.crt") }

// webSettings are what the front end needs to be told beside what Better Auth does.
func (d *demo) webSettings() []string {
	settings := []string{"API_URL=" + d.publicURL, "AUTH_RATE_LIMIT=off"} // everybody comes from one address here
	if d.test {
		settings = append(settings, "API_ORIGINS="+d.otherOrigin())
	}
	if d.tls {
		settings = append(settings, "NODE_EXTRA_CA_CERTS="+d.authorityFile())
	}
	return settings
}

// makeCertificates makes an authority that lives as long as the demo, and has this process believe it.
func (d *demo) makeCertificates() error {
	authority, err := parts.NewAuthority()
	if err != nil {
		return err
	}
	if err := authority.WriteFiles(d.folder, time.Now().AddDate(0, 0, 30), "localhost"); err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.Certificate)
	http.DefaultTransport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	return nil
}

// envoyConfig is envoy.yaml beside this file; for https with its certificate, and with the header that makes browsers stay with https.
func (d *demo) envoyConfig() (string, error) {
	sample := filepath.Join(d.installer.Root(), "envoy", "demo", "envoy.yaml")
	content, err := os.ReadFile(sample)
	if err != nil {
		return "", err
	}
	file := filepath.Join(d.folder, "envoy.yaml")
	content = []byte(strings.ReplaceAll(string(content), parts.BackendSocket, d.backendSocket()))
	if !d.tls {
		return file, os.WriteFile(file, []byte(d.ports.in(string(content))), 0o600)
	}
	const filters, headers = "        - filters:\n", "                      response_headers_to_add:\n"
	if strings.Count(string(content), filters) != 1 || strings.Count(string(content), headers) != 1 {
		return "", fmt.Errorf("%s is not as it was", sample)
	}
	changed := strings.NewReplacer(filters, `        - transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context:
                alpn_protocols: [h2, http/1.1]
                tls_certificates:
                  - certificate_chain: { filename: `+d.folder+`/tls.crt }
                    private_key: { filename: `+d.folder+`/tls.key }
          filters:
`, headers, headers+`                        - header: { key: strict-transport-security, value: max-age=31536000 }
                          append_action: OVERWRITE_IF_EXISTS_OR_ADD
`).Replace(string(content))
	return file, os.WriteFile(file, []byte(d.ports.in(changed)), 0o600)
}

// testInBrowser runs the browser's tests against what is up. They can stop and start extauthz, and end a session, by an address of their own.
func (d *demo) testInBrowser(ctx context.Context) error {
	other, err := d.startOtherOrigin(ctx)
	if err != nil {
		return err
	}
	defer other.Stop()
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: d.control(ctx)}
	go server.Serve(control)
	defer server.Close()
	folder, err := d.installer.Web()
	if err != nil {
		return err
	}
	tests, err := filepath.Glob(filepath.Join(folder, "e2e", "*.test.mjs"))
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "node", append([]string{"--test", "--test-concurrency=1", "--test-reporter=spec"}, tests...)...)
	command.Dir = folder
	command.Env = append(os.Environ(), "SITE="+d.publicURL, "OTHER_ORIGIN="+d.otherOrigin(), "CONTROL=http://"+control.Addr().String(),
		"FRESH="+filepath.Join(d.installer.Root(), ".parts", "fresh"), "ARTEFACTS="+filepath.Join(d.installer.Root(), ".parts", "web-artefacts"))
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("the browser's tests: %w", err)
	}
	return nil
}

// startOtherOrigin runs the sample with CORS for the front end's origin.
func (d *demo) startOtherOrigin(ctx context.Context) (*parts.Process, error) {
	content, err := os.ReadFile(filepath.Join(d.installer.Root(), "envoy", "public-routes.yaml"))
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(d.folder, "other")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return nil, err
	}
	at := d.ports
	at.envoy, at.envoyAdmin = at.other, at.otherAdmin
	changed := at.in(strings.ReplaceAll(string(content), "http://localhost:3000", d.publicURL))
	file := filepath.Join(folder, "envoy.yaml")
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		return nil, err
	}
	return d.installer.StartEnvoy(ctx, folder, parts.EnvoyNewest, file, loopback(d.ports.other))
}

// control is what the browser's tests can do beside clicking.
func (d *demo) control(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, do func(*http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := do(r); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	handle("POST /extauthz/stop", func(*http.Request) error {
		for _, process := range d.running {
			if process.Name == "extauthz" {
				process.Stop()
			}
		}
		return nil
	})
	handle("POST /extauthz/start", func(*http.Request) error {
		process, err := d.startExtauthz(ctx)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		return process.Await(ctx, parts.AnswersHTTP(d.publicURL+"/api/me", 401)) // until Envoy has noticed
	})
	handle("POST /sessions/expire", func(r *http.Request) error {
		var who struct{ Email string }
		if err := json.NewDecoder(r.Body).Decode(&who); err != nil {
			return err
		}
		connection, err := pgx.Connect(r.Context(), d.database)
		if err != nil {
			return err
		}
		defer connection.Close(r.Context())
		_, err = connection.Exec(r.Context(), `update "session" set "expiresAt" = now() - interval '1 minute' where "userId" in (select "id" from "user" where "email" = $1)`, who.Email)
		return err
	})
	return mux
}
