package extauthz

import (
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/secret"
)

// withToy is the chain with one more line.
func withToy() issuer.Chain {
	return append(issuer.Chain{
		toyKind,
	}, issuer.Kinds()...)
}

func toy(user string) string { return toyPrefix + user + ":" + toyMac(secret.Value(testSecret), user) }

// toyRows are the rows of the verdict table for the toy.
func toyRows() []verdict {
	return []verdict{
		{title: "a toy", headers: bearer(toy("user-7")), want: Identity{Subject: "user-7", Method: "toy"}},
		{reason: ReasonBadSignature, title: "another's toy", headers: bearer(strings.Replace(toy("user-7"), "7", "8", 1))},
		{reason: ReasonMalformedCredential, title: "a toy without a signature", headers: bearer("toy:user-7")},
		{reason: ReasonMalformedCredential, title: "a toy in the cookie", headers: cookie(url.QueryEscape("toy:a.b"))},
	}
}

// A new kind of credential is a file, a line in the chain and rows in the verdict table: it is judged, counted,
// explained, logged and told to the backend, and a route may ask for it. No other kind notices.
func TestKindIsOneFileAndOneLine(t *testing.T) {
	var log lockedBuffer
	registry := prometheus.NewRegistry()
	var records []AuditRecord
	config := Config{
		JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t),
		Metrics: registry, Audit: func(record AuditRecord) { records = append(records, record) },
		Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), kinds: withToy(),
	}
	a := startAuthorizer(t, config)

	// Verdicts: the toy's, told to the backend, and all others as ever.
	for _, row := range append(toyRows(), verdictTable()...) {
		method := row.method
		if method == "" {
			method = "GET"
		}
		response := decidedByCheck(t, a, wire["headers"](method, row.headers))
		if row.reason != "" {
			expectDenial(t, response, row.reason)
		} else {
			expectAllowed(t, response, row.want) // x-auth-method too
		}
	}

	// Metrics: a series for each outcome, those that did not come yet at 0.
	counts := map[string]float64{}
	for _, metric := range gather(t, registry)["extauthz_checks_total"].GetMetric() {
		labels := map[string]string{}
		for _, label := range metric.GetLabel() {
			labels[label.GetName()] = label.GetValue()
		}
		if labels["method"] == "toy" {
			counts[labels["outcome"]+" "+labels["reason"]] = metric.GetCounter().GetValue()
		}
	}
	if counts["allow "] != 1 || counts["deny bad_signature"] != 1 {
		t.Errorf("counted %v", counts)
	}
	if never, is := counts["deny expired"]; !is || never != 0 {
		t.Errorf("no series at 0 for a reason that did not come: %v", counts)
	}

	// The log and the audit record name the method.
	if text := log.String(); !strings.Contains(text, `"msg":"allowed","auth_method":"toy","subject":"user-7"`) {
		t.Errorf("the log does not tell of it:\n%.2000s", text)
	}
	if !slices.ContainsFunc(records, func(r AuditRecord) bool { return r.AuthBy == "toy" && r.Subject == "user-7" }) {
		t.Error("no audit record tells of it")
	}

	// An explanation has its steps.
	explain := func(token string) string {
		var steps []string
		for _, step := range a.Explain(t.Context(), Bearer(token)).Steps {
			text := step.Name + " " + step.Found
			if step.Denial != nil {
				text = step.Name + " " + string(step.Denial.Reason())
			}
			steps = append(steps, strings.TrimSpace(text))
		}
		return strings.Join(steps, ", ")
	}
	for token, want := range map[string]string{
		toy("user-7"): "shape a toy, key the shared secret, signature fits, subject user-7",
		strings.Replace(toy("user-7"), "7", "8", 1): "shape a toy, key the shared secret, signature bad_signature, subject",
		"toy:user-7": "shape malformed_credential",
	} {
		if got := explain(token); got != want {
			t.Errorf("explained as %q, want %q", got, want)
		}
	}

	// A route may ask for its method, and not for claims, which it has none of.
	for setting, want := range map[string]Reason{
		"methods=toy": "", "methods=toy, jwks": "", "methods=jwks": ReasonMethodRefused, "methods=toys": ReasonBadRouteSettings,
		"claim.role=admin": ReasonClaimRequired,
	} {
		name, value, _ := strings.Cut(setting, "=")
		in := bearerRequest(toy("user-7"))
		in.Attributes.ContextExtensions = map[string]string{name: value}
		if response := decidedByCheck(t, a, in); want == "" {
			expectAllowed(t, response, Identity{Subject: "user-7", Method: "toy"})
		} else {
			expectDenial(t, response, want)
		}
	}

	// Without its line it is no kind: the text is a session token that nobody has.
	config.kinds, config.Metrics = nil, nil
	plain := startAuthorizer(t, config)
	expectDenial(t, decidedByCheck(t, plain, bearerRequest(toy("user-7"))), ReasonUnknownSession)
	if got := fmt.Sprint(withToy().Methods()); got != "[toy jwks hs256 session]" {
		t.Errorf("methods %s", got)
	}
}

// A kind's methods stand in its own file: no other code asks which kind a credential is of.
func TestKindsAreNamedInTheirFilesAlone(t *testing.T) {
	excepted := map[string]string{
		"internal/issuer/kind.go":     "where the chain is made",
		"internal/observe/issuers.go": "the two uses of a former secret",
		"operator/reasons.go":         "what doctor pretends to be",
	}
	kinds := map[string]string{
		"jwksKind": "internal/issuer/jwks.go", "hs256Kind": "internal/issuer/hs256.go", "sessionKind": "internal/issuer/session.go",
		"identity.MethodJWKS": "internal/issuer/jwks.go", "identity.MethodHS256": "internal/issuer/hs256.go",
		"identity.MethodSession": "internal/issuer/session.go",
	}
	found, needed := map[string]bool{}, map[string]bool{}
	comment := regexp.MustCompile(`(?m)//.*$`)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		code := comment.ReplaceAll(content, nil)
		for name, home := range kinds {
			if !regexp.MustCompile(regexp.QuoteMeta(name) + `\b`).Match(code) {
				continue
			}
			if path == home {
				found[name] = true
				continue
			}
			if excepted[path] == "" {
				t.Errorf("%s names %s, whose place is %s", path, name, home)
			}
			needed[path] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path := range excepted {
		if !needed[path] {
			t.Errorf("%s is excepted and names no kind", path)
		}
	}
	for name, home := range kinds {
		if !found[name] {
			t.Errorf("%s does not name %s", home, name)
		}
	}
}

// Each kind says all that is told of it, and no two have one name.
func TestKindsAreWhole(t *testing.T) {
	seen := map[identity.Method]bool{}
	for _, kind := range withToy() {
		if kind.Method == "" || seen[kind.Method] {
			t.Errorf("a kind has the method %q", kind.Method)
		}
		seen[kind.Method] = true
		if kind.Read == nil || kind.Verifier == nil || kind.Found == nil || !slices.Contains(kind.Steps, reason.StepShape) {
			t.Errorf("%s is not whole: %+v", kind.Method, kind)
		}
		if slices.Contains(kind.Steps, reason.StepClaims) != kind.HasClaims {
			t.Errorf("%s has claims: %t, its steps say otherwise", kind.Method, kind.HasClaims)
		}
	}
}
