package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/template"
	"time"
)

// faultRow is what a fault came to.
type faultRow struct {
	name               string
	checks             int
	allowedDuring      int           // valid credentials that were allowed while it lasted
	unavailable        int           // valid credentials that were answered with 503, in all
	slowest            time.Duration // of all checks
	recovered          time.Duration // from the fault's end to the last 503
	goroutines, memory float64       // more than before; MiB
	wrong              []string
}

// floodRow is what a flood came to.
type floodRow struct {
	name             string
	sent             int
	good, alone      float64 // good checks a second, in the flood and before it
	fair             float64 // the share that is theirs by their number
	slowest          time.Duration
	fetches, queries float64 // a second
	shed             float64 // share of the flood that was answered with 503
	memory           float64 // MiB resident, at most
	wrong            []string
}

type report struct {
	rows   []faultRow
	floods []floodRow
	faults []string // what must not be
}

func (r *report) add(row faultRow) {
	r.rows = append(r.rows, row)
	fmt.Printf("%-46s %6d checks, slowest %4d ms, valid ones allowed meanwhile %5d, answered with 503 %5d, "+
		"well after %4d ms, goroutines %+.0f, memory %+.0f MiB\n",
		row.name, row.checks, row.slowest.Milliseconds(), row.allowedDuring, row.unavailable,
		max(row.recovered, 0).Milliseconds(), row.goroutines, row.memory)
	r.note(row.name, row.wrong)
}

func (r *report) addFlood(row floodRow) {
	r.floods = append(r.floods, row)
	fmt.Printf("%-46s %7d sent, good ones %.0f/s of %.0f/s alone (%.2f of their share), slowest good one %d ms, shed %.0f %%, %.1f fetches/s, %.0f queries/s, %.0f MiB\n",
		row.name, row.sent, row.good, row.alone, row.share(), row.slowest.Milliseconds(), 100*row.shed, row.fetches,
		row.queries, row.memory)
	r.note(row.name, row.wrong)
}

// share is how much of what is theirs by their number the good checks kept.
func (f *floodRow) share() float64 { return f.good / (f.alone * f.fair) }

func (r *report) note(name string, wrong []string) {
	for _, what := range wrong {
		fmt.Println("  WRONG:", what)
		r.faults = append(r.faults, name+": "+what)
	}
}

//go:embed reliability.md.tmpl
var pageSource string

// soakHeading begins the part of the page that is not made by write, but pasted from `make soak`.
const soakHeading = "\n## Soak\n"

// write makes docs/reliability.md of what was measured, and keeps the soak's part.
func (r *report) write(root string) error {
	var faults, floods strings.Builder
	for _, row := range r.rows {
		fmt.Fprintf(&faults, "| %s | %d | %d | %d | %d ms | %s |\n", row.name, row.checks, row.allowedDuring, row.unavailable,
			row.slowest.Milliseconds(), after(row))
	}
	for _, row := range r.floods {
		fmt.Fprintf(&floods, "| %s | %d | %.2f | %d ms | %.0f %% | %.1f | %.0f | %.0f MiB |\n", row.name, row.sent,
			row.share(), row.slowest.Milliseconds(), 100*row.shed, row.fetches, row.queries, row.memory)
	}
	var page bytes.Buffer
	err := template.Must(template.New("page").Parse(pageSource)).Execute(&page, map[string]any{
		"Faults": faults.String(), "Floods": floods.String(), "Cores": runtime.NumCPU(), "Go": runtime.Version(),
		"Date": time.Now().UTC().Format(time.DateOnly),
	})
	if err != nil {
		return err
	}
	path := filepath.Join(root, "docs", "reliability.md")
	earlier, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if i := bytes.Index(earlier, []byte(soakHeading)); i >= 0 {
		page.Write(earlier[i:])
	}
	return os.WriteFile(path, page.Bytes(), 0o644)
}

func after(row faultRow) string {
	if row.unavailable == 0 {
		return "–"
	}
	return fmt.Sprintf("%d ms", max(row.recovered, 0).Milliseconds())
}
