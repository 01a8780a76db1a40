// Package doctor finds out what is wrong with a deployment: its settings, a credential, and a request through Envoy.
// What concerns Envoy's configuration and the backend have rooms of their own below. It imports settings, sources,
// naming, discreet, explain and backend, and does not know what was asked for.
package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"extauthz/cmd/extauthz/internal/naming"
	"extauthz/extauthz/operator"
)

// PrintJSON prints findings as an array, in the operator's words.
func PrintJSON(w io.Writer, found []operator.Finding) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(inWords(found))
}

// Print prints a line for each finding and its fix, and how many there are of each level.
func Print(w io.Writer, found []operator.Finding) error {
	words := map[operator.Level]string{operator.LevelOK: "ok", operator.LevelWarning: "warn",
		operator.LevelFailure: "FAIL"}
	counts := map[operator.Level]int{}
	of := ""
	for _, f := range byIssuer(inWords(found)) {
		counts[f.Level]++
		if f.Issuer != of {
			of = f.Issuer
			fmt.Fprintf(w, "\nissuer %s\n", of)
		}
		fmt.Fprintf(w, "%-4s  %-10s  %s: %s\n", words[f.Level], f.Part, f.Tried, f.Found)
		if f.Fix != "" {
			fmt.Fprintf(w, "%18sfix: %s\n", "", f.Fix)
		}
	}
	_, err := fmt.Fprintf(w, "\n%d ok, %d to look at, %d failing\n",
		counts[operator.LevelOK], counts[operator.LevelWarning], counts[operator.LevelFailure])
	return err
}

// byIssuer has what belongs to no issuer first, and then a section for each.
func byIssuer(found []operator.Finding) []operator.Finding {
	var names []string
	for _, f := range found {
		if f.Issuer != "" && !slices.Contains(names, f.Issuer) {
			names = append(names, f.Issuer)
		}
	}
	sections := slices.Clone(found)
	slices.SortStableFunc(sections, func(a, b operator.Finding) int {
		return slices.Index(names, a.Issuer) - slices.Index(names, b.Issuer)
	})
	return sections
}

// inWords has the findings name variables rather than fields of the library's configuration.
func inWords(found []operator.Finding) []operator.Finding {
	renamed := slices.Clone(found)
	for i := range renamed {
		f := &renamed[i]
		f.Tried, f.Found, f.Fix = naming.Text(f.Tried), naming.Text(f.Found), naming.Text(f.Fix)
	}
	return renamed
}

// Worst is the worst level of what was found.
func Worst(found []operator.Finding) operator.Level {
	level := operator.LevelOK
	for _, f := range found {
		switch f.Level {
		case operator.LevelFailure:
			return f.Level
		case operator.LevelWarning:
			level = f.Level
		}
	}
	return level
}
