package envoy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
)

// changing is what is never the same twice, and what is compared in its place. Durations are compared by themselves.
var changing = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`\b20\d\d-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d(\.\d+)?Z`), "<time>"},
	{regexp.MustCompile(`[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} 20\d\d \d\d:\d\d:\d\d GMT`), "<date>"},
	{regexp.MustCompile(`ready in \d+\.\d s`), "ready in <duration>"},
	{regexp.MustCompile(`after \d+ milliseconds with \d+ bytes`), "after <duration>"},
	{durationText, "<duration>"},
	{regexp.MustCompile(`JWT, alg EdDSA, \d+ bytes`), "JWT, alg EdDSA, <count> bytes"},
	{regexp.MustCompile(`"created_at":1[789]\d{8}\b`), `"created_at":<time>`},
	{regexp.MustCompile(`extauthz \d+\.\d+\.\d+ [0-9a-f ]*go[\d.]+ `), "extauthz <version> "},
	{regexp.MustCompile(`[ \t]+\n`), "\n"},
	{regexp.MustCompile(`\n+$`), "\n"},
}

var (
	durationText = regexp.MustCompile(`\b(?:\d+m[\d.]+s|\d+(?:\.\d+)?(?:µs|ms|s))\b`)
	// idText matches ids and tokens of Better Auth's.
	idText = regexp.MustCompile(`\b[A-Za-z0-9]{32}\b`)
)

// steady is a text with everything replaced that changes from run to run. An id is replaced by its number in the
// text, so that who is one person in the page is one person here.
func steady(text string) string {
	text = strings.TrimRight(text, "\n") + "\n"
	for _, change := range changing {
		text = change.pattern.ReplaceAllString(text, change.instead)
	}
	var ids []string
	return idText.ReplaceAllStringFunc(text, func(id string) string {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
		return fmt.Sprintf("<id %d>", slices.Index(ids, id)+1)
	})
}

// difference says how a printed text differs from the one that a page shows, and is empty where it does not.
func difference(shown, printed string) string {
	if d := cmp.Diff(steady(shown), steady(printed)); d != "" {
		return d
	}
	return differentDurations(shown, printed)
}

// differentDurations compares the durations of two texts that are otherwise the same. A machine may be fast or slow
// within a second; a bound of ten seconds or a life of fifteen minutes may not be half of that, and minutes not twice.
func differentDurations(shown, printed string) string {
	all := durationText.FindAllString(printed, -1)
	for i, text := range durationText.FindAllString(shown, -1) {
		if i >= len(all) {
			return "durations are missing\n"
		}
		want, errWant := time.ParseDuration(text)
		got, errGot := time.ParseDuration(all[i])
		switch {
		case errWant != nil || errGot != nil:
			return fmt.Sprintf("-%s\n+%s\nwhich are no durations\n", text, all[i])
		case want >= 2*time.Second && got < want/2, want >= time.Minute && got > 2*want:
			return fmt.Sprintf("-%s\n+%s\nwhich is another order of magnitude\n", text, all[i])
		}
	}
	return ""
}
