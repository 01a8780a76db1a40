package main

import (
	_ "embed"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/template"

	"extauthz/envoy/parts"
)

//go:embed performance.md.tmpl
var performancePage string

//go:embed capacity.md.tmpl
var capacityPage string

// report writes docs/performance.md with its plots, and docs/capacity.md, which reckons with the same figures.
func (b *bench) report() error {
	docs := filepath.Join(b.installer.Root(), "docs")
	for _, p := range b.plots {
		if err := p.write(docs); err != nil {
			return err
		}
	}
	page := &pageData{
		Cores: runtime.NumCPU(), Processor: processorName(), Go: runtime.Version(), Envoy: parts.EnvoyNewest, OPA: opaVersion,
		Rows: b.rows, Plots: b.plots, ratios: b.ratios, costs: b.costs,
	}
	for name, text := range map[string]string{"performance.md": performancePage, "capacity.md": capacityPage} {
		var out strings.Builder
		if err := template.Must(template.New(name).Parse(text)).Execute(&out, page); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(docs, name), []byte(out.String()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// processorName is what Linux calls it.
func processorName() string {
	content, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(content)) {
		if name, found := strings.CutPrefix(line, "model name"); found {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return "unknown processor"
}

// pageData is what the pages' templates are filled from.
type pageData struct {
	Cores                     int
	Processor, Go, Envoy, OPA string
	Rows                      []row
	Plots                     []*plot
	ratios                    map[string]float64
	costs                     costs
}

// What, Figure and Bound are a row's columns.
func (r row) What() string   { return r.what }
func (r row) Figure() string { return r.figure }
func (r row) Bound() string  { return r.bound }

func (p *plot) Title() string { return p.title }
func (p *plot) File() string  { return p.file }
func (p *plot) Table() string { return p.table() }

// Ratio is one of the ratios measured, by its key.
func (d *pageData) Ratio(key string) (string, error) {
	value, ok := d.ratios[key]
	if !ok {
		return "", fmt.Errorf("no ratio %q was measured", key)
	}
	if value >= 10 {
		return fmt.Sprintf("%.0f", value), nil
	}
	return fmt.Sprintf("%.2f", value), nil
}

func (d *pageData) JWT() string     { return fmt.Sprintf("%.0f", d.costs.jwt.microseconds()) }
func (d *pageData) Session() string { return fmt.Sprintf("%.0f", d.costs.session.microseconds()) }
func (d *pageData) SessionDatabase() string {
	return fmt.Sprintf("%.0f", d.costs.session.databaseMicroseconds())
}
func (d *pageData) EnvoyExtra() string { return fmt.Sprintf("%.0f", d.costs.envoy) }
func (d *pageData) Token() string      { return thousands(float64(d.costs.token)) }

// The capacity table's assumptions.
const (
	coresAtWork     = 0.6 // of each core, so that a burst finds room
	coresPerReplica = 2
	replicaSpare    = 1.5  // so that a third of the replicas may be lost
	sessionShare    = 0.1  // in the mixed row
	connections4    = 4    // EXTAUTHZ_DATABASE_CONNECTIONS' default
	oneServer       = 64.0 // cores of a large PostgreSQL
)

// load is one column of the capacity table.
type load struct {
	rate float64
	d    *pageData
}

func (d *pageData) Loads() []load { return []load{{1e3, d}, {1e5, d}, {1e7, d}} }

func (l load) Rate() string { return thousands(l.rate) }

func (l load) cores(microseconds float64) float64 { return l.rate * microseconds / 1e6 / coresAtWork }

func (l load) JWT() string     { return showCores(l.cores(l.d.costs.jwt.microseconds())) }
func (l load) Session() string { return showCores(l.cores(l.d.costs.session.microseconds())) }
func (l load) Envoy() string   { return showCores(l.cores(l.d.costs.envoy)) }

func (l load) mixed() float64 {
	return l.cores(l.d.costs.jwt.microseconds()*(1-sessionShare) + l.d.costs.session.microseconds()*sessionShare)
}

func (l load) Mixed() string { return showCores(l.mixed()) }

func (l load) replicas() float64 {
	return max(2, math.Ceil(l.mixed()/coresPerReplica*replicaSpare))
}

func (l load) Replicas() string    { return thousands(l.replicas()) }
func (l load) Connections() string { return thousands(l.replicas() * connections4) }

func (l load) database(share float64) string {
	cores := l.cores(l.d.costs.session.databaseMicroseconds() * share)
	if cores > oneServer {
		return showCores(cores) + " (more than one server)"
	}
	return showCores(cores)
}

func (l load) Database() string      { return l.database(sessionShare) }
func (l load) DatabaseWhole() string { return l.database(1) }

// showCores rounds up to what one would order.
func showCores(cores float64) string {
	if cores < 1 {
		return fmt.Sprintf("%.2f", cores)
	}
	return thousands(math.Ceil(cores))
}
