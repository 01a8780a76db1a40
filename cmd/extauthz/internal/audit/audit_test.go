package audit

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/cmd/extauthz/internal/commandtest"
	"extauthz/cmd/extauthz/internal/lines"
	"extauthz/extauthz"
)

// stuck is a disk that does not come back until it is let go.
type stuck struct{ release chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	<-s.release
	return len(p), nil
}

// A disk that does not come back holds nobody up: what finds no room is dropped and counted. The log says that the
// disk hangs while it does, and afterwards how much was lost.
func TestAuditWaitsForNoDisk(t *testing.T) {
	disk := stuck{make(chan struct{})}
	var messages commandtest.Buffer
	registry := prometheus.NewRegistry()
	a, err := New("", lines.NewFile(disk), slog.New(slog.NewTextHandler(&messages, nil)), registry)
	if err != nil {
		t.Fatal(err)
	}
	const records = 3 * room
	for range records {
		a.Record(extauthz.AuditRecord{Path: strings.Repeat("p", 200)}) // returns, or the test does not end
	}
	if dropped := droppedOf(t, registry); dropped != records-room {
		t.Errorf("%v of %d dropped, with room for %d", dropped, records, room)
	}
	commandtest.Eventually(t, "the log to tell of the disk", func() bool { return strings.Contains(messages.String(), "does not respond") })
	close(disk.release)
	commandtest.Eventually(t, "the log to tell of the loss", func() bool {
		return strings.Contains(messages.String(), fmt.Sprintf(`msg="audit records were dropped" count=%d`, records-room)) &&
			strings.Contains(messages.String(), "responds again")
	})
	a.Close()
	if dropped := droppedOf(t, registry); dropped != records-room {
		t.Errorf("%v dropped in the end", dropped)
	}
}

// droppedOf is extauthz_audit_dropped_total.
func droppedOf(t *testing.T, registry *prometheus.Registry) int {
	t.Helper()
	families, err := registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatal(families, err)
	}
	return int(families[0].Metric[0].GetCounter().GetValue())
}

// A full disk loses records, which is counted and told, and nothing else; a path that cannot be written stops the start.
func TestAuditOnAFullDisk(t *testing.T) {
	t.Parallel()
	var messages commandtest.Buffer
	registry := prometheus.NewRegistry()
	a, err := New("/dev/full", nil, slog.New(slog.NewTextHandler(&messages, nil)), registry)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		a.Record(extauthz.AuditRecord{})
	}
	commandtest.Eventually(t, "ten dropped", func() bool { return droppedOf(t, registry) == 10 })
	commandtest.Eventually(t, "the log to tell", func() bool { return strings.Contains(messages.String(), `msg="audit records were dropped" count=10`) })
	a.Record(extauthz.AuditRecord{})
	a.Close()
	if !strings.Contains(messages.String(), "no space left on device") || droppedOf(t, registry) != 11 {
		t.Errorf("%d dropped; the log: %s", droppedOf(t, registry), messages.String())
	}
	if _, err := New("/no/such/folder/audit.log", nil, nil, prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), "EXTAUTHZ_AUDIT_LOG names a file that cannot be written") {
		t.Errorf("%v", err)
	}
}
