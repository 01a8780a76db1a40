package adminpage

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"extauthz/cmd/extauthz/internal/explain"
	"extauthz/cmd/extauthz/internal/naming"
	"extauthz/extauthz"
	"extauthz/extauthz/operator"
)

// explained is the second page.
type explained struct {
	head
	Verdict, Class string
	Steps          []stepRow
}

type stepRow struct{ Name, Class, Outcome, Found, Meaning, Fix string }

// explain judges what the form sent. It says nothing to any log, and shows nothing of the credential that is secret.
func (p *Page) explain(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, MaxForm)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form cannot be read; a credential has 64 KiB at most", http.StatusBadRequest)
		return
	}
	e := &explained{}
	text, err := explain.Text(r.PostForm.Get("credential"), strings.NewReader(""))
	if err != nil {
		e.Verdict, e.Class = "there is no credential", "deny"
		p.render(w, "explain", e)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), explain.Timeout)
	defer cancel()
	explanation := p.authorizer.Explain(ctx, explain.Presented(text, r.PostForm.Get("kind") == "cookie"))
	for _, step := range explanation.Steps {
		e.add(step)
	}
	e.judge(explanation)
	p.render(w, "explain", e)
}

func (e *explained) add(step operator.Step) {
	switch {
	case step.Denial != nil:
		e.Steps = append(e.Steps, stepRow{step.Name, "deny", "fails", naming.Text(step.Denial.Error()),
			naming.Text(step.Denial.Meaning()), naming.Text(step.Denial.Fix())})
	case step.Reached:
		e.Steps = append(e.Steps, stepRow{step.Name, "allow", "ok", step.Found, "", ""})
	default:
		e.Steps = append(e.Steps, stepRow{step.Name, "faint", "not checked", "", "", ""})
	}
}

func (e *explained) judge(explanation extauthz.Explanation) {
	switch denial := explanation.Denial; {
	case denial == nil:
		e.Verdict, e.Class = "allow, as "+explanation.Identity.Subject+" by "+string(explanation.Identity.Method)+ofIssuer(explanation.Issuer), "allow"
	case denial.Status() == http.StatusServiceUnavailable:
		e.Verdict, e.Class = fmt.Sprintf("not checked: %d %s (%s)", denial.Status(), denial.Detail(), denial.Reason()), "down"
	default:
		e.Verdict, e.Class = fmt.Sprintf("deny: %d %s (%s)", denial.Status(), denial.Detail(), denial.Reason()), "deny"
	}
}

// ofIssuer names the issuer that a credential is of, where there are several.
func ofIssuer(name string) string {
	if name == "" {
		return ""
	}
	return ", of issuer " + name
}
