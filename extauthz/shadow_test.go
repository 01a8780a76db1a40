package extauthz

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/testing/protocmp"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/identity"
)

// In shadow mode every row of the verdict table is allowed, over both ways, and told in the metadata as what it would
// have been. The client's own identity headers are removed, but in the mode whose name says that they are believed.
func TestShadowAllowsEverything(t *testing.T) {
	config := Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t)}
	inForce := startAuthorizer(t, config)
	for name, mode := range map[string]Shadow{
		"report": ShadowReport, "headers": ShadowHeaders, "trusting": ShadowReportAndTrustClientHeaders,
	} {
		config := config
		var log bytes.Buffer
		registry := prometheus.NewRegistry()
		config.Shadow, config.Metrics = mode, registry
		config.Logger = slog.New(slog.NewTextHandler(&log, nil))
		a := startAuthorizer(t, config)
		client := dialAuthorizer(t, a)
		for _, row := range verdictTable() {
			headers := append(slices.Clone(row.headers), header{"x-user-id", "admin"}, header{"x_auth~method", "jwks"})
			in := wire["headers"](row.method, headers)
			want := decidedByCheck(t, inForce, in)
			got, err := a.Check(t.Context(), in)
			if err != nil || got.GetOkResponse() == nil {
				t.Fatalf("%s/%s/%s: %v %v, want an allow", name, row.reason, row.title, got, err)
			}
			overWire, err := client.Check(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := differing(got, overWire); diff != "" {
				t.Errorf("%s/%s/%s: over the wire\n%s", name, row.reason, row.title, diff)
			}
			ok := got.GetOkResponse()
			switch {
			case mode == ShadowReportAndTrustClientHeaders:
				if len(ok.GetHeaders()) > 0 || len(ok.GetHeadersToRemove()) > 0 {
					t.Errorf("%s/%s: headers are changed: %v", row.reason, row.title, ok)
				}
			case mode == ShadowHeaders && row.reason == "":
				if diff := cmp.Diff(want.GetOkResponse(), ok, protocmp.Transform()); diff != "" {
					t.Errorf("%s: %s", row.title, diff)
				}
			case len(ok.GetHeaders()) > 0 || !removesSpoofed(ok.GetHeadersToRemove()):
				t.Errorf("%s/%s: the client's own x-user-id would reach the backend: %v", row.reason, row.title, ok)
			}
			metadata := got.GetDynamicMetadata().GetFields()
			wantOutcome := decision.Allow
			if row.reason != "" {
				wantOutcome = decision.Deny
			}
			if metadata[checkwire.MetadataReason].GetStringValue() != string(row.reason) || metadata[metadataShadow].GetStringValue() != wantOutcome {
				t.Errorf("%s/%s: metadata %v", row.reason, row.title, metadata)
			}
		}
		if value := valueOfMetric(gather(t, registry), "extauthz_shadow", ""); value != 1 {
			t.Errorf("extauthz_shadow is %v", value)
		}
	}
	log := new(lockedBuffer)
	reporting := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Shadow: ShadowReport,
		Logger: slog.New(slog.NewTextHandler(log, nil))})
	expectToken(t, reporting, "no.token", ReasonMalformedCredential)
	if !strings.Contains(log.String(), "would be denied, but shadow mode allows everything") {
		t.Errorf("the log: %s", log.String())
	}
}

// removesSpoofed tells whether what the test's client spoofs is removed, and what Envoy may have hidden.
func removesSpoofed(removed []string) bool {
	for _, name := range append(slices.Clone(identity.Headers()), "x_auth~method") {
		if !slices.Contains(removed, name) {
			return false
		}
	}
	return true
}
