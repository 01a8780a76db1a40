package manual

import (
	"fmt"
	"io"
	"strings"

	"extauthz/cmd/extauthz/internal/settings"
)

// Page prints the manual page in the macros of man(7).
func Page(w io.Writer, version string) {
	fmt.Fprintf(w, ".TH EXTAUTHZ 1 \"\" %q \"User Commands\"\n.nh\n.ad l\n", "extauthz "+roff(version))
	fmt.Fprint(w, ".SH NAME\nextauthz \\- external authorization for Envoy and Istio by Better Auth\\(aqs tokens\n"+
		".SH SYNOPSIS\n")
	for i, c := range Commands {
		for j, u := range c.Uses {
			if i+j > 0 {
				fmt.Fprintln(w, ".br")
			}
			fmt.Fprintln(w, strings.TrimSpace(`\fBextauthz `+roff(c.Name)+`\fR `+roff(u.Form)))
		}
	}
	fmt.Fprintf(w, ".SH DESCRIPTION\n%s\n", roff(Title))
	fmt.Fprint(w, ".PP\nSettings are given by flags, by environment variables and by a file, in this order of precedence.\n"+
		".SH COMMANDS\n")
	for _, c := range Commands {
		c.section(w)
	}
	fmt.Fprint(w, ".SH SETTINGS\nEach is an environment variable and, unless it is a secret, a flag and a key of the file "+
		"that \\fB\\-\\-config\\fR names.\n")
	for _, s := range settings.Table {
		fmt.Fprintf(w, ".TP\n\\fB%s\\fR", roff(s.Variable))
		if s.Flag != "" {
			fmt.Fprintf(w, ", \\fB\\-\\-%s\\fR", roff(s.Flag))
		}
		if s.Fallback != "" {
			fmt.Fprintf(w, " (default %s)", roff(s.Fallback))
		}
		fmt.Fprintf(w, "\n%s\n", roff(s.Help))
	}
}

// section prints one command's part of the page.
func (c *Command) section(w io.Writer) {
	fmt.Fprintf(w, ".SS %s\n", roff(c.Name))
	for i, paragraph := range strings.Split(c.About, "\n\n") {
		if i > 0 {
			fmt.Fprintln(w, ".PP")
		}
		fmt.Fprintln(w, roff(paragraph))
	}
	for _, f := range c.Flags {
		fmt.Fprintf(w, ".TP\n\\fB\\-\\-%s\\fR", roff(f.Name))
		if f.Value != "" {
			fmt.Fprintf(w, " \\fI%s\\fR", roff(f.Value))
		}
		fmt.Fprintf(w, "\n%s\n", roff(f.Help))
	}
	if c.Note != "" {
		fmt.Fprintf(w, ".PP\n%s\n", roff(c.Note))
	}
	if c.Status != "" {
		fmt.Fprintf(w, ".PP\nExit status: %s.\n", roff(c.Status))
	}
}

// special are the characters that mean something to roff, or that it would print as others (groff_char(7)). A long word
// may be broken behind a comma.
var special = strings.NewReplacer(", ", ", ", ",", `,\:`,
	`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`)

// roff is a text as roff prints it, whatever it begins with. Its lines are filled anew.
func roff(text string) string {
	text = special.Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
