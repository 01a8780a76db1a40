package observe

import (
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
	"extauthz/extauthz/internal/show"
)

// RecordVersion is the version of [Record]'s form. It grows when a field changes its meaning or goes; a new field does
// not change it.
const RecordVersion = 1

// Record is one decision, for who must tell later who was let in and who was not. It holds no credential, and of the
// path no query.
type Record struct {
	Version   int             `json:"version"`
	Time      time.Time       `json:"time"`                 // when it was decided, UTC
	Outcome   string          `json:"outcome"`              // allow, deny or unavailable
	Status    int             `json:"status"`               // of the answer; 200 when allowed
	Reason    reason.Reason   `json:"reason,omitzero"`      // of a denial
	Shadow    bool            `json:"shadow,omitzero"`      // decided so, but allowed
	AuthBy    identity.Method `json:"auth_method,omitzero"` // how the credential was judged
	Issuer    string          `json:"issuer,omitzero"`      // whose the credential is, where there are several
	Subject   string          `json:"subject,omitzero"`     // the user's id, as far as it was proven
	Method    string          `json:"method,omitzero"`      // of the request
	Host      string          `json:"host,omitzero"`
	Path      string          `json:"path,omitzero"`
	RequestID string          `json:"request_id,omitzero"`
	Client    string          `json:"client,omitzero"` // the downstream's address
	Duration  int64           `json:"duration_us"`     // microseconds
	// the share of such decisions that are recorded: 1, or that of allows
	Rate float64 `json:"rate"`
}

// Audit hands decisions over. A record that is lost by a panic makes an allow a refusal: nobody passes without the
// record that was asked for. A line of the log or a span that is lost changes no answer.
type Audit struct {
	Record    func(Record) // nil when nobody wants them
	AllowRate float64
	Panics    *guard.Panics
	Shadowed  bool // what is refused is allowed all the same
}

// Write hands over a denial always, an allow by the rate.
func (a *Audit) Write(r *request.Request, d *decision.Decision, took time.Duration) {
	if a.Record == nil {
		return
	}
	defer func() {
		if fault := recover(); fault != nil {
			a.Panics.Report(guard.InAudit, fault)
			if d.Denial == nil {
				d.Denial = reason.Unavailable(reason.InternalError, errors.New("the audit function panicked"))
			}
		}
	}()
	record := Record{Version: RecordVersion, Status: 200, Rate: 1}
	if d.Denial == nil {
		if a.AllowRate < 1 && rand.Float64() >= a.AllowRate {
			return
		}
		record.Rate = a.AllowRate
	} else {
		record.Status, record.Reason = d.Denial.Status(), d.Denial.Reason()
	}
	record.Time, record.Outcome, record.AuthBy = time.Now().UTC(), d.Outcome(), d.Method
	record.Issuer = d.Issuer.Called()
	record.Shadow = a.Shadowed && d.Denial != nil
	record.Duration = took.Microseconds()
	// The record outlives the check, whose texts are gone then.
	record.Subject = checkwire.Detach(d.Who().Subject)
	record.Method, record.Host, record.Path = keep(r.Method), keep(r.Host), keep(withoutQuery(r.Path))
	record.RequestID, record.Client = keep(r.RequestID), keep(r.Client)
	a.Record(record)
}

func keep(value string) string { return checkwire.Detach(show.Clip(value)) }

// withoutQuery leaves out of a path what people put secrets in.
func withoutQuery(path string) string {
	path, _, _ = strings.Cut(path, "?")
	path, _, _ = strings.Cut(path, "#")
	return path
}
