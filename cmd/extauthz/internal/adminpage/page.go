// Package adminpage is the page on the admin listener that shows the last hour and explains credentials, without a
// script and without anything from elsewhere. It imports readiness, explain and naming, and does not know what is
// served beside it.
package adminpage

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/cmd/extauthz/internal/naming"
	"extauthz/cmd/extauthz/internal/readiness"
	"extauthz/extauthz"
	"extauthz/extauthz/operator"
)

//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"prose": prose}).Parse(pageSource))

// prose makes HTML of the reason table's words, where names stand between backticks.
func prose(text string) template.HTML {
	var made strings.Builder
	for i, piece := range strings.Split(text, "`") {
		escaped := template.HTMLEscapeString(piece)
		if i%2 == 1 {
			escaped = "<code>" + escaped + "</code>"
		}
		made.WriteString(escaped)
	}
	return template.HTML(made.String())
}

// Page is the admin page: what was decided in the last hour and how the parts are, and a form that explains a
// credential. It needs no script and nothing from elsewhere.
type Page struct {
	authorizer *extauthz.Authorizer
	history    *history
	readiness  *readiness.Readiness
	shadow     bool
}

// New makes the page of a server whose metrics the gatherer has. shadow tells whether every request is allowed.
func New(authorizer *extauthz.Authorizer, gatherer prometheus.Gatherer, ready *readiness.Readiness, shadow bool) *Page {
	return &Page{authorizer: authorizer, history: newHistory(gatherer), readiness: ready, shadow: shadow}
}

// Run keeps the history until ctx ends.
func (p *Page) Run(ctx context.Context) { p.history.run(ctx) }

// head is what every page begins with.
type head struct {
	Title, Version, Nonce string
}

// MaxForm bounds what the form may send: a credential of 64 KiB, percent-encoded.
const MaxForm = 256 << 10

// Handler serves the pages, to who opened them by an address or as localhost: a page elsewhere whose host name was
// turned to this machine's address (DNS rebinding) gets nothing, and its forms neither.
func (p *Page) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.overview)
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /explain", func(w http.ResponseWriter, r *http.Request) { p.render(w, "explain", &explained{}) })
	mux.HandleFunc("POST /explain", p.explain)
	sameOrigin := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isDirectHost(r.Host) {
			http.Error(w, "open this page by an IP address or as localhost, for instance through kubectl port-forward", http.StatusMisdirectedRequest)
			return
		}
		sameOrigin.ServeHTTP(w, r)
	})
}

func isDirectHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || host == "localhost"
}

// titled lets render fill in the head of any page.
type titled interface{ setHead(head) }

func (h *head) setHead(to head) { *h = to }

func (p *Page) render(w http.ResponseWriter, name string, data titled) {
	nonce := rand.Text()
	data.setHead(head{"extauthz: " + name, operator.Version, nonce})
	var body bytes.Buffer
	if err := pageTemplate.ExecuteTemplate(&body, name, data); err != nil {
		http.Error(w, "the page cannot be rendered: "+err.Error(), http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+nonce+"'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	w.Write(body.Bytes())
}

// overview is the first page.
type overview struct {
	head
	Shadow            bool
	Ready             bool
	Missing, From, To string
	Peak              string
	Bars              []bar
	Outcomes, Methods []counted
	Reasons           []reasoned
	Durations         []lasted
	Parts             []part
	Issuers           []issuerRow // where there are several
	KeySets           []keySet
}

type bar struct {
	X, Y, Width, Height float64
	Class, Title        string
}

type counted struct{ Class, Name, Count, Share string }

type reasoned struct {
	operator.Fact
	Count string
}

type lasted struct{ Name, Count, Mean, Half, Most string }

type part struct{ Name, Class, State, Since, Figures string }

type issuerRow struct{ Name, Allowed, Denied, Unavailable string }

// keySet is the keys of one issuer; Issuer is empty where there is one.
type keySet struct {
	Issuer string
	Keys   []keyRow
}

type keyRow struct {
	operator.Key
	Age string
}

const timeForm = "2006-01-02 15:04:05"

func (p *Page) overview(w http.ResponseWriter, _ *http.Request) {
	now := time.Now()
	hour := p.history.window(now)
	ready, missing := p.readiness.Look()
	o := &overview{
		Shadow: p.shadow, Ready: ready, Missing: strings.Join(missing, ", "),
		From: hour.from.at.UTC().Format(timeForm), To: now.UTC().Format(timeForm),
	}
	o.draw(hour.minutes)
	o.count(&hour)
	o.time(&hour)
	for _, dependency := range p.authorizer.Parts() {
		row := part{Name: dependency.Name, Class: "allow", State: "ok", Since: dependency.Since.UTC().Format(timeForm),
			Figures: figuresOf(dependency.Name, cmp.Or(dependency.Issuer, defaultIssuer), hour.to.gauges)}
		if dependency.Issuer != "" {
			row.Name += " of " + dependency.Issuer
		}
		if !dependency.OK {
			row.Class, row.State = "down", "failing: "+naming.Text(dependency.Fault)
			if dependency.Fault == "" {
				row.State = "no answer yet"
			}
		}
		o.Parts = append(o.Parts, row)
	}
	gauges := hour.to.gauges
	hits, misses := gauges["extauthz_remembered_lookups_total hit"], gauges["extauthz_remembered_lookups_total miss"]
	o.Parts = append(o.Parts, part{Name: "memory of JWTs", Figures: fmt.Sprintf("tokens: %.0f, %.1f MiB; hit rate: %s",
		gauges["extauthz_remembered_tokens"], gauges["extauthz_remembered_bytes"]/(1<<20), percent(hits, hits+misses))})
	for _, listed := range p.authorizer.Operator().KeySets() {
		set := keySet{Issuer: listed.Issuer}
		for _, key := range listed.Keys {
			set.Keys = append(set.Keys, keyRow{key, now.Sub(key.Since).Round(time.Second).String()})
		}
		o.KeySets = append(o.KeySets, set)
		if listed.Issuer != "" {
			count := func(outcome string) string {
				name := "extauthz_issuer_checks_total " + listed.Issuer + " " + outcome
				return fmt.Sprintf("%.0f", hour.to.gauges[name]-hour.from.gauges[name])
			}
			o.Issuers = append(o.Issuers,
				issuerRow{listed.Issuer, count("allow"), count("deny"), count("unavailable")})
		}
	}
	p.render(w, "overview", o)
}

// defaultIssuer is the label of what is counted where there is one issuer.
const defaultIssuer = "default"

func figuresOf(name, issuer string, all map[string]float64) string {
	gauges := map[string]float64{}
	for name, value := range all {
		if name, ok := strings.CutSuffix(name, " "+issuer); ok {
			gauges[name] = value
		}
	}
	switch name {
	case "jwks":
		if gauges["extauthz_jwks_age_seconds"] < 0 {
			return "never fetched"
		}
		return fmt.Sprintf("usable keys: %.0f, fetched %.0f s ago", gauges["extauthz_jwks_keys"], gauges["extauthz_jwks_age_seconds"])
	case "redis":
		return fmt.Sprintf("connections: %.0f, busy: %.0f; checks that wait: %.0f", gauges["extauthz_redis_connections"],
			gauges["extauthz_redis_connections_busy"], gauges["extauthz_redis_waiting_checks"])
	case "database":
		return fmt.Sprintf("connections: %.0f, busy: %.0f; waiting checks: %.0f", gauges["extauthz_database_connections"],
			gauges["extauthz_database_connections_busy"], gauges["extauthz_database_waiting_checks"])
	}
	return ""
}

// draw makes a stacked bar a minute.
func (o *overview) draw(minutes []minute) {
	const width, height = 720.0, 120.0
	peak := 0.0
	for _, m := range minutes {
		peak = max(peak, m.allow+m.deny+m.unavailable)
	}
	switch peak {
	case 0:
		o.Peak = "no check yet"
	case 1:
		o.Peak = "maximum 1 check"
	default:
		o.Peak = fmt.Sprintf("maximum %.0f checks", peak)
	}
	step := width / (historySteps + 1)
	for i, m := range minutes {
		x, y := float64(i+historySteps+1-len(minutes))*step, height
		for _, layer := range []struct {
			class string
			count float64
		}{{"allow", m.allow}, {"deny", m.deny}, {"down", m.unavailable}} {
			if layer.count == 0 {
				continue
			}
			tall := max(layer.count/peak*height, 1)
			y -= tall
			o.Bars = append(o.Bars, bar{round(x), round(y), round(step - 1), round(tall), layer.class,
				fmt.Sprintf("%s UTC: %.0f allowed, %.0f refused, %.0f not checked", m.start.UTC().Format("15:04"), m.allow, m.deny, m.unavailable)})
		}
	}
}

func round(v float64) float64 { return math.Round(v*100) / 100 }

// count adds up outcomes, methods and reasons.
func (o *overview) count(hour *window) {
	outcomes, methods, reasons, all := map[string]float64{}, map[string]float64{}, map[string]float64{}, 0.0
	for s, count := range hour.to.checks {
		count -= hour.from.checks[s]
		outcomes[s.outcome] += count
		all += count
		if s.outcome == "allow" {
			methods[s.method] += count
		} else {
			reasons[s.reason] += count
		}
	}
	for _, row := range []struct{ class, outcome, name string }{{"allow", "allow", "allowed"}, {"deny", "deny", "refused"}, {"down", "unavailable", "not checked (503)"}} {
		o.Outcomes = append(o.Outcomes, counted{row.class, row.name, fmt.Sprintf("%.0f", outcomes[row.outcome]), percent(outcomes[row.outcome], all)})
	}
	for _, name := range slices.Sorted(maps.Keys(methods)) {
		if methods[name] > 0 {
			o.Methods = append(o.Methods, counted{Name: name, Count: fmt.Sprintf("%.0f", methods[name])})
		}
	}
	for _, fact := range operator.Facts() {
		if count := reasons[string(fact.Reason)]; count > 0 {
			fact.Meaning, fact.Fix = naming.Text(fact.Meaning), naming.Text(fact.Fix)
			o.Reasons = append(o.Reasons, reasoned{fact, fmt.Sprintf("%.0f", count)})
		}
	}
	slices.SortStableFunc(o.Reasons, func(a, b reasoned) int {
		return int(math.Copysign(1, reasons[string(b.Reason)]-reasons[string(a.Reason)]))
	})
}

func percent(part, whole float64) string {
	if whole == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*part/whole)
}

// time lists the slowest part first.
func (o *overview) time(hour *window) {
	since := map[string]distribution{}
	for name, d := range hour.to.durations {
		if d = d.minus(hour.from.durations[name]); d.count > 0 {
			since[name] = d
		}
	}
	names := slices.SortedFunc(maps.Keys(since), func(a, b string) int {
		slower := since[b].below(0.99) - since[a].below(0.99)
		if slower == 0 || math.IsNaN(slower) {
			return strings.Compare(a, b)
		}
		return int(math.Copysign(1, slower))
	})
	for _, name := range names {
		d := since[name]
		o.Durations = append(o.Durations, lasted{name, fmt.Sprintf("%.0f", d.count), seconds(d.sum / d.count), seconds(d.below(0.5)), seconds(d.below(0.99))})
	}
}

func seconds(value float64) string {
	switch {
	case math.IsInf(value, 1):
		return "more"
	case value < 1:
		return fmt.Sprintf("%.3g ms", value*1e3)
	}
	return fmt.Sprintf("%.3g s", value)
}
