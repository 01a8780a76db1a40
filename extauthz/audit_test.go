package extauthz

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/observe"
	"extauthz/extauthz/internal/reason"
)

// Every row of the verdict table is recorded as it was decided, and no record holds a credential or a query.
func TestAuditRecords(t *testing.T) {
	var records []AuditRecord
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t),
		Audit: func(record AuditRecord) { records = append(records, record) }})
	for _, row := range verdictTable() {
		for range 2 { // new, and remembered
			in := wire["headers"](row.method, row.headers)
			in.Attributes.Request.Http.Path = "/api/notes?token=in-the-query"
			records = nil
			if _, err := a.Check(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			if len(records) != 1 {
				t.Fatalf("%s/%s: %d records", row.reason, row.title, len(records))
			}
			got := records[0]
			if got.Version != observe.RecordVersion || got.Reason != row.reason || got.Rate != 1 || got.Path != "/api/notes" || time.Since(got.Time) > time.Minute || got.Duration < 0 {
				t.Errorf("%s/%s: %+v", row.reason, row.title, got)
			}
			if row.reason == "" && (got.Outcome != decision.Allow || got.Status != 200 || got.Subject != row.want.Subject || got.AuthBy != row.want.Method) {
				t.Errorf("%s: %+v", row.title, got)
			}
			if row.reason != "" && (got.Outcome != decision.Deny || got.Status != reason.FactOf(row.reason).Status) {
				t.Errorf("%s/%s: %+v", row.reason, row.title, got)
			}
			line, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			secrets := []string{"in-the-query"}
			for _, h := range row.headers {
				secrets = append(secrets, credentialsIn(h.value)...)
			}
			for _, secret := range secrets {
				if strings.Contains(string(line), secret) {
					t.Errorf("%s/%s: the record holds %q: %s", row.reason, row.title, secret, line)
				}
			}
		}
	}
}

// Of allows the given share is recorded, of denials all.
func TestAuditRate(t *testing.T) {
	for _, rate := range []float64{-1, 0.25, 1} {
		var allowed, denied int
		a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, AuditAllowRate: rate, Audit: func(record AuditRecord) {
			if record.Outcome == decision.Allow {
				allowed++
				if record.Rate != rate {
					t.Errorf("the record says %v, want %v", record.Rate, rate)
				}
			} else {
				denied++
			}
		}})
		good := signers()["ed"].issue(goodClaims(nil))
		const checks = 4000
		for range checks {
			checkToken(t, a, good)
			checkToken(t, a, "no.token")
		}
		// Ten standard deviations on either side.
		if want := max(rate, 0) * checks; denied != checks || float64(allowed) < want-280 || float64(allowed) > want+280 || (rate != 0.25 && float64(allowed) != want) {
			t.Errorf("rate %v: %d of %d allows and %d denials recorded", rate, allowed, checks, denied)
		}
	}
}

var auditMeanings = map[string]string{
	"version":     "of this form: grows when a field changes its meaning or goes; a new field does not change it",
	"time":        "when it was decided, UTC (RFC 3339)",
	"outcome":     "`allow`, `deny` or `unavailable`",
	"status":      "of the answer; 200 when allowed",
	"reason":      "of a denial; see [reasons.md](reasons.md)",
	"shadow":      "true where shadow mode allowed it all the same",
	"auth_method": "how the credential was judged: `jwks`, `hs256` or `session`; absent when there was none to judge",
	"subject":     "the user's id, as far as it was proven",
	"issuer":      "the name of the issuer whose credential it is, where there are several ([issuers.md](issuers.md))",
	"method":      "of the request",
	"host":        "of the request, at most 256 bytes, as `path` and `request_id`",
	"path":        "without its query, where people put secrets",
	"request_id":  "`x-request-id`, which Envoy's access log has, too",
	"client":      "the downstream's address",
	"duration_us": "what the check took, in microseconds",
	"rate":        "the share of such decisions that is recorded: 1, or `EXTAUTHZ_AUDIT_ALLOW_RATE` for an allow; divide by it to count",
}

func TestAuditPage(t *testing.T) {
	var page strings.Builder
	fmt.Fprintf(&page, `# The audit log

With `+"`EXTAUTHZ_AUDIT_LOG`"+` each decision is one line of JSON, to standard output (`+"`stdout`"+`) or to a file, which SIGHUP opens anew (logrotate without copytruncate).
Refused requests are all there, allowed ones by `+"`EXTAUTHZ_AUDIT_ALLOW_RATE`"+`. It never holds a credential. No check waits for it: up to 16,384 records
(8 MiB) wait for a slow disk. Further ones, and those that could not be written for five seconds, are dropped, counted (`+"`extauthz_audit_dropped_total`"+`) and logged. A disk that hangs is
logged after two seconds; SIGHUP then goes on in the path's file as it is by then, without losing a record. Lines are written once a second, and before an orderly end. The file may be a FIFO: its reader may come and
go. A line that a full disk or a crash cut short stays as it is; the next line begins on a line of its own, and a record that this process could not finish is written again whole.

The form is version %d. This page is generated from the code by `+"`UPDATE_DOCS=1 go test -run TestAuditPage ./extauthz`"+`.

| field | type | meaning |
|---|---|---|
`, observe.RecordVersion)
	record := reflect.TypeFor[AuditRecord]()
	for i := range record.NumField() {
		name, options, _ := strings.Cut(record.Field(i).Tag.Get("json"), ",")
		kind := record.Field(i).Type.Kind()
		typ := map[reflect.Kind]string{reflect.String: "string", reflect.Struct: "string", reflect.Bool: "boolean"}[kind]
		if typ == "" {
			typ = "number"
		}
		if options == "omitzero" {
			typ += ", may be absent"
		}
		if auditMeanings[name] == "" {
			t.Errorf("what is %q?", name)
		}
		fmt.Fprintf(&page, "| `%s` | %s | %s |\n", name, typ, auditMeanings[name])
	}
	checkPage(t, "../docs/audit.md", "TestAuditPage", page.String())
}
