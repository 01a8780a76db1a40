package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// series is one line of a plot.
type series struct {
	name   string
	values []float64 // one for each of the plot's positions
}

// plot is a line chart as SVG: a logarithmic axis to the right, a linear one from zero upwards. It brings its
// own background for light and for dark, so that it can be read wherever it is shown.
type plot struct {
	file, title, unit string
	axis              string // what the positions are
	labels            []string
	lines             []series
	more              []*plot // other figures of the same measurement, for the table only
}

const (
	plotWidth, plotHeight = 720, 320
	plotLeft, plotRight   = 64, 24
	plotTop, plotBottom   = 56, 48
)

// The colours keep a contrast of 4.5 and more against their background, and the lines differ in their
// markers too.
const plotStyle = `<style>
svg { font: 13px system-ui, sans-serif }
.ground { fill: #ffffff } .text { fill: #1f2328 } .faint { fill: #59636e } .grid { stroke: #d1d9e0 }
.c0 { stroke: #0550ae; fill: #0550ae } .c1 { stroke: #a04100; fill: #a04100 } .c2 { stroke: #116329; fill: #116329 }
@media (prefers-color-scheme: dark) {
.ground { fill: #0d1117 } .text { fill: #f0f6fc } .faint { fill: #9198a1 } .grid { stroke: #3d444d }
.c0 { stroke: #79c0ff; fill: #79c0ff } .c1 { stroke: #ffa657; fill: #ffa657 } .c2 { stroke: #7ee787; fill: #7ee787 }
}
.line { fill: none; stroke-width: 2 } .label { stroke: none }
</style>`

func (p *plot) svg() string {
	top := 0.0
	for _, line := range p.lines {
		for _, value := range line.values {
			top = max(top, value)
		}
	}
	step := niceStep(top / 4)
	top = math.Ceil(top/step) * step
	x := func(i int) float64 {
		return plotLeft + float64(i)*float64(plotWidth-plotLeft-plotRight)/float64(max(1, len(p.labels)-1))
	}
	y := func(value float64) float64 {
		return plotHeight - plotBottom - value/top*float64(plotHeight-plotBottom-plotTop)
	}
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s, %s">`+"\n%s\n", plotWidth, plotHeight, p.title, p.unit, plotStyle)
	fmt.Fprintf(&out, `<rect class="ground" width="%d" height="%d"/>`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&out, `<text class="text" x="%d" y="20" font-weight="600">%s</text><text class="faint" x="%d" y="40">%s</text>`+"\n", plotLeft, p.title, plotLeft, p.unit)
	for value := 0.0; value <= top+step/2; value += step {
		fmt.Fprintf(&out, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text class="faint" x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			plotLeft, plotWidth-plotRight, y(value), y(value), plotLeft-8, y(value)+4, thousands(value))
	}
	for i, label := range p.labels {
		fmt.Fprintf(&out, `<text class="faint" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(i),
			plotHeight-plotBottom+18, label)
	}
	fmt.Fprintf(&out, `<text class="faint" x="%d" y="%d" text-anchor="middle">%s</text>`+"\n",
		(plotWidth+plotLeft-plotRight)/2, plotHeight-8, p.axis)
	for n, line := range p.lines {
		var points []string
		for i, value := range line.values {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(i), y(value)))
			fmt.Fprintln(&out, marker(n, x(i), y(value)))
		}
		fmt.Fprintf(&out, `<polyline class="line c%d" style="fill:none" points="%s"/>`+"\n", n, strings.Join(points, " "))
		at := float64(plotWidth - plotRight - 170*(len(p.lines)-n))
		fmt.Fprintf(&out, `%s<text class="text" x="%.0f" y="40">%s</text>`+"\n", marker(n, at, 36), at+10, line.name)
	}
	out.WriteString("</svg>\n")
	return out.String()
}

func marker(n int, x, y float64) string {
	switch n {
	case 0:
		return fmt.Sprintf(`<circle class="c0" cx="%.1f" cy="%.1f" r="4"/>`, x, y)
	case 1:
		return fmt.Sprintf(`<rect class="c1" x="%.1f" y="%.1f" width="8" height="8"/>`, x-4, y-4)
	}
	return fmt.Sprintf(`<path class="c2" d="M%.1f %.1f l5 8 h-10 z"/>`, x, y-5)
}

// niceStep is the next of 1, 2, 5 × 10ⁿ.
func niceStep(least float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, factor := range []float64{1, 2, 5} {
		if factor*power >= least {
			return factor * power
		}
	}
	return 10 * power
}

// thousands writes a figure with a comma every three digits.
func thousands(value float64) string {
	if value != math.Trunc(value) {
		return fmt.Sprintf("%.1f", value)
	}
	text := fmt.Sprintf("%.0f", value)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// table is the same figures to be read and copied.
func (p *plot) table() string {
	var out strings.Builder
	fmt.Fprintf(&out, "| %s |", p.axis)
	for _, label := range p.labels {
		fmt.Fprintf(&out, " %s |", label)
	}
	out.WriteString("\n|---|" + strings.Repeat("---|", len(p.labels)) + "\n")
	for _, p := range append([]*plot{p}, p.more...) {
		for _, line := range p.lines {
			fmt.Fprintf(&out, "| %s, %s |", line.name, p.unit)
			for _, value := range line.values {
				if value < 1000 {
					fmt.Fprintf(&out, " %.1f |", value)
				} else {
					fmt.Fprintf(&out, " %s |", thousands(math.Round(value)))
				}
			}
			out.WriteString("\n")
		}
	}
	return out.String()
}

func (p *plot) write(docs string) error {
	return os.WriteFile(filepath.Join(docs, p.file), []byte(p.svg()), 0o644)
}
