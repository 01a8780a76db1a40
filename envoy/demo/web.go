package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"extauthz/envoy/parts"
)

// otherOrigin is the API on an origin of its own, where CORS is needed: envoy/public-routes.yaml, run beside the other
// for the browser's tests.
func (d *demo) otherOrigin() string { return fmt.Sprintf("http://localhost:%d", d.ports.other) }

func (d *demo) authorityFile() string { return filepath.Join(d.folder, "ca.crt") }

// webSettings are what the front end needs to be told beside what Better Auth does.
func (d *demo) webSettings() []string {
	settings := []string{"API_URL=" + d.publicURL, "SIGN_UP_LIMIT=off"} // everybody comes from one address here
	if d.controlURL != "" {
		settings = append(settings, "DEMO_CONTROL="+d.controlURL)
	}
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

// envoyConfig is envoy.yaml beside this file; for https with its certificate, and with the header that makes browsers
// stay with https.
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

// testInBrowser runs the browser's tests against what is up. What else they do, they ask at the control address.
func (d *demo) testInBrowser(ctx context.Context) error {
	other, err := d.startOtherOrigin(ctx)
	if err != nil {
		return err
	}
	defer other.Stop()
	folder, err := d.installer.Web()
	if err != nil {
		return err
	}
	tests, err := filepath.Glob(filepath.Join(folder, "e2e", "*.test.mjs"))
	if err != nil {
		return err
	}
	arguments := []string{"--test", "--test-concurrency=1", "--test-reporter=spec"}
	if d.only != "" {
		arguments = append(arguments, "--test-name-pattern="+d.only)
	}
	command := exec.CommandContext(ctx, "node", append(arguments, tests...)...)
	command.Dir = folder
	command.Env = append(os.Environ(), "SITE="+d.publicURL, "OTHER_ORIGIN="+d.otherOrigin(), "CONTROL="+d.controlURL,
		"FRESH="+filepath.Join(d.installer.Root(), ".parts", "fresh"),
		"ARTEFACTS="+filepath.Join(d.installer.Root(), ".parts", "web-artefacts"))
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
	changed := at.in(strings.NewReplacer("http://localhost:3000", d.publicURL, parts.BackendSocket,
		d.backendSocket()).Replace(string(content)))
	file := filepath.Join(folder, "envoy.yaml")
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		return nil, err
	}
	return d.installer.StartEnvoy(ctx, folder, parts.EnvoyNewest, file, loopback(d.ports.other))
}
